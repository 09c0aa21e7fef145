"""Phrases that a name or caption is put into."""

from __future__ import annotations

__all__ = ["PHRASES", "PLAIN"]

PLAIN = "{}"

PHRASES = (
    "a drawing of {}",
    "an emoji of {}",
    "a picture of {}",
    "an icon that shows {}",
    "{}, drawn in a flat style",
    "this is {}",
    "a small picture: {}",
)
"""Used at random in training (`augment.phrase`) and together in a prompt ensemble (sec. 3.1.4)."""
