"""The built-in tasks: three ways to think, each where it helps.

| mode        | questions about                                              | reasoning                              |
|-------------|--------------------------------------------------------------|----------------------------------------|
| vision      | what stands somewhere, what colour it has                    | a look: the thing, cut out             |
| interleaved | how two things lie or compare, what changed, the odd one out | words and looks by turns               |
| text        | where and how many things are; sums and orders, no picture   | words                                  |

The world of `data.world` gives pictures, questions and the things that prove the answer; a look is a crop of those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from visionsmith.data.world import NEW_PAIRS, PAIRS, Question, Scene, ask, caption, crop, draw, make_scene
from visionsmith.data.world.words import NUMBERS, plural
from visionsmith.papers.swimbird.answers import Mode
from visionsmith.papers.swimbird.chat import THOUGHT, Turn

__all__ = ["KINDS", "MODES", "SEEN", "Exercise", "describe_scene", "exercise"]

SEEN = tuple(pair for pair in PAIRS if pair not in NEW_PAIRS)
"""Kinds and colours of the training scenes."""

MODES: dict[Mode, tuple[str, ...]] = {
    "vision": ("what", "colour"),
    "interleaved": ("relation", "larger", "odd", "missing"),
    "text": ("where", "count", "sum", "order"),
}
"""Way of thinking -> the kinds of question that are taught with it."""

KINDS = tuple(kind for kinds in MODES.values() for kind in kinds)

_PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo")
_GOODS = ("apple", "balloon", "key", "star", "cup", "hat")


@dataclass(frozen=True)
class Exercise:
    """A question with its pictures, and the way to its answer."""

    kind: str
    """Of `KINDS`."""
    mode: Mode
    question: str
    pictures: tuple[np.ndarray, ...]
    """RGB HWC uint8."""
    reason: str
    """With `THOUGHT` where a look goes."""
    looks: tuple[np.ndarray, ...]
    """The thought pictures, RGB HWC uint8."""
    answer: str

    def turns(self, *, think: bool = True) -> list[Turn]:
        """The dialogue; without thinking, the answer follows at once."""
        said = f"<reason>{self.reason}</reason>" if think else ""
        return [
            Turn("user", self.question, self.pictures),
            Turn("assistant", f"{said}<answer>{self.answer}</answer>", self.looks if think else ()),
        ]


def exercise(
    kind: str, rng: np.random.Generator, *, side: int, pairs: Sequence[tuple[str, str]] = SEEN
) -> Exercise:
    """An exercise of a kind.

    Args:
        kind: of `KINDS`.
        rng: where all chance comes from.
        side: of the pictures, pixels.
        pairs: kinds and colours of its things.
    """
    mode = next(mode for mode, kinds in MODES.items() if kind in kinds)
    if kind in _WORDS:
        question, reason, answer = _WORDS[kind](rng)
        return Exercise(kind, mode, question, (), reason, (), answer)
    asked = ask(kind, rng, pairs)
    while mode == "vision" and not asked.evidence:
        asked = ask(kind, rng, pairs)
    pictures = tuple(draw(scene, side) for scene in asked.scenes)
    reason, looks = _look(asked, pictures, mode)
    return Exercise(kind, mode, asked.text, pictures, reason, looks, asked.answer)


def describe_scene(rng: np.random.Generator, *, side: int) -> tuple[Scene, list[Turn]]:
    """A picture and its caption: what the tower and the words for things are learned from."""
    scene = make_scene(rng, pairs=SEEN)
    turns = [
        Turn("user", "Describe the picture.", (draw(scene, side),)),
        Turn("assistant", f"<answer>{caption(scene, rng)}</answer>"),
    ]
    return scene, turns


def _look(asked: Question, pictures: Sequence[np.ndarray], mode: Mode) -> tuple[str, tuple[np.ndarray, ...]]:
    """The reason with the places of its looks, and the looks."""
    if mode == "text":
        return asked.reason, ()
    holders = [
        next(place for place, scene in enumerate(asked.scenes) if thing in scene.things)
        for thing in asked.evidence
    ]
    looks = tuple(
        crop(pictures[holder], [thing]) for holder, thing in zip(holders, asked.evidence, strict=True)
    )
    if mode == "vision":
        return THOUGHT * len(looks), looks
    sentences = asked.reason.split(". ")
    told = [f"{sentence.rstrip('.')}." for sentence in sentences]
    # One look after each of the first sentences: what the sentence is about.
    return " ".join(
        f"{THOUGHT}{sentence}" if place < len(looks) else sentence for place, sentence in enumerate(told)
    ) + THOUGHT * max(0, len(looks) - len(told)), looks


def _sum(rng: np.random.Generator) -> tuple[str, str, str]:
    """Question, reason, answer of a sum or difference of small numbers."""
    person = _PEOPLE[int(rng.integers(len(_PEOPLE)))]
    goods = _GOODS[int(rng.integers(len(_GOODS)))]
    first, second = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    if rng.random() < 0.5 and second <= first:
        total, verb, sign = first - second, "loses", "minus"
    else:
        total, verb, sign = first + second, "gets", "plus"
    total_word = NUMBERS[total] if total else "zero"
    noun = goods if first == 1 else plural(goods)
    question = f"{person} has {NUMBERS[first]} {noun} and {verb} {NUMBERS[second]}. How many are there?"
    return question, f"{NUMBERS[first].capitalize()} {sign} {NUMBERS[second]} is {total_word}.", total_word


def _order(rng: np.random.Generator) -> tuple[str, str, str]:
    """Question, reason, answer about three people by age."""
    old, middle, young = (_PEOPLE[int(place)] for place in rng.permutation(len(_PEOPLE))[:3])
    facts = [f"{old} is older than {middle}.", f"{middle} is older than {young}."]
    if rng.random() < 0.5:
        facts.reverse()
    oldest = rng.random() < 0.5
    question = f"{' '.join(facts)} Who is the {'oldest' if oldest else 'youngest'}?"
    return question, f"From old to young: {old}, {middle}, {young}.", old if oldest else young


_WORDS: dict[str, Callable[[np.random.Generator], tuple[str, str, str]]] = {"sum": _sum, "order": _order}
"""Kinds without a picture."""
