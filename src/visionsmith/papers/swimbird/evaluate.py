"""Measuring SwimBird: exact answers by kind of question, how it chose to think, and what its thoughts are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.swimbird.generate import Replace
    from visionsmith.papers.swimbird.reasoner import Reasoner
    from visionsmith.papers.swimbird.tasks import Exercise

__all__ = ["ask_exercises", "evaluate", "exercises", "measure"]

COUNT = 100
"""Test questions of each kind."""
TEST_SEED = 7_000_001
"""Of the test questions; no training uses it."""
MOST = 96
"""Most tokens of an answer."""


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a SwimBird.

    Args:
        checkpoint: its folder; None for the one that ships.
        data: a JSON list in the published layout; None for the built-in test questions.
        progress: whether to show a bar.

    Returns:
        Plain values: "accuracy" (share of exact answers), "by_kind", "modes", "new_pairs", "baselines", "controls", ...
    """
    from visionsmith.papers.swimbird.run import load

    bird = load(checkpoint)
    if data is not None:
        from visionsmith.papers.swimbird.dialogues import measure_dialogues, read_dialogues

        return measure_dialogues(bird, read_dialogues(data), progress=progress)
    from visionsmith.data.progress import DelayedBar

    side = 72
    plain = exercises(COUNT, side=side)
    with DelayedBar("questions", 5, show=progress) as bar:
        found = summary(plain, ask_exercises(bird, plain))
        bar.advance()
        new = exercises(COUNT, side=side, new=True)
        found["new_pairs"] = summary(new, ask_exercises(bird, new))["accuracy"]
        bar.advance()
        seen = [each for each in plain if each.pictures]
        found["baselines"] = {
            "majority_answer": majority(COUNT, side=side),
            "without_picture": summary(seen, ask_exercises(bird, seen, blank=True))["accuracy"],
        }
        bar.advance()
        looking = [each for each in plain if each.looks]
        found["controls"] = controls(bird, looking, bar.advance)
    found["questions"] = len(plain)
    found["model"] = {
        "checkpoint": str(checkpoint) if checkpoint else "shipped",
        "parameters": sum(parameter.numel() for parameter in bird.model.parameters()),
    }
    return found


def measure(bird: Reasoner, *, side: int, count: int) -> dict[str, float]:
    """Share of exact answers over all kinds, of well-formed ones, and of those thought in the way that was taught."""
    asked = exercises(count, side=side)
    found = summary(asked, ask_exercises(bird, asked))
    return {
        **{name: float(found[name]) for name in ("accuracy", "well_formed", "mode_as_taught")},
        **{f"accuracy_{kind}": share for kind, share in found["by_kind"].items()},
    }


def exercises(count: int, *, side: int, new: bool = False, seed: int = TEST_SEED) -> list[Exercise]:
    """Test questions, `count` of each kind.

    Args:
        count: of each kind.
        side: of the pictures, pixels.
        new: whether one of two things is of a pair of kind and colour that no training showed.
        seed: of the questions.
    """
    from visionsmith.data.sampler import generator
    from visionsmith.data.world import NEW_PAIRS, SEEN
    from visionsmith.papers.swimbird.tasks import KINDS, exercise

    # Half of the things of such a scene are new: there are few new pairs, and a question must have its choice.
    pairs = (*SEEN, *(sorted(NEW_PAIRS) * (len(SEEN) // len(NEW_PAIRS)))) if new else SEEN
    return [
        exercise(kind, generator(seed + new, place, index), side=side, pairs=pairs)
        for place, kind in enumerate(KINDS)
        for index in range(count)
    ]


def ask_exercises(
    bird: Reasoner, asked: Sequence[Exercise], *, blank: bool = False, replace: Replace | None = None
) -> list[Any]:
    """The answers (`answers.Answer`) to exercises; with `blank` the pictures are white."""
    import numpy as np

    rows = [
        (each.question, [np.full_like(picture, 255) if blank else picture for picture in each.pictures])
        for each in asked
    ]
    return [answer for answer, _ in bird.ask_all(rows, batch=32, most=MOST, replace=replace)]


def summary(asked: Sequence[Exercise], answers: Sequence[Any]) -> dict[str, Any]:
    """Shares of exact answers, of well-formed ones and of the modes."""
    right = [answer.text == each.answer for each, answer in zip(asked, answers, strict=True)]
    kinds = list(dict.fromkeys(each.kind for each in asked))

    def mean(values: Sequence[bool]) -> float:
        return sum(values) / len(values) if values else 0.0

    return {
        "accuracy": mean(right),
        "well_formed": mean([answer.well_formed for answer in answers]),
        "mode_as_taught": mean(
            [answer.mode == each.mode for each, answer in zip(asked, answers, strict=True)]
        ),
        "by_kind": {
            kind: mean([ok for each, ok in zip(asked, right, strict=True) if each.kind == kind])
            for kind in kinds
        },
        "modes": {
            kind: dict(
                Counter(
                    answer.mode for each, answer in zip(asked, answers, strict=True) if each.kind == kind
                ).most_common()
            )
            for kind in kinds
        },
        "span_lengths": dict(
            sorted(Counter(length for answer in answers for length in answer.lengths).items())
        ),
    }


def majority(count: int, *, side: int) -> float:
    """What the most frequent answer of each kind would score, counted on other questions."""
    others = exercises(count, side=side, seed=TEST_SEED + 2)
    best = {
        kind: Counter(each.answer for each in others if each.kind == kind).most_common(1)[0][0]
        for kind in {each.kind for each in others}
    }
    asked = exercises(count, side=side)
    return sum(best[each.kind] == each.answer for each in asked) / len(asked)


def controls(bird: Reasoner, asked: Sequence[Exercise], done: Any = None) -> dict[str, float]:
    """Exact answers with the thoughts as they are, as zeros, and as noise of their size."""
    import torch

    def noise(thoughts: torch.Tensor) -> torch.Tensor:
        chance = torch.Generator(thoughts.device).manual_seed(0)
        drawn = torch.randn(thoughts.shape, generator=chance, device=thoughts.device, dtype=thoughts.dtype)
        return drawn * thoughts.std(dim=-1, keepdim=True)

    found = {}
    for name, replace in (("thoughts", None), ("zeros", torch.zeros_like), ("noise", noise)):
        found[name] = float(summary(asked, ask_exercises(bird, asked, replace=replace))["accuracy"])
        if done is not None and name != "thoughts":
            done()
    return found
