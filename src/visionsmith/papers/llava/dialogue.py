"""What the scene world says about a picture: conversations, detailed descriptions and reasoning (sec. 3).

The three types of instructions are the paper's; here a grammar writes them from the scene's own facts, so they are
true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionsmith.data.world import (
    PAIR_FAMILIES,
    SCENE_FAMILIES,
    SEEN,
    Question,
    Scene,
    ask,
    ask_about,
    caption,
    describe,
)
from visionsmith.data.world.words import article
from visionsmith.papers.llava.conversation import IMAGE_MARK, Turn
from visionsmith.papers.llava.instruct import InstructConfig

__all__ = ["DETAIL", "REASONS", "Dialogue", "converse", "detailed", "explained", "tell"]

DETAIL = (
    "Describe the picture in detail.",
    "What do you see? Tell me everything.",
    "Give a detailed description of the picture.",
)
PLACE_BY_PLACE = "Go through the picture place by place."
REASONS = "Explain your answer."
"""Follows a question whose answer is to be a chain of reasons."""


@dataclass(frozen=True)
class Dialogue:
    """Scenes, and turns about them; the first question has no mark for the pictures yet."""

    scenes: tuple[Scene, ...]
    turns: tuple[Turn, ...]

    def with_pictures(self, rng: np.random.Generator) -> list[Turn]:
        """The turns with the pictures before or after the first question, at random (sec. 3, eq. 2)."""
        (question, answer), *rest = self.turns
        marks = "".join(f"{IMAGE_MARK}\n" for _ in self.scenes)
        first = f"{marks}{question}" if rng.random() < 0.5 else f"{question}\n{marks.rstrip()}"
        return [(first, answer), *rest]


def explained(question: Question) -> Turn:
    """A question that asks for reasons, and the answer with its step."""
    return f"{question.text} {REASONS}", f"{question.reason} The answer is {question.answer}."


def converse(
    rng: np.random.Generator, mix: InstructConfig, pairs: Sequence[tuple[str, str]] = SEEN
) -> Dialogue:
    """A conversation about a scene that the first question has made.

    Args:
        rng: where all chance comes from.
        mix: kinds of turns and their number.
        pairs: kinds and colours that occur.
    """
    if rng.random() < mix.two_pictures:
        first = ask(PAIR_FAMILIES[int(rng.integers(len(PAIR_FAMILIES)))], rng, pairs)
        short = (first.text, first.answer)
        return Dialogue(first.scenes, (explained(first), short) if mix.reasoning else (short,))
    families = list(SCENE_FAMILIES)
    question: Question | None = ask(families[int(rng.integers(len(families)))], rng, pairs)
    assert question is not None, "a family makes its own scene"
    scene = question.scenes[0]
    shares = np.array([mix.conversation, mix.detail, mix.reasoning])
    kind = int(rng.choice(3, p=shares / shares.sum()))
    turns: list[Turn] = []
    # About as many words whatever the kind: a batch is as long as its longest conversation.
    for _ in range(max(1, mix.turns // (1, 4, 3)[kind])):
        if kind == 1:
            turns.append(detailed(scene, rng))
            continue
        while question is None or question.text in {asked.removesuffix(f" {REASONS}") for asked, _ in turns}:
            question = ask_about(families[int(rng.integers(len(families)))], scene, rng, pairs)
        turns.append(explained(question) if kind == 2 else (question.text, question.answer))
        question = None
    order = rng.permutation(len(turns))
    return Dialogue((scene,), tuple(turns[place] for place in order))


def detailed(scene: Scene, rng: np.random.Generator) -> Turn:
    """Things with their places, or places with their things."""
    if rng.random() < 0.5:
        return DETAIL[int(rng.integers(len(DETAIL)))], describe(scene, rng)
    return PLACE_BY_PLACE, _listed(scene, rng)


def _listed(scene: Scene, rng: np.random.Generator) -> str:
    """Every place that holds something, and what."""
    order = [scene.things[place] for place in rng.permutation(len(scene.things))]
    lines = [f"{thing.where.capitalize()} is {article(f'{thing.size} {thing.name}')}." for thing in order]
    return " ".join(lines)


def tell(scene: Scene, rng: np.random.Generator) -> str:
    """A scene in words, for a language model that cannot see: things with places, and places with things."""
    told = [caption(scene, rng) if rng.random() < 0.5 else describe(scene, rng), _listed(scene, rng)]
    return "\n".join(told if rng.random() < 0.5 else told[::-1])
