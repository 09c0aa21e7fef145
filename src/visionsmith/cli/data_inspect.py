"""`visionsmith data inspect`: what a data set holds, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.cli.data_common import Json, OpenSource, Quiet, SourcePath, list_problems, open_source
from visionsmith.report.console import show_json, show_table, show_values

if TYPE_CHECKING:
    from visionsmith.data.survey import Survey

__all__ = ["inspect_command"]

_KEYS = 4
_CLASSES = 5

Problems = list[tuple[str, str]]


def inspect_command(
    source: SourcePath,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page with plots, sample pictures and duplicates side by side."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample pictures on the page.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count and show: sizes, captions, classes, duplicates, and what is broken or odd."""
    from visionsmith.data.survey import survey
    from visionsmith.errors import OutputError

    if html is not None and html.exists() and not (overwrite and html.is_file()):
        advice = (
            "choose another place" if html.is_dir() else "choose another place, or allow it with --overwrite"
        )
        raise OutputError("is there already", where=html, do=advice)
    opened = open_source(source)
    unreadable: Problems = []
    samples = opened.samples(lambda key, reason: unreadable.append((key, reason)))
    figures = survey(samples, total=opened.total, progress=not quiet and not as_json)
    if html is not None:
        _write_page(html, source, opened, figures, unreadable, seed)
    plain = {**opened.about, **figures.plain()}
    if as_json:
        listed = [{"key": key, "reason": reason} for key, reason in unreadable]
        page = {"page": str(html)} if html is not None else {}
        show_json({"path": str(source), **page, **plain, "unreadable": listed})
        return
    tables = ("classes", "duplicates", "odd", "frequent_words", "most_repeated_captions")
    counts = {"broken": len(figures.broken), "unreadable": len(unreadable)}
    show_values(
        {name: value for name, value in {**plain, **counts}.items() if name not in tables}, title=str(source)
    )
    _show_tables(figures)
    list_problems("broken", figures.broken)
    list_problems("unreadable", unreadable)
    if html is not None:
        typer.echo(f"page: {html}")


def _write_page(
    html: Path, source: Path, opened: OpenSource, figures: Survey, unreadable: Problems, seed: int
) -> None:
    from visionsmith.data.survey import pick
    from visionsmith.report.data_report import shown_records, write_data_report

    # Problems were told in the first reading.
    samples = pick(opened.samples(lambda key, reason: None), shown_records(figures, seed))
    about = {
        f"The store's {name}": str(value) for name, value in opened.about.items() if name != "attributes"
    }
    about |= {name.capitalize(): str(value) for name, value in opened.about.get("attributes", {}).items()}
    write_data_report(
        html, figures, samples, title=source.name, seed=seed, about=about, unreadable=unreadable
    )


def _show_tables(figures: Survey) -> None:
    from visionsmith.data.oddities import ODDITIES
    from visionsmith.data.survey import DUPLICATES

    captions = figures.captions
    if captions.vocabulary:
        words = ", ".join(f"{word} {count:,}" for word, count in captions.vocabulary.most_common(10))
        typer.echo(f"\nfrequent words: {words}")
    _show_rows(("repeated caption", "records"), captions.repeated.most_common(5))
    _show_rows(
        ("classes by", "classes", "largest", "smallest", "most common"),
        [
            (
                field,
                len(counts),
                max(counts.values()),
                min(counts.values()),
                _largest(counts.most_common(_CLASSES)),
            )
            for field, counts in figures.classes.fields.items()
        ],
    )
    _show_rows(
        ("odd pictures", "number", "meaning"),
        [(name, figures.odd[name], about) for name, about in ODDITIES.items() if name in figures.odd],
    )
    _show_rows(
        ("duplicates", "groups", "records", "largest group"),
        [
            (what, len(groups), sum(map(len, groups)), _keys(figures, groups[0]))
            for kind, what in DUPLICATES.items()
            if (groups := figures.groups(kind))
        ],
    )


def _show_rows(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table with a blank line above; nothing where there are no rows."""
    if rows:
        typer.echo()
        show_table(columns, rows)


def _largest(counts: list[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts)


def _keys(figures: Survey, group: list[int]) -> str:
    named = ", ".join(figures.keys[index] for index in group[:_KEYS])
    return named if len(group) <= _KEYS else f"{named}, and {len(group) - _KEYS:,} more"
