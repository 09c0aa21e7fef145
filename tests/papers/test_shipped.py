"""The checkpoints that ship: whole, small, with a card that says how they were made, and answering at once."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import visionsmith as vs
from visionsmith import checkpoint
from visionsmith.data.scenes import SUBJECTS
from visionsmith.papers.paper import all_papers, shipped_checkpoint

CLASSIFIERS = ("crossvit", "mobilevit", "supcon")
MOST = {"latent_diffusion": 13_000_000, "unclip": 13_000_000, "icedit": 15_000_000}
"""Bytes; 6 MB for the others."""
DEMONSTRATED = [paper.name for paper in all_papers() if paper.has("demo")]


@pytest.mark.parametrize("name", DEMONSTRATED)
def test_checkpoint_is_whole_small_and_has_its_card(name: str) -> None:
    folder = shipped_checkpoint(name)
    assert checkpoint.verify(folder) is None
    most = MOST.get(name, 6_000_000)
    assert sum(file.stat().st_size for file in folder.iterdir()) < most
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    for entry in ("command", "recipe", "minutes", "machine", "commit", "versions", "measured", "data"):
        assert card[entry], entry
    assert re.match(rf"visionsmith train {name} --output runs/", card["command"]), "no path of a machine"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_answers_about_any_picture(name: str) -> None:
    classifier = vs.load(name)
    assert classifier.classes == SUBJECTS
    card = json.loads((shipped_checkpoint(name) / "card.json").read_text(encoding="utf-8"))
    assert card["measured"]["top1"] > 0.5, "twenty times chance"
    answer = classifier.classify(np.full((50, 90, 3), 128, dtype=np.uint8), top=3)
    assert len(answer) == 3
    assert list(answer.values()) == sorted(answer.values(), reverse=True)


def test_detector_tells_how_often_it_errs() -> None:
    detector = vs.load("f3net")
    measured = json.loads((shipped_checkpoint("f3net") / "card.json").read_text(encoding="utf-8"))["measured"]
    assert measured["auc"] > 0.65
    for name in ("threshold", "false_alarms", "misses", "pictures"):
        assert getattr(detector.decision, name) == pytest.approx(measured[name], abs=1e-6)
    assert 0 <= detector.probabilities([np.full((70, 70, 3), 128, dtype=np.uint8)])[0] <= 1


def test_painters_paint_what_they_are_told() -> None:
    """Held-out captions and pictures: what is painted is nearer to them than what is painted for the next ones."""
    from visionsmith.papers.latent_diffusion import Judge, evenly, open_world

    world = open_world(None, size=64)
    judge, asked = Judge(world, 64), evenly(world.held_out, 8)
    captions = [world.store[index].caption for index in asked]
    real = judge.real(asked)
    unclip, adapter = vs.load("unclip"), vs.load("ip_adapter")
    painted = {
        "latent_diffusion": vs.load("latent_diffusion").paint(captions, steps=10),
        "unclip": unclip.paint(unclip.see(real), steps=10),
        "ip_adapter": adapter.paint_each(adapter.encoder.encode(real), steps=10),
    }
    for name, pictures in painted.items():
        near = judge.embed(pictures) @ judge.embed(real).T
        right = int((near.argmax(dim=1).numpy() == np.arange(8)).sum())
        assert right >= 6, f"{name}: {right} of 8, where chance is 1"
