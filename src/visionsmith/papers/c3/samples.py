"""Training samples: pieces of texts to repeat, strings of random tokens, and questions about a piece.

No sample is left out or replaced: a text that is longer than a chunk is several chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.sampler import generator
from visionsmith.errors import DataError
from visionsmith.losses.language import IGNORED
from visionsmith.papers.c3.recipes import MixConfig
from visionsmith.papers.c3.speech import AFTER, REPEAT, Speech, filled

__all__ = ["ANSWER", "CUE", "Piece", "PieceCollate", "PieceDataset", "question"]

CUE = (3, 6)
"""Tokens of a text that a question names: at least, and at most."""
ANSWER = 24
"""Most tokens of a question's answer; of a short text as many as the named ones leave."""


@dataclass(frozen=True)
class Piece:
    """One sample."""

    text: np.ndarray
    """int64 `t`, what the compressor reads."""
    instruction: str
    answer: np.ndarray
    """int64 `t`, what the decoder shall say, without the end of the turn."""
    heard: np.ndarray
    """The answer as the decoder hears itself say it: some of its tokens are hidden."""


class PieceDataset(Dataset[Piece]):
    """Samples by (epoch, index): a window of the joined texts, moved at random in each epoch."""

    def __init__(self, stream: np.ndarray, speech: Speech, mix: MixConfig, seed: int) -> None:
        """Make the data set.

        Args:
            stream: int64, the tokens of all texts.
            speech: the vocabulary.
            mix: how much of what.
            seed: of all random choices.

        Raises:
            DataError: there are fewer tokens than two chunks have.
        """
        self.chunk = speech.config.chunk
        if len(stream) < 2 * self.chunk:
            raise DataError(
                f"the texts have {len(stream):,} tokens, less than two chunks of {self.chunk}",
                do="give more text, or set model.chunk lower",
            )
        self.stream, self.speech, self.mix, self.seed = stream, speech, mix, seed
        # Tokens of the shortest text that a question is put about.
        self.asked = max(CUE[1] + 1, min(self.chunk, CUE[1] + ANSWER))

    def __len__(self) -> int:
        return len(self.stream) // self.chunk - 1

    def __getitem__(self, key: tuple[int, int]) -> Piece:
        epoch, index = key
        mix, rng = self.mix, generator(self.seed, epoch, index)
        start = index * self.chunk + int(rng.integers(self.chunk))
        length = self.chunk if rng.random() >= mix.short else int(rng.integers(1, self.chunk + 1))
        text = self.stream[start : start + length]
        kind = rng.random()
        if kind < mix.random:
            text = rng.choice(self.speech.words, length)
        elif kind >= 1 - mix.questions and length >= self.asked:
            instruction, answer = question(text, self.speech, rng)
            return Piece(text, instruction, answer, self._hide(answer, rng))
        return Piece(text, REPEAT, text, self._hide(text, rng))

    def _hide(self, answer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Replace a share of the tokens, itself drawn between 0 and twice `mix.hidden`, by the filling token."""
        share = 2 * self.mix.hidden * rng.random()
        return np.where(rng.random(len(answer)) < share, self.speech.fill, answer)


def question(text: np.ndarray, speech: Speech, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """An instruction to go on after some words of a text, and the tokens that follow them there."""
    cue = int(rng.integers(CUE[0], CUE[1] + 1))
    length = min(ANSWER, len(text) - CUE[1])
    start = int(rng.integers(0, len(text) - cue - length + 1))
    words = speech.decode(text[start : start + cue].tolist())
    return f"{AFTER}{words}", text[start + cue : start + cue + length]


class PieceCollate:
    """Samples -> a batch of tensors, each filled up to its longest row.

    texts, texts_present: what the compressor reads, `b t`; ids, present, asked: what the decoder is given, as
    `speech.Spoken` has it; labels: `b t`, its tokens where something is learned.
    """

    def __init__(self, speech: Speech) -> None:
        self.speech = speech

    def __call__(self, pieces: Sequence[Piece]) -> dict[str, Tensor]:
        """See the class."""
        speech = self.speech
        texts, texts_present = filled([piece.text.tolist() for piece in pieces], speech.fill)
        prompts = [
            speech.prompt(piece.instruction, speech.config.latents_of(len(piece.text))) for piece in pieces
        ]
        spoken = speech.speak(prompts, [[*piece.heard.tolist(), speech.end] for piece in pieces])
        labels = torch.full_like(spoken.ids, IGNORED)
        for row, piece in enumerate(pieces):
            labels[row, -len(piece.answer) - 1 :] = torch.tensor([*piece.answer.tolist(), speech.end])
        return {
            "texts": texts,
            "texts_present": texts_present,
            "ids": spoken.ids,
            "present": spoken.present,
            "asked": spoken.asked,
            "labels": labels,
        }
