"""Every paper.toml is complete and true: a verb that it names exists with the agreed signature."""

from __future__ import annotations

import inspect

import pytest

from visionsmith.papers.paper import VERBS, all_papers, get_paper

PAPERS = [paper.name for paper in all_papers()]
CONTRACT = {
    "train": ("train", "train", {"recipe", "data", "output", "resume", "progress"}),
    "evaluate": ("evaluate", "evaluate", {"checkpoint", "data", "progress"}),
    "run": ("run", "load", {"source"}),
    "claims": ("claims", "claims", {"output", "progress"}),
    "official": ("official", "from_official", {"state", "config"}),
}


def test_the_whole_plan_is_listed() -> None:
    assert len(PAPERS) >= 20
    rows = [paper.row for paper in all_papers()]
    assert len(set(rows)) == len(rows)
    assert {f"A{number}" for number in range(1, 11)} | {f"B{number}" for number in range(1, 10)} <= set(rows)


@pytest.mark.parametrize("name", PAPERS)
def test_card_is_true(name: str) -> None:
    paper = get_paper(name)
    assert paper.title
    assert paper.task
    assert set(paper.verbs) <= set(VERBS)
    for verb in VERBS:
        file, function, parameters = CONTRACT[verb]
        if paper.works(verb):
            found = inspect.signature(getattr(paper.module(file), function))
            assert parameters <= set(found.parameters), f"{name}.{file}.{function}{found}"
        else:
            assert not paper.has(file), f"{name} has {file}.py but its paper.toml does not name '{verb}'"
    assert bool(paper.presets) == paper.works("train")
    for preset in paper.presets:
        paper.recipe(preset)
