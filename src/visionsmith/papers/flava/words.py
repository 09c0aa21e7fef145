"""Word pieces as FLAVA reads them: "[CLS]", the pieces, "[SEP]"; and the masked versions.

The vocabulary is a tokenizers file, learned from the training texts or BERT's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.flava.model import PAD
from visionsmith.papers.vocabulary import learn_word_pieces, read_vocabulary, token_id

__all__ = ["MASK", "SPECIAL", "Words", "pad"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MASK = "[MASK]"


class Words:
    """A vocabulary and the most pieces that a text may have."""

    def __init__(self, tokenizer: Tokenizer, context_length: int, *, where: Path | None = None) -> None:
        """Wrap a vocabulary.

        Args:
            tokenizer: of word pieces, with BERT's special tokens.
            context_length: most pieces of a text, the first and the last token included.
            where: the file it came from, for errors.

        Raises:
            CheckpointError: a special token is missing, or the padding is not id 0.
        """
        self.tokenizer, self.context_length = tokenizer, context_length
        # Only what this class does is wanted: a file may bring settings that pad, cut or add tokens.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.first, self.last, self.mask = (
            token_id(tokenizer, token, where=where) for token in ("[CLS]", "[SEP]", MASK)
        )
        self.unknown = token_id(tokenizer, "[UNK]", where=where)
        if (pad := token_id(tokenizer, "[PAD]", where=where)) != PAD:
            raise CheckpointError(
                f"its padding token has the id {pad}", where=where, do="give a vocabulary whose [PAD] is 0"
            )
        self.ordinary = (max(self.first, self.last, self.mask, self.unknown) + 1, self.size)

    @classmethod
    def learn(cls, texts: Iterable[str], *, size: int, context_length: int) -> Words:
        """Learn at most `size` pieces from texts."""
        return cls(learn_word_pieces(texts, size=size, special=SPECIAL), context_length)

    @classmethod
    def read(cls, folder: Path, context_length: int) -> Words:
        """The vocabulary of a checkpoint or of a published folder."""
        return cls(read_vocabulary(folder), context_length, where=folder)

    @property
    def size(self) -> int:
        """Ids that there are."""
        return int(self.tokenizer.get_vocab_size())

    def pieces(self, text: str) -> tuple[list[int], list[bool]]:
        """Ids of a text's pieces, cut to the context, without the first and last token; and which begin a word.

        "[MASK]" in a text is the mask token. A text of no words is one unknown piece.
        """
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        ids, tokens = encoded.ids or [self.unknown], encoded.tokens or ["[UNK]"]
        room = self.context_length - 2
        return ids[:room], [not token.startswith("##") for token in tokens[:room]]

    def framed(self, pieces: Sequence[int] | np.ndarray) -> np.ndarray:
        """Pieces between the first and the last token: int64."""
        return np.array([self.first, *pieces, self.last], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """int64 `b t`, padded to the longest."""
        return pad([self.framed(self.pieces(text)[0]) for text in texts])

    def places_to_fill(self, text: str) -> tuple[np.ndarray, list[int]]:
        """A text with "[MASK]" in it, framed, and where the masks are.

        Raises:
            ConfigError: there is none, or it lies behind what the model reads.
        """
        framed = self.framed(self.pieces(text)[0])
        places = np.flatnonzero(framed == self.mask).tolist()
        if not places:
            raise ConfigError(
                f"'{text}' has no {MASK} among its first {self.context_length - 2} word pieces",
                do=f'write one where a word is missing, as in "a {MASK} cat"',
            )
        return framed, places

    def word(self, piece: int) -> str:
        """A piece as it is written."""
        return str(self.tokenizer.id_to_token(piece))


def pad(rows: Sequence[np.ndarray], value: int = PAD) -> Tensor:
    """Rows of several lengths as one: int64 `b t`."""
    padded = torch.full((len(rows), max(len(row) for row in rows)), value, dtype=torch.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.from_numpy(row)
    return padded
