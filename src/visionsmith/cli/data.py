"""`visionsmith data`: record stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionsmith.cli.data_common import Download, Json, Quiet, SourcePath, is_openmoji, list_problems
from visionsmith.cli.data_convert import convert_command
from visionsmith.cli.data_curate import curate_command
from visionsmith.cli.data_forge import forge_command
from visionsmith.cli.data_inspect import inspect_command
from visionsmith.cli.data_instruct import instruct_command
from visionsmith.report.console import show_json

__all__ = ["app"]

app = typer.Typer(
    help="Pack data into record stores, look at them, check them, convert them.", no_args_is_help=True
)

Store = Annotated[Path, typer.Argument(help="Folder of the record store.")]


@app.command("pack")
def pack_command(
    source: SourcePath,
    store: Store,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a store that is there.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted pack of it ended.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first broken sample.")] = False,
    check: Annotated[bool, typer.Option(help="Decode every picture once, to find the broken ones.")] = True,
    size: Annotated[int | None, typer.Option(help="Side of OpenMoji's pictures, pixels (64).")] = None,
    download: Download = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a record store: `visionsmith data pack pictures/ pets.records`."""
    from visionsmith.data.records import pack
    from visionsmith.data.sources import hub, pack_source
    from visionsmith.errors import ConfigError

    if download:
        hub.download(source)
    progress = not quiet and not as_json
    if is_openmoji(source):
        from visionsmith.data import openmoji

        report = pack(
            openmoji.samples() if size is None else openmoji.samples(size),
            store,
            attributes=openmoji.ATTRIBUTES,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            total=openmoji.count(),
            check=check,
            strict=strict,
        )
    elif size is not None:
        raise ConfigError("--size is for 'openmoji' only", do="leave it out; pictures are stored as they are")
    else:
        report = pack_source(
            source, store, overwrite=overwrite, resume=resume, strict=strict, check=check, progress=progress
        )
    if as_json:
        skipped = [{"key": key, "reason": reason} for key, reason in report.skipped]
        show_json(
            {"path": str(store), "written": report.written, "resumed": report.resumed, "skipped": skipped}
        )
        return
    before = f" ({report.resumed:,} of them by an earlier call)" if report.resumed else ""
    typer.echo(f"{store}: {report.count:,} records{before}")
    list_problems("left out", report.skipped)


app.command("inspect")(inspect_command)
app.command("convert")(convert_command)
app.command("forge")(forge_command)
app.command("curate")(curate_command)
app.command("instruct")(instruct_command)


@app.command("verify")
def verify_command(store: Store, as_json: Json = False, quiet: Quiet = False) -> None:
    """Compare every byte of a store with what was written; a damaged one ends with exit code 2."""
    from visionsmith.data.records import verify
    from visionsmith.errors import DataError

    report = verify(store, progress=not quiet and not as_json)
    if as_json:
        damaged = [{"record": record, "reason": reason} for record, reason in report.damaged]
        values = {"ok": report.ok, "count": report.count, "bytes": report.bytes, "damaged": damaged}
        show_json({"path": str(store), **values})
    elif report.ok:
        typer.echo(f"{store}: {report.count:,} records, {report.bytes:,} bytes, all as they were written")
    else:
        list_problems("damaged", [(str(record), reason) for record, reason in report.damaged])
    if not report.ok:
        records = sum(isinstance(record, int) for record, _ in report.damaged)
        what = (
            f"{records:,} of {report.count:,} records" if records else f"its files ({report.damaged[0][1]})"
        )
        raise DataError(
            f"damage in {what}", where=store, do="copy it again, or pack it again from its source"
        )


@app.command("unpack")
def unpack_command(
    store: Store,
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Allow a folder that is not empty.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a store's records as files: pictures byte for byte, captions as .txt, and metadata.jsonl."""
    from visionsmith.data.records import RecordStore, unpack

    count = unpack(RecordStore(store), folder, overwrite, progress=not quiet and not as_json)
    if as_json:
        show_json({"path": str(folder), "count": count})
    else:
        typer.echo(f"{folder}: {count:,} records")
