"""C3: a long text kept as a few latents, which a language model reads in its place (Liu et al. 2025, arXiv:2511.15244).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.c3.book import Book, read_book, write_book
    from visionsmith.papers.c3.codec import Answer, Codec, Packed
    from visionsmith.papers.c3.config import C3Config, LanguageConfig
    from visionsmith.papers.c3.config import published as published
    from visionsmith.papers.c3.model import C3, Latents
    from visionsmith.papers.c3.official import from_official, load_any, read_official, write_official

__all__ = [
    "C3",
    "Answer",
    "Book",
    "C3Config",
    "Codec",
    "LanguageConfig",
    "Latents",
    "Packed",
    "from_official",
    "load_any",
    "published",
    "read_book",
    "read_official",
    "write_book",
    "write_official",
]

_HOME = {
    "book": ("Book", "read_book", "write_book"),
    "codec": ("Answer", "Codec", "Packed"),
    "config": ("C3Config", "LanguageConfig", "published"),
    "model": ("C3", "Latents"),
    "official": ("from_official", "load_any", "read_official", "write_official"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
