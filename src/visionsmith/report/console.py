"""Printing results: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["list_first", "show_json", "show_table", "show_values"]

_LISTED = 20


def show_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def list_first(lines: Sequence[object]) -> None:
    """Name what went wrong on the error stream: the first few one by one, and how many more there are."""
    for line in lines[:_LISTED]:
        sys.stderr.write(f"  {line}\n")
    if len(lines) > _LISTED:
        sys.stderr.write(f"  and {len(lines) - _LISTED:,} more; --json lists all\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print a table on standard output; numbers are set to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        numeric = all(isinstance(row[place], int | float) for row in rows) and bool(rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # As text: a cell may hold brackets, which would be taken for markup.
        table.add_row(*(Text(f"{cell:.4g}" if isinstance(cell, float) else str(cell)) for cell in row))
    # Not a terminal: give every column its full width, so that nothing is cut in a file or a pipe.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)


def show_values(values: Mapping[str, Any], title: str = "") -> None:
    """Print nested values as a table of dotted names."""
    show_table(("measure", "value"), list(_flat(values)), title)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for place, item in enumerate(value):
                rows += _flat(item, f"{prefix}{name}.{place}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows
