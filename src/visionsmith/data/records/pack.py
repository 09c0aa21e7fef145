"""From samples to a record store, and back to files."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from visionsmith.data.progress import DelayedBar
from visionsmith.data.records import layout
from visionsmith.data.records.store import RecordStore
from visionsmith.data.records.writer import BusyError, RecordWriter, TakenError
from visionsmith.data.sample import Sample
from visionsmith.errors import DataError, OutputError
from visionsmith.image.header import FORMATS, read_header
from visionsmith.image.io import decode

__all__ = [
    "LIST_NAME",
    "PackReport",
    "Skipped",
    "file_stem",
    "open_or_make",
    "pack",
    "picture_ending",
    "unpack",
    "write_files",
]

Skipped = tuple[str, str]
"""A sample that was left out: its key, and why."""

LIST_NAME = "metadata.jsonl"
"""The file of an unpacked store that lists its records."""
_LONGEST_NAME = 200
_PATIENCE = 0.2


@dataclass(frozen=True)
class PackReport:
    """What `pack` did."""

    path: Path
    written: int
    """Records written by this call."""
    resumed: int
    """Records that an interrupted call had written before."""
    skipped: list[Skipped] = field(default_factory=list)
    """Samples that were left out."""

    @property
    def count(self) -> int:
        """Records in the store."""
        return self.written + self.resumed


def pack(
    samples: Iterable[Sample],
    path: Path,
    *,
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = True,
    commit_every: int = 512,
    progress: bool = False,
    total: int | None = None,
    check: bool = True,
    strict: bool = False,
    skipped: list[Skipped] | None = None,
    on_commit: Callable[[int], None] | None = None,
) -> PackReport:
    """Write samples to a record store, in their order.

    A sample is left out and reported when its picture cannot be decoded, its key came before or its metadata
    is not JSON. After an interruption the same call goes on where the last committed batch ended; the samples
    must be the same.

    Args:
        samples: what to store.
        path: folder of the store.
        attributes: JSON values to keep with the store, e.g. source, licence, attribution.
        overwrite: whether a store that is there may be replaced, once the new one is finished.
        resume: False throws away what an interrupted call left.
        commit_every: records in a batch, which is safe on disk once it is written.
        progress: whether to show a bar if it takes more than two seconds.
        total: number of samples, for the bar.
        check: whether each picture is decoded once, to find the broken ones now.
        strict: whether to stop at the first sample that would be left out.
        skipped: a list that the source of the samples adds to while it is read; it becomes the report's.
        on_commit: called with the number of records that are safe on disk, after each batch.

    Raises:
        DataError: no sample could be stored; with `strict`, the first that could not.
        OtherSourceError: the interrupted call was given other samples.
        BusyError: another process is writing the store.
        TakenError: there is a store, and it may not be replaced.
        OutputError: the place is taken by something else or cannot be written, or the disk is full.
    """
    _require_json(attributes)
    skipped = [] if skipped is None else skipped
    with (
        RecordWriter(path, overwrite=overwrite, resume=resume, commit_every=commit_every) as writer,
        DelayedBar(f"packing {Path(path).name}", total, show=progress) as bar,
    ):
        committed = writer.committed
        for sample in samples:
            reason = _write(writer, sample, check)
            if reason is not None:
                entry = (_printable(sample.key), reason)
                if strict:
                    raise DataError(
                        reason, where=f"sample '{entry[0]}'", do="mend it, or pack without --strict"
                    )
                skipped.append(entry)
            if on_commit is not None and writer.committed > committed:
                committed = writer.committed
                on_commit(committed)
            bar.advance()
        if writer.position == 0:
            raise _nothing_stored(skipped, path)
        writer.finish(attributes, skipped)
    return PackReport(Path(path), writer.position - writer.resumable, writer.resumable, skipped)


def open_or_make(path: Path, make: Callable[[], object]) -> RecordStore:
    """Open a store, or make it first; of several processes one makes it and the others wait.

    Args:
        path: folder of the store.
        make: makes it, by `pack`.

    Raises:
        DataError, OutputError: as `pack` and `RecordStore`.
    """
    while not layout.is_store(path):
        try:
            make()
        except (BusyError, TakenError):  # TakenError: made by another process a moment ago
            time.sleep(_PATIENCE)
    return RecordStore(path)


def unpack(store: RecordStore, folder: Path, overwrite: bool = False, *, progress: bool = False) -> int:
    """Write a store's records as files: KEY.png (or .jpg, ...), KEY.txt, and a list of all with metadata.

    The pictures are byte for byte what was packed, and packing the folder gives the same records again.

    Args:
        store: what to unpack.
        folder: where to.
        overwrite: whether the folder may hold something already.
        progress: whether to show a bar if it takes more than two seconds.

    Returns:
        The number of records.

    Raises:
        OutputError: the folder is not empty or cannot be written.
    """
    folder = Path(folder)
    try:
        if not overwrite and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
            raise OutputError(
                "is not empty", where=folder, do="choose another folder, or allow it with --overwrite"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with (
            (folder / LIST_NAME).open("w", encoding="utf-8") as listing,
            DelayedBar(f"unpacking {store.path.name}", len(store), show=progress) as bar,
        ):
            for sample in store:
                listing.write(json.dumps(write_files(sample, folder), ensure_ascii=False) + "\n")
                bar.advance()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"cannot be written ({reason})",
            where=error.filename or folder,
            do="free some space or choose another folder",
        ) from error
    return len(store)


def _write(writer: RecordWriter, sample: Sample, check: bool) -> str | None:
    """Store a sample, or say why not."""
    try:
        record = layout.encode_record(writer.position, sample)
        if writer.resume(record):
            return None
        if check and sample.image:
            decode(sample.image)
    except ValueError as error:
        return str(error)
    except DataError as error:
        return error.what
    if writer.holds(sample.key):
        return "its key came before"
    writer.append(sample.key, record)
    return None


def _require_json(attributes: Mapping[str, Any] | None) -> None:
    try:
        json.dumps(dict(attributes or {}), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise DataError(
            f"attributes are not JSON ({error})", do="give texts, numbers, lists and mappings"
        ) from error


def _printable(key: str) -> str:
    """A key as text; the names of some files are not Unicode."""
    return key.encode("utf-8", "backslashreplace").decode()


def _nothing_stored(skipped: list[Skipped], path: Path) -> DataError:
    if not skipped:
        return DataError("there is no sample to store", where=path, do="give data that is not empty")
    key, reason = skipped[0]
    return DataError(
        f"none of the {len(skipped):,} samples can be stored; the first, '{key}': {reason}",
        where=path,
        do="mend the source",
    )


def write_files(sample: Sample, folder: Path) -> dict[str, Any]:
    """Write one record's files, KEY.png and KEY.txt, into `folder`; returns its line of the list.

    Raises:
        OSError: they cannot be written.
    """
    stem = folder / file_stem(sample.key)
    stem.parent.mkdir(parents=True, exist_ok=True)
    line: dict[str, Any] = {"file_name": None, "key": sample.key}
    if sample.image:
        picture = stem.with_name(stem.name + picture_ending(sample.image))
        picture.write_bytes(sample.image)
        line["file_name"] = picture.relative_to(folder).as_posix()
    if sample.caption:
        stem.with_name(stem.name + ".txt").write_text(sample.caption, encoding="utf-8", newline="")
        line["caption"] = sample.caption
    return {**line, "meta": dict(sample.meta)}


def picture_ending(image: bytes) -> str:
    """The ending of a file for an encoded picture; `.bin` when its format is not known."""
    try:
        return FORMATS[read_header(image).format][0]
    except DataError:
        return ".bin"


def file_stem(key: str) -> str:
    """A relative path for a key: different for different keys, and never outside the folder."""
    return "/".join(_file_name(part) for part in key.split("/"))


def _file_name(part: str) -> str:
    if not part:
        return "%"
    kept = "".join(
        letter if letter.isprintable() and letter not in '%\\:*?"<>|' else quote(letter, safe="")
        for letter in part
    )
    if kept.startswith("."):
        kept = "%2E" + kept[1:]
    if len(kept.encode()) > _LONGEST_NAME:
        digest = hashlib.sha256(part.encode()).hexdigest()[:16]
        kept = kept.encode()[: _LONGEST_NAME - 20].decode(errors="ignore") + "%" + digest
    return kept
