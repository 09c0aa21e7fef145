"""`visionsmith data convert`: a data set in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionsmith.cli.data_common import Download, Json, Quiet, SourcePath, list_problems, open_source
from visionsmith.report.console import show_json

__all__ = ["convert_command"]

_MEGABYTE = 1_000_000


def convert_command(
    source: SourcePath,
    target: Annotated[Path, typer.Argument(help="The folder to make.")],
    form: Annotated[
        str,
        typer.Option(
            "--to",
            help="folder, csv, tsv, jsonl, llava, messages, coco, webdataset or parquet (`pack` makes a store).",
        ),
    ],
    shard_megabytes: Annotated[
        int | None, typer.Option(help="Size of a shard of webdataset or parquet, MB (500).", min=1)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a folder that this command made.")
    ] = False,
    download: Download = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write any data set in another form; pictures go through byte for byte, and `pack` reads every form back."""
    from visionsmith.data.exports import convert, find_form
    from visionsmith.data.sources import hub

    limits = find_form(form).cannot_hold
    if download:
        hub.download(source)
    opened = open_source(source)
    if limits and not as_json:
        typer.echo(f"{form} cannot hold {limits}; such records are left out and named", err=True)
    left_out: list[tuple[str, str]] = []
    report = convert(
        opened.samples(lambda key, reason: left_out.append((key, reason))),
        target,
        form,
        overwrite=overwrite,
        shard_bytes=None if shard_megabytes is None else shard_megabytes * _MEGABYTE,
        progress=not quiet and not as_json,
        total=opened.total,
        left_out=left_out,
    )
    if as_json:
        listed = [{"key": key, "reason": reason} for key, reason in report.left_out]
        show_json({"path": str(target), "form": form, "count": report.count, "left_out": listed})
        return
    typer.echo(f"{target}: {report.count:,} records as {form}")
    list_problems("left out", report.left_out)
