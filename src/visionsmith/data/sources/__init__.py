"""Where samples come from: a folder of pictures, a table, shards, COCO, Parquet, the hub's cache, a record store.

`find_source` tells the kinds apart by what lies at a path. A kind is a module of this package: it reads
samples one after the other, always in the same order, and names the files that they depend on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from visionsmith.data.records import (
    BusyError,
    OtherSourceError,
    PackReport,
    RecordStore,
    TakenError,
    is_store,
    pack,
)
from visionsmith.data.records.pack import Skipped
from visionsmith.data.sample import Sample
from visionsmith.data.sources import coco, folders, hub, parquet, shards, tables
from visionsmith.data.sources.problems import OnProblem, stop_at
from visionsmith.errors import DataError, OutputError

__all__ = ["OnProblem", "Source", "find_source", "open_or_pack", "pack_source", "read_samples"]

_KNOWN = (
    "give a folder of pictures, a CSV, TSV, JSONL, JSON or Parquet file, a WebDataset tar, annotations of COCO, "
    "a record store, or OWNER/NAME of a hub data set that is in the cache"
)
_PACKED_FROM = "packed_from"
"""Attribute that marks a store as made by `open_or_pack`, with a fingerprint of its source."""
_PATIENCE = 0.2


@dataclass(frozen=True)
class Source:
    """Data at a path, of a known kind."""

    path: Path
    kind: str
    """What it is, in words."""
    samples: Callable[[OnProblem], Iterator[Sample]]
    """Reads it, in a fixed order. What cannot be read is given to the argument and left out."""
    files: Callable[[], Iterator[Path]]
    """The files that its samples depend on, in a fixed order."""


def find_source(path: Path) -> Source:
    """Tell what lies at a path.

    Args:
        path: a folder or file, a pattern of shards such as `train-{000..015}.tar` or `train-*.tar`, or the name
            of a hub data set that is in the cache.

    Raises:
        DataError: nothing is there, or nothing that is known.
    """
    path = Path(path)
    if is_store(path):
        return Source(path, "record store", lambda on_problem: iter(RecordStore(path)), lambda: iter((path,)))
    if path.is_dir():
        return _in_folder(path)
    if path.is_file() and (source := _in_file(path)) is not None:
        return source
    if found := shards.expand(path):
        return Source(path, "shards", partial(shards.read, found), partial(iter, found))
    if hub.is_name(path):
        if (snapshot := hub.find(path)) is not None:
            return _in_folder(snapshot)
        raise DataError(
            "no such file or folder, and no data set of that name in the hub's cache",
            where=path,
            do="check the name, or fetch it with `visionsmith data pack --download`",
        )
    if path.exists():
        raise DataError(
            f"'{path.suffix or path.name}' is no kind of data that is known", where=path, do=_KNOWN
        )
    raise DataError("no such file or folder", where=path, do=_KNOWN)


def _in_folder(path: Path) -> Source:
    if (listing := folders.find_listing(path)) is not None:
        samples = partial(tables.read_folder, listing)
        return Source(path, "folder with a list", samples, partial(tables.files, listing))
    if (annotations := coco.in_folder(path)) is not None:
        return Source(path, "COCO", partial(coco.read, annotations), partial(coco.files, annotations))
    if here := shards.in_folder(path):
        return Source(path, "folder of shards", partial(shards.read, here), partial(iter, here))
    if here := parquet.in_folder(path):
        return Source(path, "folder of Parquet files", partial(parquet.read, here), partial(iter, here))
    return Source(path, "folder", partial(folders.read, path), partial(folders.files, path))


def _in_file(path: Path) -> Source | None:
    ending = path.suffix.lower()
    if ending == parquet.ENDING:
        return Source(path, "Parquet file", partial(parquet.read, [path]), lambda: iter((path,)))
    if ending in tables.ENDINGS or (ending == ".json" and tables.is_json_list(path)):
        return Source(path, "table", partial(tables.read, path), partial(tables.files, path))
    if ending == ".json":
        return Source(path, "COCO", partial(coco.read, path), partial(coco.files, path))
    return None


def read_samples(path: Path, *, on_problem: OnProblem | None = None) -> Iterator[Sample]:
    """Read samples from any kind of source, always in the same order.

    - A folder: its pictures and those in the folders below, each with the caption in KEY.txt beside it; the
      key is the relative path without the ending. Hidden files are passed over. With a metadata.jsonl or
      metadata.csv that has a column file_name, the folder is that table.
    - A table (CSV, TSV, JSONL): a picture's path in the column filepath, image, path or file_name, relative
      to the table's folder; the caption in title, caption or text. Optional: key, and in JSONL meta. Other
      columns go to `meta`.
    - WebDataset shards (tar, also compressed; `{000..015}` and `*` name several): members of one name up to
      the first dot are a sample; .txt is the caption, .json the metadata.
    - JSONL, or a JSON list, of conversations as LLaVA, ShareGPT and chat messages have them (`conversations`).
    - COCO: an annotations file, or the folder with "annotations" and the pictures (`coco`).
    - Parquet files as the Hugging Face hub has them (`parquet`), and a hub data set by its name, OWNER/NAME,
      from the hub's cache on this machine.
    - A record store.

    Args:
        path: where it is.
        on_problem: called with the key and the reason for each sample that cannot be read and is left out.
            Without it the first one stops the reading. An empty caption is a problem; a missing one
            only where the other pictures of a folder have theirs, and in CSV.

    Raises:
        DataError: nothing is there, or nothing that is known; without `on_problem`, a sample cannot be read.
    """
    return find_source(path).samples(on_problem or stop_at(path))


def pack_source(
    path: Path,
    into: Path,
    *,
    overwrite: bool = False,
    resume: bool = True,
    strict: bool = False,
    check: bool = True,
    attributes: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> PackReport:
    """Pack any kind of source to a record store; what cannot be read is left out and reported.

    Args:
        path: the source, as for `read_samples`.
        into: folder of the store.
        overwrite: whether a store that is there may be replaced.
        resume: False throws away what an interrupted call left.
        strict: whether to stop at the first sample that cannot be read or stored.
        check: whether each picture is decoded once.
        attributes: JSON values to keep with the store beside "source", the path.
        progress: whether to show a bar if it takes more than two seconds.

    Raises:
        DataError, OutputError: as `pack` and `read_samples`.
    """
    source = find_source(path)
    skipped: list[Skipped] = []
    return pack(
        source.samples(stop_at(path) if strict else lambda key, reason: skipped.append((key, reason))),
        into,
        attributes={"source": str(Path(path).absolute()), **(attributes or {})},
        overwrite=overwrite,
        resume=resume,
        progress=progress,
        check=check,
        strict=strict,
        skipped=skipped,
    )


def open_or_pack(path: Path, into: Path, *, progress: bool = False) -> RecordStore:
    """Open a record store, or pack anything else to one first.

    Of several processes one packs and the others wait for it.

    Args:
        path: a store, which is opened as it is, or a source.
        into: where to pack a source; what an earlier call packed there is used again while the source's files
            have the same names, sizes and times, and replaced otherwise.
        progress: whether to show a bar if it takes more than two seconds.

    Raises:
        DataError: the source cannot be read.
        OutputError: `into` is taken by something else, or cannot be written.
    """
    if is_store(path):
        return RecordStore(path)
    attributes = {_PACKED_FROM: _fingerprint(find_source(path))}
    while not _is_packed(into, attributes[_PACKED_FROM]):
        # Only a store that is out of date may be replaced, not one that another process finishes meanwhile.
        pack_here = partial(
            pack_source, path, into, overwrite=is_store(into), attributes=attributes, progress=progress
        )
        try:
            try:
                pack_here()
            except OtherSourceError:
                # Left by an interrupted call, before the source changed.
                pack_here(resume=False)
        except (BusyError, TakenError):
            time.sleep(_PATIENCE)
    return RecordStore(into)


def _is_packed(into: Path, fingerprint: str) -> bool:
    """Whether `into` holds the source with this fingerprint; False when that must be packed first."""
    if not is_store(into):
        return False
    packed_from = RecordStore(into).info()["attributes"].get(_PACKED_FROM)
    if packed_from is None:
        raise OutputError("is another record store", where=into, do="choose another place")
    return bool(packed_from == fingerprint)


def _fingerprint(source: Source) -> str:
    digest = hashlib.sha256(str(source.path.absolute()).encode("utf-8", "surrogateescape"))
    for file in source.files():
        try:
            status = file.stat()
            entry = f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n"
        except OSError:
            entry = f"{file}\0missing\n"
        digest.update(entry.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
