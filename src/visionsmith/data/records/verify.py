"""Looking for damage in a record store.

The mark holds the SHA-256 of the data file, and its own, so every flipped byte is found, also in places that
no record uses. Then every record is read and compared with its own SHA-256, which tells the ones that are
hit. When the file has changed, that is done in a process of its own: damaged pages can make LMDB crash.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lmdb

from visionsmith.data.progress import DelayedBar
from visionsmith.data.records import layout
from visionsmith.data.records.store import Handle, open_handle
from visionsmith.errors import DataError

__all__ = ["Damage", "VerifyReport", "damaged_records", "verify", "write_damage"]

Damage = tuple[int | str, str]
"""Number of a record, or "store" for what cannot be told of one; and what is wrong."""


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found."""

    path: Path
    count: int
    """Records that the store should have."""
    bytes: int
    """Size that its data file should have."""
    damaged: list[Damage] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every byte is as it was written."""
        return not self.damaged


def verify(path: Path, *, progress: bool = False) -> VerifyReport:
    """Compare a store with what was written.

    Args:
        path: its folder.
        progress: whether to show a bar if it takes more than two seconds.

    Raises:
        DataError: there is no finished record store.
    """
    path = Path(path)
    data = path / layout.DATA
    if not layout.is_store(path):
        layout.read_mark(path)
    try:
        mark = layout.decode_mark((path / layout.MARK).read_bytes())
    except (ValueError, OSError) as error:
        return VerifyReport(path, 0, 0, [("store", f"{layout.MARK}: {error}"), *_records_apart(path, None)])
    damaged: list[Damage] = []
    if not data.is_file():
        damaged.append(("store", f"{layout.DATA} is missing"))
    elif (size := data.stat().st_size) != mark.bytes:
        damaged.append(("store", f"{layout.DATA} has {size:,} bytes where {mark.bytes:,} were written"))
    elif layout.file_digest(data) != mark.sha256:
        damaged.append(("store", f"{layout.DATA} has changed since it was written"))
    if damaged:
        damaged += _records_apart(path, mark.count) if data.is_file() else []
    else:
        with DelayedBar(f"verifying {path.name}", mark.count, show=progress) as bar:
            for damage in damaged_records(path, mark.count):
                bar.advance()
                damaged += [damage] if damage is not None else []
    return VerifyReport(path, mark.count, mark.bytes, damaged)


def damaged_records(path: Path, count: int | None) -> Iterator[Damage | None]:
    """For each record what is wrong with it, or None.

    Args:
        path: folder of a store, whose mark is not looked at.
        count: records that it should have, or None when that is not known.
    """
    try:
        handle = open_handle(path)
        with handle.environment.begin(buffers=True) as transaction:
            found = transaction.stat(handle.records)["entries"], transaction.stat(handle.keys)["entries"]
            count = found[0] if count is None else count
            if found != (count, count):
                yield (
                    "store",
                    f"it has {found[0]:,} records and {found[1]:,} keys where {count:,} were written",
                )
            for number in range(count):
                try:
                    reason = _damage(handle, transaction, number)
                except lmdb.Error as error:
                    reason = f"it cannot be read ({error})"
                yield None if reason is None else (number, reason)
    except (DataError, lmdb.Error) as error:
        yield "store", error.what


def _damage(handle: Handle, transaction: lmdb.Transaction[memoryview], number: int) -> str | None:
    place = layout.number_bytes(number)
    record = transaction.get(place, db=handle.records)
    if record is None:
        return "it is missing"
    try:
        key = layout.decode_record(number, record, "sha256").key
    except ValueError as error:
        try:
            return f"'{layout.decode_record(number, record, 'none').key}': {error}"
        except ValueError:
            return str(error)
    leads_to = transaction.get(layout.key_bytes(key), db=handle.keys)
    if leads_to is None or bytes(leads_to) != place:
        return f"'{key}': its key does not lead to it"
    return None


_CHILD = "import sys; from visionsmith.data.records.verify import write_damage; write_damage(*sys.argv[1:])"
_STEP = 64


def write_damage(path: str, count: str) -> None:
    """Main function of the process that reads a damaged store: writes what it finds, line by line.

    Args:
        path: folder of the store.
        count: records that it should have, or "" when that is not known.
    """
    for number, damage in enumerate(damaged_records(Path(path), int(count) if count else None)):
        if number % _STEP == 0:
            sys.stdout.write(f"{number}\n")
        if damage is not None:
            sys.stdout.write(json.dumps(damage) + "\n")
        sys.stdout.flush()
    sys.stdout.write('"done"\n')


def _records_apart(path: Path, count: int | None) -> list[Damage]:
    """The damaged records of a store whose pages cannot be trusted, found by a process that may crash."""
    package = Path(__file__).parents[3]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    run = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), "" if count is None else str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    # A negative status is the signal of a crash; a positive one is an error of ours.
    assert run.returncode <= 0, f"the process that reads the damaged store failed: {run.stderr}"
    damaged: list[Damage] = []
    reached, done = 0, False
    for line in run.stdout.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break  # the line that the crash cut off
        if isinstance(entry, int):
            reached = entry
        elif isinstance(entry, list):
            damaged.append((entry[0], entry[1]))
        done = entry == "done"
    if not done:
        damaged.append(
            ("store", f"its pages are damaged: what is with the records after {reached:,} cannot be told")
        )
    return damaged
