"""Samples written in the forms that other tools read; `find_source` reads each of them back.

`convert` writes beside the target and renames, so that it appears whole or not at all. A module of this
package writes one kind of form into an empty folder; a picture goes through byte for byte.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from visionsmith.data.exports import coco, conversations, folder, parquet, shards, table
from visionsmith.data.progress import DelayedBar
from visionsmith.data.records import is_store, layout
from visionsmith.data.records.pack import Skipped
from visionsmith.data.records.writer import lock_folder
from visionsmith.data.sample import Sample
from visionsmith.durable import replace_folder, write_synced
from visionsmith.errors import ConfigError, DataError, OutputError, nearest

__all__ = ["FORMS", "SHARD_BYTES", "ConvertReport", "Form", "convert", "find_form"]

MARK = ".converted.json"
"""File that marks a folder as made by `convert`, so that --overwrite replaces nothing else."""
SHARD_BYTES = 500_000_000
"""Size of a shard unless a caller wants another, bytes of pictures and texts."""


@dataclass(frozen=True)
class Form:
    """A form that samples can be written in."""

    write: Callable[..., None]
    """Writes samples into an empty folder: (samples, folder, on_problem), with `sharded` the size of a shard, too."""
    cannot_hold: str = ""
    """Which records it has no place for."""
    sharded: bool = False


FORMS: Mapping[str, Form] = {
    "folder": Form(folder.write),
    "csv": Form(partial(table.write_csv, ","), table.CANNOT_HOLD),
    "tsv": Form(partial(table.write_csv, "\t"), table.CANNOT_HOLD),
    "jsonl": Form(table.write_jsonl),
    "llava": Form(conversations.write_llava),
    "messages": Form(conversations.write_messages),
    "coco": Form(coco.write, coco.CANNOT_HOLD),
    "webdataset": Form(shards.write, shards.CANNOT_HOLD, sharded=True),
    "parquet": Form(parquet.write, sharded=True),
}
"""The forms by their names."""


@dataclass(frozen=True)
class ConvertReport:
    """What `convert` did."""

    path: Path
    form: str
    count: int
    """Records written."""
    left_out: list[Skipped]
    """Records that were left out, and why."""


def find_form(name: str) -> Form:
    """The form of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FORMS:
        close = nearest(name, FORMS)
        advice = f"did you mean '{close}'" if close else f"choose {', '.join(FORMS)}"
        raise ConfigError(f"'{name}' is no form that data are written in", do=advice)
    return FORMS[name]


def convert(
    samples: Iterable[Sample],
    target: Path,
    form: str,
    *,
    overwrite: bool = False,
    shard_bytes: int | None = None,
    progress: bool = False,
    total: int | None = None,
    left_out: list[Skipped] | None = None,
) -> ConvertReport:
    """Write samples in another form.

    Args:
        samples: what to write; read once, in order.
        target: the folder to make.
        form: a name of `FORMS`.
        overwrite: whether a folder that `convert` made may be replaced, once the new one is whole.
        shard_bytes: size of a shard, for a form that has them (500 MB).
        progress: whether to show a bar if it takes more than two seconds.
        total: number of samples, for the bar.
        left_out: a list that the source of the samples adds to while it is read; it becomes the report's.

    Raises:
        ConfigError: there is no such form, or it has no shards, or their size makes no sense.
        DataError: no sample could be written.
        BusyError: another process is writing there.
        OutputError: the place is taken by something else or cannot be written.
    """
    target = Path(target).absolute()
    found, sizes = find_form(form), _sizes(form, shard_bytes)
    _require_free(target, overwrite)
    partial_folder = target.with_name(f".{target.name}.converting")
    lock = lock_folder(partial_folder, target)
    left_out = [] if left_out is None else left_out
    counter, moved = _Counter(left_out), False
    try:
        _empty(partial_folder)
        with DelayedBar(f"writing {target.name}", total, show=progress) as bar:
            found.write(counter.checked(samples, bar), partial_folder, counter.leave_out, *sizes)
        if not counter.written:
            raise _nothing_written(target, left_out)
        mark = {"visionsmith": "converted data", "form": form, "count": counter.written}
        write_synced(partial_folder / MARK, (json.dumps(mark) + "\n").encode())
        # Again, because somebody may have put something there since.
        _require_free(target, overwrite)
        replace_folder(partial_folder, target)
        moved = True
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"cannot be written ({reason})",
            where=target,
            do="free some space or choose another place",
        ) from error
    finally:
        if not moved:
            shutil.rmtree(partial_folder, ignore_errors=True)
        os.close(lock)
    return ConvertReport(target, form, counter.written, left_out)


class _Counter:
    """Counts what is written, and names what is not."""

    def __init__(self, left_out: list[Skipped]) -> None:
        self._left_out = left_out
        self._keys: set[int] = set()
        self.written = 0

    def checked(self, samples: Iterable[Sample], bar: DelayedBar) -> Iterator[Sample]:
        """The samples that a record store would take, too."""
        for sample in samples:
            reason = self._reason(sample)
            if reason is None:
                self.written += 1
                # White space is no caption, and several forms could not tell it from none.
                yield sample if sample.caption.strip() else replace(sample, caption="")
            else:
                self._left_out.append((sample.key.encode("utf-8", "backslashreplace").decode(), reason))
            bar.advance()

    def leave_out(self, key: str, reason: str) -> None:
        """Called by a form that has no place for a sample that it was given."""
        self.written -= 1
        self._left_out.append((key, reason))

    def _reason(self, sample: Sample) -> str | None:
        try:
            layout.encode_record(0, sample)
        except ValueError as error:
            return str(error)
        if hash(sample.key) in self._keys:
            return "its key came before"
        self._keys.add(hash(sample.key))
        return None


def _sizes(form: str, shard_bytes: int | None) -> tuple[int, ...]:
    """The size of a shard, for a form that has them."""
    if not find_form(form).sharded:
        if shard_bytes is not None:
            sharded = " and ".join(name for name, other in FORMS.items() if other.sharded)
            raise ConfigError(f"'{form}' has no shards", do=f"leave their size out; {sharded} have them")
        return ()
    if shard_bytes is not None and shard_bytes < 1:
        raise ConfigError(f"a shard of {shard_bytes:,} bytes is too small", do="choose 1 or more")
    return (SHARD_BYTES if shard_bytes is None else shard_bytes,)


def _require_free(target: Path, overwrite: bool) -> None:
    if target.is_file() or is_store(target):
        what = "is a record store" if is_store(target) else "is a file"
        raise OutputError(what, where=target, do="choose another place, where a new folder is made")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not (target / MARK).is_file():
        raise OutputError(
            "is not empty and was not made by this command", where=target, do="choose another folder"
        )
    if not overwrite:
        raise OutputError(
            "is there already", where=target, do="choose another folder, or replace it with --overwrite"
        )


def _empty(place: Path) -> None:
    """Throw away what a killed call left."""
    for entry in place.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _nothing_written(target: Path, left_out: list[Skipped]) -> DataError:
    if not left_out:
        return DataError("there is no sample to write", where=target, do="give data that is not empty")
    key, reason = left_out[0]
    return DataError(
        f"none of the {len(left_out):,} samples can be written; the first, '{key}': {reason}",
        where=target,
        do="mend the source, or choose another form",
    )
