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
from visionsmith.papers.c3.speech import AFTER, FIND, NO, REPEAT, YES, Speech, filled

__all__ = ["ANSWER", "CUE", "Piece", "PieceCollate", "PieceDataset", "Turn", "finding", "question"]

CUE = (3, 6)
"""Tokens of a text that a question names: at least, and at most."""
ANSWER = 24
"""Most tokens of a question's answer; of a short text as many as the named ones leave."""

FOUND = (1, 3)
"""Words that are looked for: at least, and at most."""
LOOKED_FOR = 8
"""Questions of words that are put to one text."""
TRIES = 20
"""Draws of words that another text has, until this one has them not."""


@dataclass(frozen=True)
class Turn:
    """What the decoder is asked of a text."""

    instruction: str
    answer: np.ndarray
    """int64 `t`, what the decoder shall say, without the end of the turn."""
    heard: np.ndarray
    """The answer as the decoder hears itself say it: some of its tokens are hidden."""


@dataclass(frozen=True)
class Piece:
    """One sample."""

    text: np.ndarray
    """int64 `t`, what the compressor reads, once for all turns."""
    turns: tuple[Turn, ...]


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
        elif kind < mix.random + mix.finding:
            place = int(rng.integers(len(self.stream) - self.chunk))
            other = self.stream[place : place + self.chunk]
            asked = [finding(text, other, self.speech, rng) for _ in range(LOOKED_FOR)]
            return Piece(text, tuple(Turn(instruction, answer, answer) for instruction, answer in asked))
        elif kind >= 1 - mix.questions and length >= self.asked:
            instruction, answer = question(text, self.speech, rng)
            return Piece(text, (Turn(instruction, answer, self._hide(answer, rng)),))
        return Piece(text, (Turn(REPEAT, text, self._hide(text, rng)),))

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


def finding(
    text: np.ndarray, other: np.ndarray, speech: Speech, rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    """Whether a text has some words: those of its own half of the time, else those of another that it has not.

    Args:
        text: tokens.
        other: tokens of a text that is elsewhere.
        speech: the vocabulary.
        rng: where all chance comes from.

    Returns:
        The instruction, and the tokens of the answer.
    """
    said = speech.decode(text.tolist())
    own = rng.random() < 0.5
    # The first and the last word may be cut.
    words = (said if own else speech.decode(other.tolist())).split()[1:-1]
    for _ in range(TRIES):
        count = int(rng.integers(FOUND[0], FOUND[1] + 1))
        if len(words) < count:
            break
        start = int(rng.integers(len(words) - count + 1))
        cue = " ".join(words[start : start + count])
        if own or cue not in " ".join(said.split()):
            return f"{FIND}{cue}", np.array(speech.encode(YES if own else NO), dtype=np.int64)
    cue = words[0] if words else said
    answer = YES if cue in said else NO
    return f"{FIND}{cue}", np.array(speech.encode(answer), dtype=np.int64)


class PieceCollate:
    """Samples -> a batch of tensors, each filled up to its longest row.

    texts, texts_present: what the compressor reads, `b t`; of: int64 `q`, the text of each turn; ids, present, asked:
    what the decoder is given, as `speech.Spoken` has it; labels: `q t`, its tokens where something is learned.
    """

    def __init__(self, speech: Speech) -> None:
        self.speech = speech

    def __call__(self, pieces: Sequence[Piece]) -> dict[str, Tensor]:
        """See the class."""
        speech = self.speech
        texts, texts_present = filled([piece.text.tolist() for piece in pieces], speech.fill)
        turns = [(place, turn) for place, piece in enumerate(pieces) for turn in piece.turns]
        prompts = [
            speech.prompt(turn.instruction, speech.config.latents_of(len(pieces[place].text)))
            for place, turn in turns
        ]
        spoken = speech.speak(prompts, [[*turn.heard.tolist(), speech.end] for _, turn in turns])
        labels = torch.full_like(spoken.ids, IGNORED)
        for row, (_, turn) in enumerate(turns):
            labels[row, -len(turn.answer) - 1 :] = torch.tensor([*turn.answer.tolist(), speech.end])
        return {
            "texts": texts,
            "texts_present": texts_present,
            "of": torch.tensor([place for place, _ in turns]),
            "ids": spoken.ids,
            "present": spoken.present,
            "asked": spoken.asked,
            "labels": labels,
        }
