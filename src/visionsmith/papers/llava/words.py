"""The vocabulary of the small model: byte pairs learned from what the scene world says."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer

from visionsmith.data.sampler import generator
from visionsmith.data.world import FAMILIES, ask, caption, describe
from visionsmith.papers.vocabulary import learn_byte_pairs

__all__ = ["END", "IMAGE", "PAD", "SPECIAL", "START", "learn_words"]

PAD, START, IMAGE, END = "<pad>", "<s>", "<image>", "</s>"
SPECIAL = (PAD, START, IMAGE, END)
"""In the order of their ids."""

_TEXTS = 400
_SEED = 3


def learn_words(size: int) -> Tokenizer:
    """A vocabulary of `size` tokens; every byte has one, so that any question can be spelt."""
    return learn_byte_pairs(_texts(), size=size, special=SPECIAL)


def _texts() -> Iterator[str]:
    for index in range(_TEXTS):
        rng = generator(_SEED, 0, index)
        for family in FAMILIES:
            question = ask(family, rng)
            scene = question.scenes[0]
            yield f"USER: {question.text} ASSISTANT: {question.reason} {question.answer}"
            yield f"{caption(scene, rng)}\n{describe(scene, rng)}"
