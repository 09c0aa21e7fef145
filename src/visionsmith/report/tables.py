"""How a value is written, and tables for Markdown and the terminal.

The digits of a column line up: one number of decimals for all floats of a column, thousands separated by
commas, numbers to the right and words to the left. `page.Page.table` writes its cells with the same rules.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

__all__ = [
    "MISSING",
    "aligned",
    "cell_texts",
    "count",
    "markdown",
    "numeric_columns",
    "percent",
    "rich_table",
    "short",
]

MISSING = "–"
"""Stands for None and for NaN."""

# "72.7 %", "1,234", "< 0.1", "53.1 ± 0.4 %", "2.8M", "350 images/s": a number and at most a short unit.
_NUMBER = re.compile(
    r"[<>≤≥~≈+\-−±]?\s?\d[\d,.]*(e[+\-−]?\d+)?(\s?±\s?\d[\d,.]*)?(\s?[^\W\d_%]{0,7}[%×°]?(/[^\W\d_]{1,5})?)?",
    re.IGNORECASE,
)


def count(value: int) -> str:
    """A whole number with its thousands separated: 151,277,313."""
    return f"{value:,}"


def percent(value: float, digits: int = 1) -> str:
    """A share as a percentage: 0.727 is "72.7 %".

    Args:
        value: a share, 1.0 for all of it.
        digits: decimals of the percentage.
    """
    return f"{100 * value:.{digits}f} %" if math.isfinite(value) else MISSING


def short(value: float) -> str:
    """A number as short as it can be: 20,000, 0.5, 5e-5."""
    if not math.isfinite(value):
        return MISSING if math.isnan(value) else str(value)
    if value and not 1e-4 <= abs(value) < 1e7:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def aligned(values: Iterable[float], *, as_percent: bool = False) -> list[str]:
    """Numbers with as many decimals each as the others, as a column of a table has them.

    Args:
        values: the numbers.
        as_percent: write shares as percentages; with a second decimal where one is below 0.1 %.
    """
    numbers_given = [float(value) for value in values]
    if not as_percent:
        return _write_column(numbers_given)
    digits = 2 if any(0 < abs(value) < 1e-3 for value in numbers_given) else 1
    return [percent(value, digits) for value in numbers_given]


def cell_texts(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """The cells of a table as text; the floats of a column share their number of decimals.

    Args:
        columns: headings.
        rows: as many cells each as there are columns. A string stays as it is (give a year or a seed as a
            string), a whole number gets its separators, a bool is "yes" or "no", None and NaN are a dash.
    """
    for index, row in enumerate(rows):
        assert len(row) == len(columns), f"row {index} has {len(row)} cells for {len(columns)} columns"
    written = [_write_column([row[index] for row in rows]) for index in range(len(columns))]
    return [[column[index] for column in written] for index in range(len(rows))]


def numeric_columns(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[bool]:
    """Which columns hold numbers only (missing cells aside) and so are set to the right."""
    return [
        any(not _is_missing(row[index]) for row in rows)
        and all(_is_missing(row[index]) or _is_numeric(row[index]) for row in rows)
        for index in range(len(columns))
    ]


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A GitHub table, padded so that the source reads as a table too; ends with a newline."""
    right = numeric_columns(columns, rows)
    lines = [[_escape_markdown(text) for text in line] for line in (columns, *cell_texts(columns, rows))]
    widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(columns))]
    rule = [
        "-" * (width - 1) + ":" if to_right else "-" * width
        for width, to_right in zip(widths, right, strict=True)
    ]
    padded = [
        [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        for line in lines
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in (padded[0], rule, *padded[1:]))


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> Table:
    """A table for the terminal; square brackets in a cell are text, not markup."""
    table = Table(
        title=Text(title) if title else None, title_justify="left", title_style="bold", box=SIMPLE_HEAD
    )
    for name, to_right in zip(columns, numeric_columns(columns, rows), strict=True):
        table.add_column(Text(name), justify="right" if to_right else "left")
    for line in cell_texts(columns, rows):
        table.add_row(*(Text(text) for text in line))
    return table


def _as_float(value: object) -> float | None:
    """The value of a fractional number; None for whole numbers and for whatever is not a number."""
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return float(value)
    return None


def _is_missing(value: object) -> bool:
    number = _as_float(value)
    return value is None or value == "" or (number is not None and math.isnan(number))


def _is_numeric(value: object) -> bool:
    if isinstance(value, str):
        return _NUMBER.fullmatch(value.strip()) is not None
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _write_column(values: Sequence[object]) -> list[str]:
    numbers_found = [_as_float(value) for value in values]
    style = _float_style([value for value in numbers_found if value is not None and math.isfinite(value)])
    return [_write(value, style) for value in values]


def _float_style(values: Sequence[float]) -> str:
    """One format for all floats of a column: about four digits of the largest, the smallest not lost."""
    sizes = [abs(value) for value in values if value]
    if all(value.is_integer() for value in values) and max(sizes, default=0) < 1e15:
        return ",.0f"
    decimals = min(6, max(0, 3 - math.floor(math.log10(max(sizes)))))
    if max(sizes) >= 1e7 or min(sizes) < 10**-decimals:
        return ".3g"
    return f",.{decimals}f"


def _write(value: object, float_style: str) -> str:
    if _is_missing(value):
        return MISSING
    if isinstance(value, bool | np.bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return count(int(value))
    number = _as_float(value)
    return str(value) if number is None else format(number, float_style)


def _escape_markdown(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
