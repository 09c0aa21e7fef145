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
from visionsmith.papers.c3.scenes import questions_about, tell
from visionsmith.papers.c3.speech import REPEAT, Speech, filled

__all__ = ["AskedDataset", "Piece", "PieceCollate", "PieceDataset", "Turn"]


@dataclass(frozen=True)
class Turn:
    """What the decoder is asked, and what it shall say."""

    instruction: str
    answer: np.ndarray
    """int64 `t`, without the end of the turn."""
    heard: np.ndarray
    """The answer as the decoder hears itself say it: some of its tokens may be hidden."""


@dataclass(frozen=True)
class Piece:
    """One sample."""

    text: np.ndarray
    """int64 `t`, what the compressor reads."""
    turns: tuple[Turn, ...]
    """One, or several of a dialogue about the text."""


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
        elif kind < mix.random + mix.told:
            _, told = tell(rng)
            text = np.array(self.speech.encode(told)[: self.chunk], dtype=np.int64)
        return Piece(text, (Turn(REPEAT, text, self._hide(text, rng)),))

    def _hide(self, answer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Replace a share of the tokens, itself drawn between 0 and twice `mix.hidden`, by the filling token."""
        share = 2 * self.mix.hidden * rng.random()
        return np.where(rng.random(len(answer)) < share, self.speech.fill, answer)


class AskedDataset(Dataset[Piece]):
    """Samples by (epoch, index), without end: a scene told in words, and a dialogue of questions about it."""

    def __init__(self, speech: Speech, turns: int, seed: int) -> None:
        """Make the data set.

        Args:
            speech: the vocabulary.
            turns: questions about a scene.
            seed: of all random choices.
        """
        self.speech, self.turns, self.seed = speech, turns, seed

    def __getitem__(self, key: tuple[int, int]) -> Piece:
        rng = generator(self.seed, *key)
        scene, told = tell(rng)
        turns = []
        for question in questions_about(scene, self.turns, rng):
            answer = np.array(self.speech.encode(question.answer), dtype=np.int64)
            turns.append(Turn(question.text, answer, answer))
        # What is cut off of a text longer than a chunk, a user's chunk would not have either.
        text = np.array(self.speech.encode(told)[: self.speech.config.chunk], dtype=np.int64)
        return Piece(text, tuple(turns))


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
            speech.prompt(piece.turns[0].instruction, speech.config.latents_of(len(piece.text)))
            for piece in pieces
        ]
        said = [self._said(piece.turns) for piece in pieces]
        spoken = speech.speak(prompts, [heard for heard, _ in said])
        labels = torch.full_like(spoken.ids, IGNORED)
        for row, (_, learned) in enumerate(said):
            labels[row, -len(learned) :] = torch.tensor(learned)
        return {
            "texts": texts,
            "texts_present": texts_present,
            "ids": spoken.ids,
            "present": spoken.present,
            "asked": spoken.asked,
            "labels": labels,
        }

    def _said(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """The first answer and all turns after it, as the decoder hears them, and the labels at the same places."""
        heard: list[int] = []
        labels: list[int] = []
        for place, turn in enumerate(turns):
            asked = self.speech.follow_up(turn.instruction) if place else []
            heard += [*asked, *turn.heard.tolist(), self.speech.end]
            labels += [*[IGNORED] * len(asked), *turn.answer.tolist(), self.speech.end]
        return heard, labels
