"""One record of a data set: a picture as it came, its caption, and whatever else is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One record."""

    key: str
    """Unique in a data set."""
    image: bytes = b""
    """The encoded file as it came (PNG, JPEG, WebP, ...); empty when the record has no picture."""
    caption: str = ""
    """Empty when the record has none."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""
