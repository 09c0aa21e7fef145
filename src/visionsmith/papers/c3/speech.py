"""What the two models are told: texts as tokens, and the decoder's prompt round the latents.

The prompt is that of the public code (conversation.py, `conv_mpt`): ChatML without line breaks between the turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from visionsmith.papers.c3.config import C3Config
from visionsmith.papers.vocabulary import token_id

__all__ = [
    "IMAGE_END",
    "IMAGE_PAD",
    "IMAGE_START",
    "REPEAT",
    "SPECIAL",
    "Speech",
    "Spoken",
    "filled",
]

REPEAT = "Repeat the text: "
"""The instruction that a C3 is trained on."""

FILL, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE_END, IMAGE_PAD = "<img>", "</img>", "<imgpad>"
SPECIAL = (FILL, TURN, END, IMAGE_START, IMAGE_END, IMAGE_PAD)
"""The first ids of a learned vocabulary, in this order."""


@dataclass(frozen=True)
class Spoken:
    """A batch for the decoder, filled up on its left."""

    ids: Tensor
    """int64 `b t`, with `image_pad` where latents go."""
    present: Tensor
    """bool `b t`."""
    asked: Tensor
    """int64 `b`, tokens of the prompts, latents not counted."""


class Speech:
    """A vocabulary with the turns of a dialogue."""

    def __init__(self, tokenizer: Tokenizer, config: C3Config) -> None:
        """Take a vocabulary into use.

        Args:
            tokenizer: has ChatML's tokens; those of the latents are known by their ids in the config.
            config: of the model.

        Raises:
            CheckpointError: the vocabulary lacks a token.
        """
        self.tokenizer, self.config = tokenizer, config
        self.turn, self.end = token_id(tokenizer, TURN), token_id(tokenizer, END)
        self.fill = token_id(tokenizer, FILL)
        self.words = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.get_added_tokens_decoder()))
        """Ids that texts are spelt with: all but the special ones."""
        # "<|im_end|>" in a text is a word like any other.
        tokenizer.encode_special_tokens = True

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; what looks like a special token is spelt out."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; special ones say nothing, and broken letters become U+FFFD."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def prompt(self, instruction: str, latents: int) -> list[int]:
        """System message, latents and instruction, up to where the answer begins."""
        system = self.config.system
        before = [self.turn, *self.encode(f"system\n{system}"), self.end] if system else []
        return [
            *before,
            self.turn,
            *self.encode("user\n"),
            self.config.image_start,
            *[self.config.image_pad] * latents,
            self.config.image_end,
            *self.encode(f"\n{instruction}"),
            *self._answering(),
        ]

    def follow_up(self, instruction: str) -> list[int]:
        """A further turn about the same latents, up to where its answer begins."""
        return [self.turn, *self.encode(f"user\n{instruction}"), *self._answering()]

    def _answering(self) -> list[int]:
        return [self.end, self.turn, *self.encode("assistant\n")]

    def speak(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]] | None = None
    ) -> Spoken:
        """A batch of prompts, each with the answer as far as it goes."""
        answers = [()] * len(prompts) if answers is None else answers
        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        ids, present = filled(rows, self.fill, left=True)
        asked = [len(prompt) - list(prompt).count(self.config.image_pad) for prompt in prompts]
        return Spoken(ids, present, torch.tensor(asked))


def filled(rows: Sequence[Sequence[int]], fill: int, *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Rows of unequal lengths as one tensor, int64 `b t`, and where it holds something, bool `b t`."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), fill)
    present = torch.zeros(len(rows), longest, dtype=torch.bool)
    for place, row in enumerate(rows):
        where = slice(longest - len(row), None) if left else slice(len(row))
        ids[place, where] = torch.tensor(row, dtype=torch.int64)
        present[place, where] = True
    return ids, present
