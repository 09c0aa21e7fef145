"""What the paper says of adapters, prompts and the early filter, measured where the true edit is known.

OUTPUT/experts-seed0, ...     short trainings of an adapter, one an arm and seed
OUTPUT/latents.safetensors    of all pictures
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from visionsmith.papers.claim import Claim, apart, mean

if TYPE_CHECKING:
    from visionsmith.papers.icedit.edits import EditWorld
    from visionsmith.papers.icedit.recipes import EditRecipe
    from visionsmith.papers.trials import Trials

__all__ = ["claims"]

COMMAND = "visionsmith claims icedit"
SEEDS = (0, 1, 2)
STEPS = 300
FILTERED = 3
"""Edits of each kind that go through the early filter."""
SAMPLED, CANDIDATES, EARLY = 12, 4, 3
"""Steps of the sampler; the early filter's seeds, and the steps after which it looks."""

Figures = Mapping[str, Sequence[Mapping[str, float]]]
"""By arm: the figures of each seed."""


def claims(*, output: Path | None = None, progress: bool = True) -> Sequence[Claim]:
    """Check the claims.

    Args:
        output: where the trainings stay; a training that is there already is used again. None: a temporary folder.
        progress: whether to show bars.
    """
    from visionsmith.papers.icedit.edits import builtin_world
    from visionsmith.papers.trials import Trials

    with tempfile.TemporaryDirectory(prefix="visionsmith-claims-") as scratch:
        trials = Trials(output or Path(scratch), "icedit", progress=progress)
        world = builtin_world(progress=progress)
        figures = {arm: [_trained(trials, world, arm, seed) for seed in SEEDS] for arm in _arms()}
        routers = {
            arm: [_router(trials, world, arm, seed) for seed in SEEDS] for arm in ("experts", "published")
        }
        filtered = [_filtered(trials, world, seed, progress=progress) for seed in SEEDS]
        return [_balance(routers), _mixture(figures), _prompt(figures), _filter(filtered)]


def _arms() -> dict[str, EditRecipe]:
    """Recipes beside the filler that ships; "plain" has at least as many parameters as the mixture."""
    from visionsmith.papers.icedit.recipes import tiny
    from visionsmith.papers.paper import shipped_checkpoint

    # With the published times: all but what is compared is the paper's.
    recipe = dataclasses.replace(
        tiny(), filler=str(shipped_checkpoint("icedit")), train_filler=None, shift=1.0
    )
    train = dataclasses.replace(recipe.train, steps=STEPS, evaluate_every=0)
    recipe = dataclasses.replace(recipe, train=train)
    mixture = recipe.adapter
    return {
        "experts": recipe,
        "published": dataclasses.replace(recipe, adapter=dataclasses.replace(mixture, router="published")),
        "plain": dataclasses.replace(
            recipe,
            adapter=dataclasses.replace(mixture, rank=2 * mixture.rank, alpha=2 * mixture.alpha, experts=0),
        ),
        "bare prompt": dataclasses.replace(recipe, template="{instruction}"),
    }


def _trained(trials: Trials, world: EditWorld, arm: str, seed: int) -> Mapping[str, float]:
    from visionsmith.papers.icedit.checkpoints import open_parts
    from visionsmith.papers.icedit.train import edit_task

    recipe = _arms()[arm]
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=seed))
    return trials.fit(
        _run(arm, seed),
        recipe,
        lambda: edit_task(recipe, world, open_parts(str(recipe.filler)), folder=trials.folder),
    )


def _run(arm: str, seed: int) -> str:
    return f"{arm.replace(' ', '-')}-seed{seed}"


def _router(trials: Trials, world: EditWorld, arm: str, seed: int) -> dict[str, float]:
    """How far the routers moved while the adapter was trained, and the shares of the experts."""
    from accelerate.utils import set_seed

    from visionsmith.papers.icedit.adapter import adapter_for
    from visionsmith.papers.icedit.checkpoints import load_editor
    from visionsmith.papers.icedit.measure import made, of_each_kind

    editor = load_editor(trials.folder / _run(arm, seed) / "model")
    assert editor.adapter is not None
    assert editor.attached is not None
    set_seed(seed)
    begun = adapter_for(editor.parts.transformer, editor.adapter.config).state_dict()
    # As a checkpoint holds it: rounding is no move.
    start = {name: value.half().float() for name, value in begun.items()}
    moved = [
        float((value - start[name]).norm() / start[name].norm())
        for name, value in editor.adapter.state_dict().items()
        if "lora_route" in name
    ]
    with editor.attached.count_usage() as usage:
        made(editor, world, of_each_kind(world, 1), steps=SAMPLED)
    counts = usage.by_layer().double()
    shares = counts / counts.sum(dim=1, keepdim=True)
    return {"moved": mean(moved), "least": float(shares.min()), "most": float(shares.max())}


def _filtered(trials: Trials, world: EditWorld, seed: int, *, progress: bool) -> dict[str, dict[str, float]]:
    """Figures of edits with one seed, and with the early filter and two judges."""
    from visionsmith.papers.icedit.checkpoints import load_editor
    from visionsmith.papers.icedit.editor import EarlyFilter
    from visionsmith.papers.icedit.judges import ClipJudge, Judge, NearestJudge
    from visionsmith.papers.icedit.measure import EditJudge, made, of_each_kind

    editor = load_editor(trials.folder / _run("experts", seed) / "model")
    pairs = of_each_kind(world, FILTERED)
    judge = EditJudge(world)
    seeds = [seed * 1000 + place * CANDIDATES for place in range(len(pairs))]

    def edited(judges: Sequence[Judge] | None) -> dict[str, float]:
        early = None
        if judges is not None:
            early = [EarlyFilter(each, candidates=CANDIDATES, steps=EARLY) for each in judges]
        edits = made(editor, world, pairs, seeds=seeds, steps=SAMPLED, early=early, progress=progress)
        return judge.scores(edits, pairs)

    return {
        "none": edited(None),
        "clip": edited([ClipJudge(world.captions[pair.target]) for pair in pairs]),
        "truth": edited([NearestJudge(world.pictures[pair.target]) for pair in pairs]),
    }


def _balance(routers: Mapping[str, Sequence[Mapping[str, float]]]) -> Claim:
    def said(arm: str) -> str:
        found = routers[arm]
        least, most = min(each["least"] for each in found), max(each["most"] for each in found)
        return f"moved by {mean([each['moved'] for each in found]):.3f} of its norm, shares {least:.0%} to {most:.0%}"

    return Claim(
        statement="The router learns to spread tokens evenly over the experts.",
        source="section 3.3, table of expert usage",
        paper="23 to 26 % for each of four experts",
        measured=f"the public code's router: {said('published')}; by all probabilities: {said('experts')}",
        holds=mean([each["moved"] for each in routers["published"]]) > 0,
        command=COMMAND,
        note="a gate over one selected logit is always 1, so that the public router has no gradient and stays as it "
        "began: its evenness is that of random weights. Shares: least and most over layers and seeds",
        values=tuple(
            (f"{arm}_moved", mean([each["moved"] for each in found])) for arm, found in routers.items()
        ),
    )


def _mixture(figures: Figures) -> Claim:
    return Claim(
        statement="A mixture of experts edits better than one update of as many parameters.",
        source="table of ablations",
        paper="GPT score 0.68 with experts (214 M), 0.60 without (rank 64, 240 M)",
        measured=_both(figures, ("experts", "published", "plain")),
        holds=_better(figures, "experts", "plain"),
        command=COMMAND,
        note=_note("plain: rank 32 in place of four experts of rank 16"),
        values=_l1(figures, ("experts", "published", "plain")),
    )


def _prompt(figures: Figures) -> Claim:
    return Claim(
        statement="A prompt that speaks of two pictures side by side edits better than the instruction alone.",
        source="table of ablations",
        paper="GPT score 0.68 with the diptych's prompt, 0.62 without",
        measured=_both(figures, ("experts", "bare prompt")),
        holds=_better(figures, "experts", "bare prompt"),
        command=COMMAND,
        note=_note(
            "the filler has read 'side by side, the same picture: ...' in its training, and no instruction"
        ),
        values=_l1(figures, ("experts", "bare prompt")),
    )


def _filter(filtered: Sequence[Mapping[str, Mapping[str, float]]]) -> Claim:
    figures = {name: [each[name] for each in filtered] for name in ("none", "clip", "truth")}
    return Claim(
        statement="Choosing among several seeds after a few steps makes edits better, if the judge is good.",
        source="section 3.4, table of inference-time scaling",
        paper="GPT score 0.78 with 6 seeds and 10 steps, 0.68 with one, 0.65 with CLIP as the judge",
        measured=_both(figures, ("none", "clip", "truth")),
        holds=_better(figures, "truth", "none"),
        command=COMMAND,
        note=f"{CANDIDATES} seeds, the judge looks after {EARLY} of {SAMPLED} steps; clip: the project's, told a "
        "caption of the true result; truth: it knows the true picture",
        values=_l1(figures, ("none", "clip", "truth")),
    )


def _note(more: str) -> str:
    trained = f"{STEPS} steps of 16 beside the filler that ships"
    return f"{trained}, 8 held-out edits of each kind, {len(SEEDS)} seeds; {more}"


def _both(figures: Figures, arms: Sequence[str]) -> str:
    def spread(arm: str, name: str) -> str:
        values = [each[name] for each in figures[arm]]
        return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    return "; ".join(f"{arm}: L1 {spread(arm, 'l1')}, CLIP-I {spread(arm, 'clip_i')}" for arm in arms)


def _better(figures: Figures, one: str, other: str) -> bool:
    return apart([each["l1"] for each in figures[other]], [each["l1"] for each in figures[one]])


def _l1(figures: Figures, arms: Sequence[str]) -> tuple[tuple[str, float], ...]:
    return tuple((f"{arm}_l1", mean([each["l1"] for each in figures[arm]])) for arm in arms)
