"""Contact sheets: many pictures in one, each whole in its cell with its caption below.

Captions are set in the font that has their characters (`lettering`). A character that no font here has appears as a
box, and a line at the foot of the sheet says so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionsmith.report.lettering import UNKNOWN, Lettering, lettering

__all__ = ["contact_sheet"]

MAX_LINES = 3
INK, SOFT, LINE, GROUND = "#1b1d20", "#5c636c", "#dcdfe3", "#f5f6f7"
RIGHT, WRONG = "#0a8a5f", "#c8321f"

_SIGNS = {None: "", True: "✓ ", False: "✗ "}
_COLOURS = {"": LINE, "✓ ": RIGHT, "✗ ": WRONG}

Picture = npt.NDArray[np.uint8]


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
    plain, _ = lettering("", size)
    signs = [_SIGNS[mark] for mark in marks or [None] * len(pictures)]
    letters = [lettering(text, size) for text in captions]
    texts = [
        _wrap(text, face, cell, plain.width(sign)) for (face, text), sign in zip(letters, signs, strict=True)
    ]
    heading, headline = lettering(title, round(size * 1.35), bold=True)
    lacking = any(UNKNOWN in text for text in (headline, *(text for _, text in letters)))
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
    inner = grid.width - 2 * grid.margin
    heading.draw(sheet, _fit(headline, heading, inner), grid.margin, round(0.7 * grid.margin), INK)
    for index, (picture, lines, sign) in enumerate(zip(pictures, texts, signs, strict=True)):
        left, top = grid.corner(index)
        _frame(draw, left, top, cell, sign)
        _place(sheet, picture, left, top, cell)
        top += cell + grid.below_picture
        plain.draw(sheet, sign, left, top, _COLOURS[sign])
        for number, text in enumerate(lines):
            indent = 0 if number else plain.width(sign)
            letters[index][0].draw(sheet, text, left + indent, top + number * grid.line, INK)
    if lacking:
        foot = f"{UNKNOWN} stands for a character that no font here has together with the others"
        plain.draw(sheet, _fit(foot, plain, inner), grid.margin, grid.height(rows) - grid.margin // 2, SOFT)
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


def _wrap(text: str, face: Lettering, width: int, indent: int) -> list[str]:
    """At most three lines of `text` that fit, the first with room for `indent` pixels before it.

    A word too long for a line is broken, what is left is cut.
    """
    lines: list[str] = []
    rest = " ".join(text.split(" ")).replace("\n", " ").strip()
    while rest and len(lines) < MAX_LINES - 1:
        taken = _fitting(rest, face, width if lines else width - indent)
        if taken < len(rest) and " " in rest[: taken + 1].strip():
            taken = rest[: taken + 1].rindex(" ")
        lines.append(rest[:taken].rstrip())
        rest = rest[taken:].lstrip()
    return [*lines, _fit(rest, face, width)] if rest else lines or [""]


def _fitting(text: str, face: Lettering, width: int) -> int:
    """How many leading characters fit into `width` pixels; at least one."""
    return max(1, bisect_right(range(1, len(text) + 1), width, key=lambda end: face.width(text[:end])))


def _fit(text: str, face: Lettering, width: int) -> str:
    """One line that fits; what is cut leaves an ellipsis."""
    if face.width(text) <= width:
        return text
    return text[: _fitting(text, face, width - face.width("…"))].rstrip() + "…"
