"""CLIP's lower-cased byte-level BPE (Radford et al. 2021, sec. 2.4), over the compiled `tokenizers` library.

A vocabulary is laid out as published: 256 bytes, the same 256 at the end of a word, the merges, the start
token, the end token. So the end token has the largest id.

Axes: b captions, n tokens.
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import ftfy
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from visionsmith.errors import CheckpointError, ConfigError, DataError

__all__ = ["ClipTokenizer", "clean"]

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"

# DIFFERS: the published pattern also matches the names of the start and end tokens, which lets the text of a
# caption end it early. Here such text is ordinary text.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

OFFICIAL_MERGES = 49152 - 256 - 2
"""Merges of the published file that are used; it holds more."""


class ClipTokenizer:
    """Captions to token ids and back.

    Attributes:
        vocab_size: number of ids.
        start_token: id that every caption begins with.
        end_token: id that every caption ends with.
        context_length: most tokens of a caption, start and end included.
    """

    def __init__(self, vocab: dict[str, int], merges: Sequence[tuple[str, str]], context_length: int) -> None:
        """Make a tokenizer from its vocabulary and its merges, in order of priority.

        Raises:
            ConfigError: the context has no room for a token between start and end.
            CheckpointError: the vocabulary lacks the start or end token, or the parts of a merge.
        """
        if context_length < 3:
            raise ConfigError(
                f"context_length = {context_length} leaves no room for a word", do="choose at least 3"
            )
        for token in (START, END):
            if token not in vocab:
                raise CheckpointError(
                    f"the vocabulary has no {token}", do="give the files of a CLIP tokenizer"
                )
        self.context_length = context_length
        self.start_token, self.end_token = vocab[START], vocab[END]
        self.vocab_size = max(vocab.values()) + 1
        try:
            model = models.BPE(vocab=vocab, merges=list(merges), end_of_word_suffix=WORD_END, unk_token=END)
        except Exception as error:  # the compiled library raises nothing narrower
            raise CheckpointError(f"vocabulary and merges do not belong together ({error})") from error
        self._tokenizer = _pipeline(model)
        self._tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}", special_tokens=[(START, self.start_token), (END, self.end_token)]
        )

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int, context_length: int) -> ClipTokenizer:
        """Learn the merges from captions.

        Args:
            texts: captions.
            vocab_size: most ids, at least 514; fewer are made when the captions have no pair left that occurs
                twice.
            context_length: most tokens of a caption, start and end included.
        """
        base = _base_vocabulary()
        if vocab_size < len(base) + 2:
            raise ConfigError(
                f"vocab_size = {vocab_size} is too small: bytes, start and end take {len(base) + 2}",
                do=f"choose at least {len(base) + 2}",
            )
        tokenizer = _pipeline(models.BPE(end_of_word_suffix=WORD_END))
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            show_progress=False,
            # As specials they have fixed ids while it learns. Left to itself it numbers ends of words in an
            # order that changes from run to run, and breaks ties between merges by these numbers.
            special_tokens=base,
            end_of_word_suffix=WORD_END,
        )
        tokenizer.train_from_iterator((clean(text) for text in texts), trainer)
        merges = [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
        return cls(*_vocabulary(base, merges, vocab_size - 2), context_length)

    @classmethod
    def from_official(cls, path: Path, *, context_length: int = 77) -> ClipTokenizer:
        """Read a published tokenizer.

        Args:
            path: `bpe_simple_vocab_16e6.txt.gz`, or a folder with `vocab.json` and `merges.txt`.
            context_length: most tokens of a caption, start and end included.

        Raises:
            CheckpointError: a file is missing or is something else.
        """
        path = Path(path)
        try:
            if path.is_dir():
                vocab = json.loads((path / "vocab.json").read_text(encoding="utf-8"))
                return cls(
                    vocab, _read_merges((path / "merges.txt").read_text(encoding="utf-8")), context_length
                )
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(
                f"is not a CLIP tokenizer ({error})",
                where=path,
                do="give bpe_simple_vocab_16e6.txt.gz, or a folder with vocab.json and merges.txt",
            ) from error
        return cls(
            *_vocabulary(_base_vocabulary(), _read_merges(text)[:OFFICIAL_MERGES], None), context_length
        )

    @classmethod
    def from_bytes(cls, content: bytes, context_length: int) -> ClipTokenizer:
        """Read what `save` wrote.

        Raises:
            CheckpointError: it is something else.
        """
        try:
            model = json.loads(content)["model"]
            vocab, merges = model["vocab"], [_pair(merge) for merge in model["merges"]]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                "the tokenizer file is not one of CLIP", do="copy it again from its source"
            ) from error
        return cls(vocab, merges, context_length)

    def save(self) -> bytes:
        """The content of a `tokenizer.json`, which the `tokenizers` library reads too."""
        portable = Tokenizer.from_str(self._tokenizer.to_str())
        # For those who open it without this class; captions that come through `clean` need none of it.
        portable.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        return str(portable.to_str()).encode()

    def encode(self, texts: Sequence[str], *, truncate: bool = True) -> Tensor:
        """Captions to ids.

        Args:
            texts: captions.
            truncate: cut a caption that is too long and end it with the end token; otherwise it is refused.

        Returns:
            b n int64, padded with 0 to the longest caption.

        Raises:
            DataError: a caption is too long and `truncate` is false.
        """
        assert not isinstance(texts, str), "encode takes a sequence of captions, not one string"
        encoded = self._tokenizer.encode_batch_fast([clean(text) for text in texts])
        rows = [encoding.ids for encoding in encoded]
        limit = self.context_length
        for index, row in enumerate(rows):
            if len(row) > limit:
                if not truncate:
                    begin = texts[index][:30]
                    raise DataError(
                        f"caption {index} ('{begin}...') has {len(row)} tokens of {limit} allowed",
                        do="shorten it or let it be truncated",
                    )
                rows[index] = [*row[: limit - 1], self.end_token]
        longest = max(map(len, rows), default=0)
        padded = [row + [0] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.int64).view(len(rows), longest)

    def decode(self, tokens: Tensor) -> list[str]:
        """Ids back to cleaned captions, b n -> b strings; what follows the end token is ignored."""
        return [self._decode_row(row) for row in tokens.tolist()]

    def _decode_row(self, row: list[int]) -> str:
        if self.end_token in row:
            row = row[: row.index(self.end_token)]
        words = self._tokenizer.decode([token for token in row if token != self.start_token])
        return str(words).replace(WORD_END, " ").strip()


def clean(text: str) -> str:
    """Mend broken characters, undo HTML escapes, lower the case, make all white space single blanks."""
    # Printable ASCII without an ampersand is what ftfy and unescape leave alone, and nearly all captions.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def _pipeline(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _base_vocabulary() -> list[str]:
    """A printable character for each byte, in the published order, and again each at the end of a word."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
    return characters + [character + WORD_END for character in characters]


def _vocabulary(
    base: list[str], merges: list[tuple[str, str]], limit: int | None
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids in the published order, and the merges that fit; `limit` counts the ids without start and end."""
    vocab = {token: index for index, token in enumerate(base)}
    used = []
    for left, right in merges:
        if limit is not None and len(vocab) >= limit:
            break
        vocab.setdefault(left + right, len(vocab))
        used.append((left, right))
    for token in (START, END):
        vocab[token] = len(vocab)
    return vocab, used


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """A merge as files hold it: two parts, or, in older ones, both in one string."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _read_merges(text: str) -> list[tuple[str, str]]:
    """One merge a line, two parts with a blank between; the first line may name the version."""
    lines = text.split("\n")
    pairs = (line.partition(" ") for line in lines["#version" in lines[0] :])
    return [(left, right.rstrip("\r")) for left, blank, right in pairs if blank]
