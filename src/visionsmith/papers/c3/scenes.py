"""Scenes of the built-in world told in words, and questions about them that have exact answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionsmith.data.sampler import generator
from visionsmith.data.world import NEW_PAIRS, PAIRS, SEEN, Question, Scene, ask, ask_about, describe

__all__ = [
    "FAMILIES",
    "TEST_SEED",
    "Told",
    "known_questions",
    "new_questions",
    "questions_about",
    "taught",
    "tell",
    "texts",
]

TEST_SEED = 9_001
"""Of the questions that models are measured with; trainings have seeds of their own."""

FAMILIES = ("what", "colour", "where", "count", "exists")
"""Kinds of questions that are put: those about one thing, or about all. Comparisons of two are left out."""

_TAUGHT = re.compile(
    r"(What is (at|in|on) the |What colour is the |Where is the |How many .* are there|Is there an? ).*\?$"
)


@dataclass(frozen=True)
class Told:
    """A question about a scene that is told in words."""

    text: str
    """All that is asked about it is said there."""
    question: Question


def taught(question: str) -> bool:
    """Whether a question is worded like those of `FAMILIES`."""
    return bool(_TAUGHT.match(question))


def tell(rng: np.random.Generator) -> tuple[Scene, str]:
    """A scene of pairs that training may see, fit for a question of some family, and its description."""
    scene = ask(FAMILIES[int(rng.integers(len(FAMILIES)))], rng, SEEN).scenes[0]
    return scene, describe(scene, rng)


def questions_about(scene: Scene, count: int, rng: np.random.Generator) -> list[Question]:
    """So many questions about a scene, no text twice; there are more than a dozen about any."""
    found: dict[str, Question] = {}
    while len(found) < count:
        question = ask_about(FAMILIES[int(rng.integers(len(FAMILIES)))], scene, rng, SEEN)
        if question is not None:
            found.setdefault(question.text, question)
    return list(found.values())


def texts(count: int, seed: int) -> list[str]:
    """Descriptions and questions, for a vocabulary to be learned from."""
    found: list[str] = []
    for index in range(count):
        rng = generator(seed, 0, index)
        scene, told = tell(rng)
        found += [told, *(f"{asked.text} {asked.answer}" for asked in questions_about(scene, 4, rng))]
    return found


def known_questions(count: int) -> list[Told]:
    """As many questions of each family in turn, each about a scene of its own, of pairs that training has seen."""
    return [_told(index, SEEN) for index in range(count)]


def new_questions(count: int) -> list[Told]:
    """Questions whose answer lies in a thing of a pair that no training text has."""
    found: list[Told] = []
    index = 0
    while len(found) < count:
        told = _told(index, PAIRS)
        if any((thing.kind, thing.colour) in NEW_PAIRS for thing in told.question.evidence):
            found.append(told)
        index += 1
    return found


def _told(index: int, pairs: Sequence[tuple[str, str]]) -> Told:
    rng = generator(TEST_SEED, 0 if pairs is SEEN else 1, index)
    question = ask(FAMILIES[index % len(FAMILIES)], rng, pairs)
    return Told(describe(question.scenes[0], rng), question)
