"""What the commands of `visionsmith data` share: arguments, the built-in data set, and lists of problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.report.console import list_first

if TYPE_CHECKING:
    from visionsmith.data.sample import Sample
    from visionsmith.data.sources import OnProblem

__all__ = [
    "Download",
    "Json",
    "OpenSource",
    "Quiet",
    "SourcePath",
    "is_openmoji",
    "list_problems",
    "open_source",
]

_OPENMOJI = "openmoji"

SourcePath = Annotated[
    Path,
    typer.Argument(
        help="Folder of pictures, CSV / TSV / JSON(L), WebDataset tar(s), COCO, Parquet, a record store, OWNER/NAME of "
        "a hub data set in the cache, or 'openmoji'.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch the hub data set OWNER/NAME to the cache first.")
]


@dataclass(frozen=True)
class OpenSource:
    """A data set that can be read, from the start each time."""

    samples: Callable[[OnProblem], Iterable[Sample]]
    total: int | None = None
    """Records, where that is known without reading."""
    about: dict[str, Any] = field(default_factory=dict)
    """What it says of itself."""


def open_source(path: Path) -> OpenSource:
    """Open a record store, the built-in data set, or anything that can be packed."""
    from visionsmith.data.records import RecordStore, is_store
    from visionsmith.data.sources import find_source

    if is_store(path):
        store = RecordStore(path)
        info = store.info()
        about = {name: info[name] for name in ("created", "bytes", "attributes")}
        return OpenSource(lambda on_problem: store, len(store), about)
    if is_openmoji(path):
        from visionsmith.data import openmoji

        about = {"attributes": openmoji.ATTRIBUTES}
        return OpenSource(lambda on_problem: openmoji.samples(), openmoji.count(), about)
    return OpenSource(find_source(path).samples)


def is_openmoji(source: Path) -> bool:
    """Whether the built-in data set is meant."""
    return str(source) == _OPENMOJI and not source.exists()


def list_problems(what: str, entries: Sequence[tuple[str, str]]) -> None:
    """Name what went wrong, on the error stream, the first few one by one."""
    if not entries:
        return
    typer.echo(f"{len(entries):,} {what}:", err=True)
    list_first([f"{key}: {reason}" for key, reason in entries])
