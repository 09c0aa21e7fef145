"""One self-contained HTML page: everything it shows is inside the file, and it runs no script.

The page opens offline, follows the light or dark scheme of the reader, prints, and fits a phone. All text is
escaped; a content security policy in the page forbids the browser to load anything from elsewhere.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from visionsmith._version import __version__
from visionsmith.durable import write_whole
from visionsmith.report.tables import cell_texts, numeric_columns, percent

__all__ = ["PLOT_MARK", "GalleryItem", "Page", "RankedItem"]

PLOT_MARK = b"visionsmith plot"
"""Text in the header of a PNG that says it is line art on white, so the dark scheme may invert it."""

_UNBROKEN = 14
"""A column of words none of which is longer than this, characters, is not broken into lines."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INLINE = re.compile(r"`([^`\n]+)`|(https?://[^\s<>\"'`]+)")


@dataclass(frozen=True, kw_only=True)
class RankedItem:
    """A picture and the answers that were ranked for it."""

    png: bytes
    caption: str
    """What the picture is, in words; also its alternative text."""
    ranks: Sequence[tuple[str, float, bool]]
    """(label, score in [0, 1], whether the label is true), best first."""


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """A picture of a gallery."""

    png: bytes
    caption: str
    score: float | None = None
    """Share in [0, 1], or None."""
    right: bool | None = None
    """Whether the answer was right; None where there is no such question."""


@dataclass(frozen=True)
class _Picture:
    uri: str
    width: int
    """Width on the screen, CSS pixels."""
    height: int
    is_plot: bool


@dataclass(frozen=True)
class _Figure:
    kind: ClassVar[str] = "figure"
    picture: _Picture
    caption: Markup
    alt: str
    number: int


@dataclass(frozen=True)
class _Table:
    kind: ClassVar[str] = "table"
    columns: Sequence[tuple[Markup, str]]
    """Heading and class of the column: `r` to the right, `n` never broken, or empty."""
    rows: Sequence[Sequence[Markup]]
    best: frozenset[int]
    caption: Markup
    number: int


@dataclass(frozen=True)
class _Text:
    kind: str
    """`text`, `note` or `code`."""
    paragraphs: Sequence[Markup | str]


@dataclass(frozen=True)
class _Rank:
    label: str
    score: str
    share: str
    """Length of the bar, CSS percentage."""
    is_true: bool


@dataclass(frozen=True)
class _Ranking:
    kind: ClassVar[str] = "ranking"
    items: Sequence[tuple[_Picture, str, Sequence[_Rank]]]


@dataclass(frozen=True)
class _Gallery:
    kind: ClassVar[str] = "gallery"
    items: Sequence[tuple[_Picture, GalleryItem, str]]
    columns: int


_Block = _Figure | _Table | _Text | _Ranking | _Gallery


@dataclass
class _Section:
    heading: str
    blocks: list[_Block] = field(default_factory=list)


class Page:
    """A report, built from top to bottom; what is added belongs to the last section begun.

    In running text, notes, tables and the captions of figures and tables, `code` in backticks is set as code
    and a bare https address becomes a link. Everything else is plain text.

    Args:
        title: what the page is about.
        subtitle: one line below it.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self._sections = [_Section("")]
        self._figures = 0
        self._tables = 0

    def section(self, heading: str, text: str = "") -> None:
        """Begin a section; blank lines part the paragraphs of `text`."""
        self._sections.append(_Section(heading))
        if text.strip():
            self._add(_Text("text", _paragraphs(text)))

    def figure(self, png: bytes, caption: str, alt: str, width: int | None = None) -> None:
        """A picture with a numbered caption.

        Args:
            png: the file's bytes.
            caption: what to see in it; an empty one takes no number.
            alt: the same for those who cannot see it.
            width: width on the screen, CSS pixels; by default the picture's own, at its own resolution.
                It shrinks to the space there is.
        """
        self._figures += bool(caption)
        number = self._figures if caption else 0
        self._add(_Figure(_picture(png, width), _inline(caption), alt, number))

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        caption: str = "",
        *,
        best: int | Sequence[int] | None = None,
    ) -> None:
        """A table; columns of numbers are set to the right, digits aligned (`tables.cell_texts`).

        Args:
            columns: headings.
            rows: as many cells each as there are columns.
            caption: stands above the table, numbered; an empty one takes no number.
            best: index of the row or rows to mark.
        """
        marked = frozenset([best] if isinstance(best, int) else best or ())
        assert all(0 <= index < len(rows) for index in marked), f"best = {best} of {len(rows)} rows"
        self._tables += bool(caption)
        number = self._tables if caption else 0
        texts, right = cell_texts(columns, rows), numeric_columns(columns, rows)
        classes = [
            "r" if right[index] else "n" if all(len(row[index]) <= _UNBROKEN for row in texts) else ""
            for index in range(len(columns))
        ]
        headings = [(_inline(name), kind) for name, kind in zip(columns, classes, strict=True)]
        cells = [[_inline(text) for text in row] for row in texts]
        self._add(_Table(headings, cells, marked, _inline(caption), number))

    def code(self, text: str) -> None:
        """Commands or settings, as they are."""
        self._add(_Text("code", [text.strip("\n")]))

    def note(self, text: str) -> None:
        """A call-out: an honest limit, or an attribution."""
        self._add(_Text("note", _paragraphs(text)))

    def ranking(self, items: Sequence[RankedItem]) -> None:
        """Cards: a picture and, beside it, a bar for every ranked answer; the true one stands out."""
        self._add(
            _Ranking(
                [
                    (_picture(item.png), item.caption, [_rank(*answer) for answer in item.ranks])
                    for item in items
                ]
            )
        )

    def gallery(self, items: Sequence[GalleryItem], columns: int | None = None) -> None:
        """Pictures in a grid, each with its caption and, where given, its score and a right / wrong mark.

        Args:
            items: the pictures, in reading order.
            columns: at most so many a row (6 by default); a narrow screen shows fewer.
        """
        assert columns is None or columns > 0, f"columns = {columns}"
        shown = [
            (_picture(item.png), item, "" if item.score is None else percent(_share(item.score)))
            for item in items
        ]
        self._add(_Gallery(shown, columns or 6))

    def html(self) -> str:
        """The whole page."""
        environment = Environment(
            loader=PackageLoader("visionsmith.report"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html.j2").render(
            title=self.title,
            subtitle=_inline(self.subtitle),
            sections=self._sections,
            version=__version__,
        )

    def write(self, path: Path) -> None:
        """Write the page; a page that was there is replaced only by a whole one.

        Raises:
            OutputError: the place cannot be written.
        """
        # File names may carry bytes that are no text (surrogates); a report must not fail for their sake.
        write_whole(Path(path), self.html().encode("utf-8", errors="replace"))

    def _add(self, block: _Block) -> None:
        self._sections[-1].blocks.append(block)


def _inline(text: str) -> Markup:
    """Escaped text with `code` and bare links set."""
    parts, position = [], 0
    for match in _INLINE.finditer(text):
        parts.append(escape(text[position : match.start()]))
        code, address = match.groups()
        if code is not None:
            parts.append(Markup("<code>{}</code>").format(code))
        else:
            # A stop or bracket after an address belongs to the sentence.
            target = address.rstrip(".,;:!?)]")
            parts.append(Markup('<a href="{0}" rel="noreferrer">{0}</a>').format(target))
            parts.append(escape(address[len(target) :]))
        position = match.end()
    return Markup("").join([*parts, escape(text[position:])])


def _paragraphs(text: str) -> list[Markup]:
    return [_inline(paragraph.strip()) for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


def _picture(png: bytes, width: int | None = None) -> _Picture:
    """A PNG as data URI, with its size on the screen from its pixels and its resolution (pHYs), if any."""
    assert png[:8] == _PNG_SIGNATURE, "the picture is not PNG bytes"
    columns, rows = struct.unpack(">II", png[16:24])
    header = png[: png.find(b"IDAT")]
    found = header.find(b"pHYs")
    per_metre = struct.unpack(">I", header[found + 4 : found + 8])[0] if found > 0 else 0
    natural = columns * 96 / (per_metre * 0.0254) if per_metre else columns
    shown = width if width is not None else max(1, round(natural))
    uri = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return _Picture(uri, shown, max(1, round(shown * rows / columns)), PLOT_MARK in header)


def _share(score: float) -> float:
    # float32 softmax may exceed one by a rounding error; anything more is a caller's mistake.
    assert math.isfinite(score), f"score = {score}"
    assert -1e-5 <= score <= 1 + 1e-5, f"score = {score} is not in [0, 1]"
    return min(1.0, max(0.0, score))


def _rank(label: str, score: float, is_true: bool) -> _Rank:
    share = _share(score)
    return _Rank(label, percent(share), f"{100 * share:.2f}%", is_true)
