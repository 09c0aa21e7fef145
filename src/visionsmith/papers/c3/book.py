"""A text as a file of latents: safetensors, with what is needed to read it again.

| tensor    | holds                                        |
|-----------|----------------------------------------------|
| `latents` | float16 `n d`, those of all chunks in a row  |
| `counts`  | int64 `chunks`, latents of each chunk        |
| `tokens`  | int64 `chunks`, tokens of each chunk         |

The metadata name the format, the model's digest, the characters of the text and its SHA-256, by which a restored text
is known to be exact or not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from visionsmith.durable import write_whole
from visionsmith.errors import DataError, OutputError
from visionsmith.papers.c3.codec import Codec, Packed

__all__ = ["Book", "digest", "read_book", "stored", "write_book"]

FORMAT = "c3-latents-1"


@dataclass(frozen=True)
class Book:
    """What a file holds."""

    packed: Packed
    model: str
    """The digest of the model that wrote it."""
    characters: int
    sha256: str
    """Of the original text in UTF-8."""


def digest(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def stored(packed: Packed) -> Packed:
    """Latents as a file gives them back: rounded to float16."""
    return Packed(tuple(values.half().float() for values in packed.latents), packed.tokens)


def write_book(path: Path, packed: Packed, codec: Codec, text: str, *, overwrite: bool = False) -> int:
    """Write a text's latents; a file appears whole or not at all.

    Args:
        path: of the file.
        packed: the latents.
        codec: that made them.
        text: the original, of which only its length and digest are kept.
        overwrite: whether a file that is there may be replaced.

    Returns:
        Bytes of the file.

    Raises:
        OutputError: it is there already, or cannot be written.
    """
    require_free(path, overwrite=overwrite)
    content = save(
        {
            "latents": torch.cat(packed.latents).half(),
            "counts": torch.tensor([len(values) for values in packed.latents]),
            "tokens": torch.tensor(packed.tokens),
        },
        metadata={
            "format": FORMAT,
            "model": codec.digest(),
            "characters": str(len(text)),
            "sha256": digest(text),
        },
    )
    write_whole(path, content)
    return len(content)


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken.

    Raises:
        OutputError: a file is there and may not be replaced, or a folder is.
    """
    if path.is_dir():
        raise OutputError("is a folder", where=path, do="give a file name")
    if path.exists() and not overwrite:
        raise OutputError("is there already", where=path, do="choose another name, or add --overwrite")


def read_book(path: Path, codec: Codec | None = None) -> Book:
    """Read a file of latents.

    Args:
        path: of the file.
        codec: whose latents they must be; None takes any.

    Raises:
        DataError: it is missing, no such file, damaged, or of another model.
    """
    do = "give a file that `visionsmith run c3 compress` wrote"
    if not path.is_file():
        raise DataError("no such file", where=path, do=do)
    try:
        with safe_open(path, framework="pt") as opened:
            about = opened.metadata() or {}
            if about.get("format") != FORMAT:
                raise DataError("holds no latents of C3", where=path, do=do)
            latents, counts, tokens = (opened.get_tensor(name) for name in ("latents", "counts", "tokens"))
            book = Book(
                Packed(torch.split(latents.float(), counts.tolist()), tuple(tokens.tolist())),
                about["model"],
                int(about["characters"]),
                about["sha256"],
            )
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, IndexError) as error:
        raise DataError(f"is no file of latents, or is damaged ({error})", where=path, do=do) from error
    if (
        latents.ndim != 2
        or len(book.packed.latents) != len(book.packed.tokens)
        or min(book.packed.tokens) < 1
    ):
        raise DataError("is damaged: its parts do not fit together", where=path, do="compress the text again")
    if codec is not None:
        _require_own(book, codec, path)
    return book


def _require_own(book: Book, codec: Codec, path: Path) -> None:
    own, width = codec.digest(), codec.model.config.decoder.width
    if book.model != own:
        raise DataError(
            f"was written by the model {book.model}, and this is {own}",
            where=path,
            do="give the checkpoint that wrote it (--checkpoint)",
        )
    config = codec.model.config
    fits = all(
        values.shape == (config.latents_of(count), width) and count <= config.chunk
        for values, count in zip(book.packed.latents, book.packed.tokens, strict=True)
    )
    if not fits or not all(bool(values.isfinite().all()) for values in book.packed.latents):
        raise DataError(
            "is damaged: its parts do not fit the model", where=path, do="compress the text again"
        )
