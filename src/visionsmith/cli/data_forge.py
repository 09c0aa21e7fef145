"""`visionsmith data forge`: forged pictures, with masks, of any pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionsmith.cli.data_common import Json, Quiet, list_problems
from visionsmith.report.console import show_json

__all__ = ["forge_command"]


def forge_command(
    source: Annotated[Path, typer.Argument(help="Folder of pictures, or any data that `pack` takes.")],
    store: Annotated[Path, typer.Argument(help="Folder of the record store to make.")],
    size: Annotated[int, typer.Option(help="Side of the squares that are cut, pixels.")] = 64,
    cuts: Annotated[int, typer.Option(help="Squares of each picture.", min=1)] = 16,
    compression: Annotated[
        str, typer.Option(help="Settings, of raw, hq (JPEG 85 to 95) and lq (JPEG 35 to 50).")
    ] = "hq,lq",
    seed: Annotated[int, typer.Option(help="Of the split and of every choice.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store that is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut squares, forge each once, compress both alike: `visionsmith data forge photos/ forged.records`."""
    from visionsmith.data.forgeries import forge_pictures

    report = forge_pictures(
        source,
        store,
        size=size,
        cuts=cuts,
        compressions=[name.strip() for name in compression.split(",") if name.strip()],
        seed=seed,
        overwrite=overwrite,
        progress=not quiet and not as_json,
    )
    if as_json:
        skipped = [{"key": key, "reason": reason} for key, reason in report.skipped]
        show_json({"path": str(store), "written": report.count, "skipped": skipped})
        return
    typer.echo(f"{store}: {report.count:,} records, half of them forged")
    list_problems("left out", report.skipped)
