"""Contact sheets: many pictures in one, each whole in its cell with its caption below.

Text is set in DejaVu Sans, which matplotlib carries: Latin, Greek, Cyrillic and many signs, but no Hangul,
Han or Kana. A character that the font lacks appears as a box, and a line at the foot of the sheet says so.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

__all__ = ["contact_sheet", "drawable", "font_file"]

UNKNOWN = "▯"
MAX_LINES = 3
INK, SOFT, LINE, GROUND = "#1b1d20", "#5c636c", "#dcdfe3", "#f5f6f7"
RIGHT, WRONG = "#0a8a5f", "#c8321f"

_SIGNS = {None: "", True: "✓ ", False: "✗ "}
_COLOURS = {"": LINE, "✓ ": RIGHT, "✗ ": WRONG}

Picture = npt.NDArray[np.uint8]
Font = ImageFont.FreeTypeFont


def font_file(*, bold: bool = False) -> Path:
    """DejaVu Sans as matplotlib carries it: the one font of plots and contact sheets."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def drawable(text: str) -> str:
    """`text` with a box in place of every character that the font does not have (Korean, for one)."""
    return "".join(
        char if char in " \n" or _has_glyph(char) else " " if char.isspace() else UNKNOWN for char in text
    )


def contact_sheet(
    pictures: Sequence[Picture],
    captions: Sequence[str],
    *,
    columns: int = 6,
    cell: int = 160,
    title: str = "",
    marks: Sequence[bool | None] | None = None,
) -> Picture:
    """Lay pictures out in a grid, row by row from the left.

    Args:
        pictures: RGB HWC uint8 [0, 255], of any sizes; scaled to fit the cell, never stretched or cut.
        captions: one a picture; wrapped, and cut with an ellipsis after three lines.
        columns: cells a row; fewer where there are fewer pictures.
        cell: side of a cell, pixels.
        title: one line above the grid.
        marks: by picture, whether it is right (green frame and tick), wrong (red frame and cross), or
            neither (None).

    Returns:
        The sheet, RGB HWC uint8 [0, 255], on white.
    """
    assert pictures, "no pictures to show"
    assert len(captions) == len(pictures), f"{len(captions)} captions for {len(pictures)} pictures"
    assert marks is None or len(marks) == len(pictures), (
        f"{len(marks or ())} marks for {len(pictures)} pictures"
    )
    assert columns > 0, f"columns = {columns}"
    assert cell >= 16, f"cell = {cell} pixels"
    size = max(10, round(cell * 0.08))
    font = ImageFont.truetype(font_file(), size)
    signs = [_SIGNS[mark] for mark in marks or [None] * len(pictures)]
    texts = [_wrap(sign + drawable(text), font, cell) for sign, text in zip(signs, captions, strict=True)]
    lacking = any(UNKNOWN in drawable(text) for text in (title, *captions))
    grid = _Grid(
        columns=min(columns, len(pictures)),
        cell=cell,
        size=size,
        lines=max(map(len, texts)),
        has_title=bool(title),
    )
    rows = -(-len(pictures) // grid.columns)
    sheet = Image.new("RGB", (grid.width, grid.height(rows) + (2 * grid.line if lacking else 0)), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        heading = ImageFont.truetype(font_file(bold=True), round(size * 1.35))
        text = _fit(drawable(title), heading, grid.width - 2 * grid.margin)
        draw.text((grid.margin, round(0.7 * grid.margin)), text, INK, heading)
    for index, (picture, lines, sign) in enumerate(zip(pictures, texts, signs, strict=True)):
        left, top = grid.corner(index)
        _frame(draw, left, top, cell, sign)
        _place(sheet, picture, left, top, cell)
        _caption(draw, lines, sign, font, left, top + cell + grid.below_picture, grid.line)
    if lacking:
        foot = f"{UNKNOWN} stands for a character that the sheet's font lacks (DejaVu Sans)"
        place = (grid.margin, grid.height(rows) - grid.margin // 2)
        draw.text(place, _fit(foot, font, grid.width - 2 * grid.margin), SOFT, font)
    return np.asarray(sheet)


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Where everything stands, in pixels."""

    columns: int
    cell: int
    size: int
    """Type size."""
    lines: int
    """Lines of the longest caption."""
    has_title: bool

    @property
    def margin(self) -> int:
        return round(self.cell * 0.15)

    @property
    def gap(self) -> int:
        return round(self.cell * 0.12)

    @property
    def line(self) -> int:
        return round(self.size * 1.35)

    @property
    def below_picture(self) -> int:
        return round(self.size * 0.6)

    @property
    def pitch(self) -> int:
        """From the top of a row to the top of the next."""
        return self.cell + self.below_picture + self.lines * self.line + self.gap

    @property
    def head(self) -> int:
        return self.margin + (round(self.size * 2.2) if self.has_title else 0)

    @property
    def width(self) -> int:
        return 2 * self.margin + self.columns * self.cell + (self.columns - 1) * self.gap

    def height(self, rows: int) -> int:
        return self.head + rows * self.pitch - self.gap + self.margin

    def corner(self, index: int) -> tuple[int, int]:
        """Left and top of the cell of picture `index`."""
        row, column = divmod(index, self.columns)
        return self.margin + column * (self.cell + self.gap), self.head + row * self.pitch


def _frame(draw: ImageDraw.ImageDraw, left: int, top: int, cell: int, sign: str) -> None:
    """The ground of a cell, with its frame outside so that it hides nothing of the picture."""
    thickness = max(3, cell // 40) if sign else 1
    box = (left - thickness, top - thickness, left + cell + thickness - 1, top + cell + thickness - 1)
    draw.rectangle(box, fill=GROUND, outline=_COLOURS[sign], width=thickness)


def _place(sheet: Image.Image, picture: Picture, left: int, top: int, cell: int) -> None:
    assert picture.ndim == 3, f"a picture has shape {picture.shape}; it must be RGB, HWC"
    assert picture.shape[2] == 3, f"a picture has shape {picture.shape}; it must be RGB, HWC"
    assert picture.dtype == np.uint8, f"a picture is {picture.dtype}; it must be uint8"
    height, width = picture.shape[:2]
    scale = cell / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(np.ascontiguousarray(picture))
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(image, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))


def _caption(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], sign: str, font: Font, left: int, top: int, pitch: int
) -> None:
    for number, text in enumerate(lines):
        draw.text((left, top + number * pitch), text, INK, font)
    if sign:
        draw.text((left, top), sign, _COLOURS[sign], font)


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """At most three lines of `text` that fit; a word too long for a line is broken, what is left is cut."""
    lines: list[str] = []
    rest = " ".join(text.split(" ")).replace("\n", " ").strip()
    while rest and len(lines) < MAX_LINES - 1:
        taken = _fitting(rest, font, width)
        if taken < len(rest) and " " in rest[: taken + 1].strip():
            taken = rest[: taken + 1].rindex(" ")
        lines.append(rest[:taken].rstrip())
        rest = rest[taken:].lstrip()
    return [*lines, _fit(rest, font, width)] if rest else lines or [""]


def _fitting(text: str, font: Font, width: int) -> int:
    """How many leading characters fit into `width` pixels; at least one."""
    return max(
        1, bisect_right(range(1, len(text) + 1), width, key=lambda end: math.ceil(font.getlength(text[:end])))
    )


def _fit(text: str, font: Font, width: int) -> str:
    """One line that fits; what is cut leaves an ellipsis."""
    if font.getlength(text) <= width:
        return text
    return text[: _fitting(text, font, width - round(font.getlength("…")))].rstrip() + "…"


@cache
def _glyphs() -> FT2Font:
    return FT2Font(str(font_file()))


def _has_glyph(char: str) -> bool:
    return bool(_glyphs().get_char_index(ord(char)))
