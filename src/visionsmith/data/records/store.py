"""Reading a record store: random access by number, in any number of threads, forked and spawned workers."""

from __future__ import annotations

import operator
import os
import time
import weakref
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lmdb

from visionsmith.data.records import layout
from visionsmith.data.sample import Sample
from visionsmith.errors import DataError

__all__ = ["Handle", "RecordStore", "open_handle"]


class RecordStore:
    """A finished record store, open for reading.

    A record is found in O(log n) steps and nothing is held in memory for it. The store can be pickled, and
    used after a fork: each process opens the file for itself.
    """

    def __init__(self, path: Path, *, check: bool = True) -> None:
        """Open a store.

        Args:
            path: its folder.
            check: whether each record that is read is compared with its CRC-32 (about 4 us for 15 kB; to
                decode a JPEG of that size takes seventy times as long).

        Raises:
            DataError: it is missing, unfinished, damaged, or not a record store.
        """
        self.path = Path(path)
        self._check: layout.Check = "crc" if check else "none"
        self._mark = layout.read_mark(self.path)
        self._handle: Handle | None = None
        self._open()

    def __len__(self) -> int:
        return self._mark.count

    def __getitem__(self, index: int) -> Sample:
        """One record; negative numbers count from the end.

        Raises:
            IndexError: there is no such record.
            DataError: the record is damaged.
        """
        number = operator.index(index)
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(f"record {index} of a store of {len(self)}")
        handle = self._open()
        try:
            with handle.environment.begin(db=handle.records, buffers=True) as transaction:
                record = transaction.get(layout.number_bytes(number))
                if record is None:
                    raise ValueError("it is missing")
                return layout.decode_record(number, record, self._check)
        except (ValueError, lmdb.Error) as error:
            raise DataError(
                f"record {number} is damaged: {error}",
                where=self.path,
                do="see what else is with `visionsmith data verify`, and pack it again from its source",
            ) from error

    def __iter__(self) -> Iterator[Sample]:
        for number in range(len(self)):
            yield self[number]

    def keys(self) -> list[str]:
        """The keys of all records, in order. The only method whose memory grows with the store."""
        keys = [""] * len(self)
        handle = self._open()
        with handle.environment.begin(db=handle.keys) as transaction:
            for content, number in transaction.cursor():
                place = int.from_bytes(number, "big")
                # A long key is stored as its digest only, so the record itself has to say it.
                keys[place] = self[place].key if content.startswith(b"\0") else content.decode()
        return keys

    def index_of(self, key: str) -> int:
        """The number of the record with this key.

        Raises:
            KeyError: there is none.
        """
        handle = self._open()
        with handle.environment.begin(db=handle.keys) as transaction:
            number = transaction.get(layout.key_bytes(key))
        if number is None:
            raise KeyError(key)
        return int.from_bytes(number, "big")

    def info(self) -> dict[str, Any]:
        """What the store says of itself.

        "format" (version), "count" (records), "bytes" (size of its data file), "sha256" (of that file),
        "image_bytes" (all pictures together), "created" (ISO 8601), "skipped" and "skipped_first" (samples
        left out when it was packed: how many, and [key, reason] of the first), "attributes" (as given).
        """
        return asdict(self._mark)

    def close(self) -> None:
        """Let go of the file; a later read opens it again."""
        self._handle = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def __repr__(self) -> str:
        return f"RecordStore({str(self.path)!r}, {len(self)} records)"

    def _open(self) -> Handle:
        if self._handle is None or self._handle.process != os.getpid():
            self._require_unchanged()
            self._handle = open_handle(self.path)
        return self._handle

    def _require_unchanged(self) -> None:
        if layout.read_mark(self.path) != self._mark:
            raise DataError("was replaced while it was open", where=self.path, do="start again")
        try:
            size = (self.path / layout.DATA).stat().st_size
        except OSError as error:
            raise DataError(
                f"is damaged: it has no {layout.DATA}", where=self.path, do="pack it again"
            ) from error
        # Reading past the end of a mapped file would end the process without a word.
        if size != self._mark.bytes:
            raise DataError(
                f"is damaged: {layout.DATA} has {size:,} bytes where {self._mark.bytes:,} were written",
                where=self.path,
                do="copy it or pack it again",
            )


class Handle:
    """The LMDB environment of a store, opened by one process."""

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        self.environment = lmdb.open(
            str(path), readonly=True, lock=False, readahead=False, create=False, max_dbs=3, max_spare_txns=4
        )
        # Closed explicitly: LMDB keeps a list of the open files, and an environment that is merely dropped
        # in a forked process stays on it.
        self._closing = weakref.finalize(self, self.environment.close)
        self.records = self.environment.open_db(layout.RECORDS, create=False)
        self.keys = self.environment.open_db(layout.KEYS, create=False)

    def close(self) -> None:
        """Close the file; transactions that are under way must have ended."""
        self._closing()


# LMDB allows a file to be open once in a process, and any number of stores may be open on it, so they share.
_HANDLES: weakref.WeakValueDictionary[tuple[int, int], Handle] = weakref.WeakValueDictionary()


def open_handle(path: Path) -> Handle:
    """This process's handle of a store.

    Raises:
        DataError: LMDB cannot read the file.
    """
    status = (path / layout.DATA).stat()
    place = (status.st_dev, status.st_ino)
    for attempt in range(200):
        handle = _HANDLES.get(place)
        if handle is not None and handle.process == os.getpid():
            return handle
        if handle is not None:
            # Inherited in a fork: LMDB's handles must not be used by a child.
            handle.close()
        try:
            handle = _HANDLES[place] = Handle(path)
            return handle
        except lmdb.Error as error:
            # Another thread may be opening or closing the same file at this moment.
            if "already open" not in str(error) or attempt == 199:
                raise DataError(
                    f"is damaged: {layout.DATA} cannot be read ({error})",
                    where=path,
                    do="pack it again from its source",
                ) from error
        time.sleep(0.005)
    raise AssertionError("the last attempt raises")
