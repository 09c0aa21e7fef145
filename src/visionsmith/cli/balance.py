"""`visionsmith data balance`: a query-balanced data set, as CLIP's was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.report.console import show_json, show_table

if TYPE_CHECKING:
    from visionsmith.data.sample import Sample

__all__ = ["balance"]


def balance(
    source: Annotated[Path, typer.Argument(help="Any data set, or 'openmoji'.")],
    store: Annotated[Path, typer.Argument(help="Folder of the record store to make.")],
    queries: Annotated[
        Path | None, typer.Option(help="A text file, one query a line; without it, built from the captions.")
    ] = None,
    cap: Annotated[int, typer.Option(help="Most pairs a query.", min=1)] = 20_000,
    min_count: Annotated[
        int, typer.Option(help="Occurrences of a word or phrase to become a query.", min=1)
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of the choice within a full query.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Keep at most --cap pairs for each query that captions contain: frequent things leave room for rare ones."""
    from visionsmith.data import openmoji
    from visionsmith.data.queries import balance as choose
    from visionsmith.data.queries import build_queries, read_queries
    from visionsmith.data.records import pack
    from visionsmith.data.sources import read_samples
    from visionsmith.errors import DataError

    def samples() -> Iterator[Sample]:
        return (
            openmoji.samples() if str(source) == "openmoji" and not source.exists() else read_samples(source)
        )

    captions = [sample.caption for sample in samples()]
    listed = (
        read_queries(queries)
        if queries is not None
        else build_queries(captions, min_count=min_count, min_pair_count=min_count)
    )
    if not listed:
        raise DataError(
            f"no word occurs {min_count} times", where=source, do="lower --min-count, or give --queries"
        )
    found = choose(captions, listed, cap=cap, seed=seed)
    kept = set(found.kept)
    if not kept:
        raise DataError("no caption contains a query", where=source, do="give other --queries")
    attributes = {"queries": len(listed), "cap": cap, "seed": seed, "source": str(source)}
    chosen = (sample for place, sample in enumerate(samples()) if place in kept)
    report = pack(
        chosen, store, attributes=attributes, overwrite=overwrite, progress=not as_json, total=len(kept)
    )
    full = sum(count >= cap for count in found.by_query.values())
    if as_json:
        show_json(
            {
                "path": str(store),
                "records": report.count,
                "of": found.seen,
                "matched": found.matched,
                "queries": len(listed),
                "queries_full": full,
                "by_query": dict(found.by_query.most_common()),
            }
        )
        return
    typer.echo(
        f"{store}: {report.count:,} of {found.seen:,} pairs; {found.matched:,} contain one of {len(listed):,} queries, "
        f"{full:,} of which are full at {cap:,}"
    )
    show_table(("query", "pairs"), found.by_query.most_common(10))
