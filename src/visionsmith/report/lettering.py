"""Text on contact sheets: DejaVu Sans, and for other scripts the font that `visionsmith.image` finds.

DejaVu, which matplotlib carries, has Latin, Greek, Cyrillic and many signs. A caption in Hangul, Han or Kana is set in
OpenCV's own font, which is on every machine. What no font here has appears as a box.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image

from visionsmith.errors import ConfigError
from visionsmith.image.fonts import Font, font_for, normalise

__all__ = ["UNKNOWN", "Lettering", "drawable", "font_file", "lettering"]

UNKNOWN = "▯"


def font_file(*, bold: bool = False) -> Path:
    """DejaVu Sans as matplotlib carries it: the font of plots, and of sheets wherever it has the characters."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def drawable(text: str) -> str:
    """`text` with a box in place of every character that DejaVu Sans does not have (Korean, for one)."""
    return "".join(
        char if char in " \n" or _has_glyph(char) else " " if char.isspace() else UNKNOWN for char in text
    )


@dataclass(frozen=True)
class Lettering:
    """A font in one size."""

    font: Font
    size: int
    """Of the type, pixels."""

    def width(self, text: str) -> int:
        """Length of a line, pixels."""
        return self.font.width(text, self.size)

    def draw(self, sheet: Image.Image, text: str, left: int, top: int, colour: str) -> None:
        """Draw one line; `top` is where its tallest letters reach to."""
        if not text.strip():
            return
        ascent, descent = self.font.metrics(self.size)
        # Room of one type size round it, for what hangs over.
        room = self.size
        mask = np.zeros((ascent + descent + 2 * room, self.width(text) + 2 * room), np.uint8)
        self.font.draw(mask, text, room, room + ascent, self.size)
        sheet.paste(colour, (left - room, top - room), Image.fromarray(mask))


def lettering(text: str, size: int, *, bold: bool = False) -> tuple[Lettering, str]:
    """What a text is set in, and the text as it is then drawn.

    Args:
        text: any.
        size: of the type, pixels.
        bold: whether it is a heading; other fonts than DejaVu have one weight only.
    """
    plain = drawable(text)
    if UNKNOWN in plain:
        try:
            return Lettering(font_for(text), size), " ".join(normalise(text).splitlines())
        except ConfigError:  # some character is in no font, or in none together with the others
            pass
    return Lettering(Font("DejaVu Sans", font_file(bold=bold)), size), plain


@cache
def _glyphs() -> FT2Font:
    return FT2Font(str(font_file()))


def _has_glyph(char: str) -> bool:
    return bool(_glyphs().get_char_index(ord(char)))
