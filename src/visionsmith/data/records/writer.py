"""Writing a record store so that nothing that was acknowledged is lost.

Records go to .STORE.partial in batches. A batch is one LMDB transaction, synced to disk when it is committed.
LMDB never overwrites a page that the last commit needs, so a writer that is killed at any point leaves all
committed batches, and the next writer on the same place goes on after them. At the end the mark is written
and the folder renamed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lmdb

from visionsmith.data.records import layout
from visionsmith.durable import replace_folder, sync_folder, write_synced
from visionsmith.errors import DataError, OutputError

__all__ = ["BusyError", "OtherSourceError", "RecordWriter", "TakenError", "lock_folder"]

FIRST_MAP_BYTES = 1 << 26
"""Size of the memory map at first; it grows as records come."""
MAX_BATCH_BYTES = 1 << 26
"""A batch is committed when it holds this much, however few its records: it is kept in memory until then."""
_SKIPPED_NAMED = 20


class BusyError(OutputError):
    """Another process is writing the store."""


class TakenError(OutputError):
    """There is a record store already."""


class OtherSourceError(DataError):
    """The unfinished store was begun from other data than what comes now."""


class RecordWriter:
    """One writer of one store.

    Use it as a context manager. Leaving without `finish` keeps what was written as an unfinished store, which
    the next writer goes on with: it is given the same records from the first on, and `resume` passes over
    those that are there.
    """

    def __init__(
        self,
        path: Path,
        *,
        overwrite: bool = False,
        resume: bool = True,
        commit_every: int = 512,
        first_map_bytes: int = FIRST_MAP_BYTES,
    ) -> None:
        """Begin, or go on with an unfinished store.

        Args:
            path: folder of the store.
            overwrite: whether a store that is there may be replaced, once the new one is finished.
            resume: False throws away what an interrupted writer left.
            commit_every: records in a batch.
            first_map_bytes: size of the memory map at first.

        Raises:
            BusyError: another process writes there.
            TakenError: there is a store, and it may not be replaced.
            OutputError: the place is taken by something else or cannot be written.
        """
        self.path = Path(path).resolve()
        self._overwrite, self._commit_every = overwrite, commit_every
        self._partial = layout.partial_path(self.path)
        self._pending: dict[bytes, bytes] = {}
        self._pending_bytes = 0
        self._require_free()
        self._lock = lock_folder(self._partial, self.path)
        self.position = 0
        """Number of the next record."""
        self.committed = 0
        """Records that are safe on disk."""
        self.image_bytes = 0
        """Size of all pictures so far."""
        try:
            # Again, because another writer may have finished since.
            self._require_free()
            if not resume:
                for name in (layout.MARK, layout.DATA):
                    (self._partial / name).unlink(missing_ok=True)
            self._environment = self._open(first_map_bytes)
        except BaseException:
            with contextlib.suppress(OSError):
                self._partial.rmdir()
            os.close(self._lock)
            raise
        with self._environment.begin() as transaction:
            self.committed = transaction.stat(self._records)["entries"]
        self.resumable = self.committed
        """Records that an interrupted writer left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Whatever stopped us, what was accepted is worth keeping; a full disk would only fail again.
            if not isinstance(error, OutputError):
                self.commit()
        finally:
            self._environment.close()
            with contextlib.suppress(OSError):
                # An unfinished store without records is no use to anybody.
                if self.committed == 0:
                    shutil.rmtree(self._partial)
            os.close(self._lock)

    def resume(self, record: bytes) -> bool:
        """Whether an interrupted writer has left this very record at this place; if so, it is passed over."""
        if self.position >= self.resumable:
            return False
        with self._environment.begin(db=self._records, buffers=True) as transaction:
            stored = transaction.get(layout.number_bytes(self.position))
            same = stored is not None and stored[: layout.DIGEST_BYTES] == record[: layout.DIGEST_BYTES]
        if same:
            self._advance(record)
        return same

    def holds(self, key: str) -> bool:
        """Whether a record before this place has the key."""
        content = layout.key_bytes(key)
        if content in self._pending:
            return True
        with self._environment.begin(db=self._keys) as transaction:
            number = transaction.get(content)
        return number is not None and int.from_bytes(number, "big") < self.position

    def append(self, key: str, record: bytes) -> None:
        """Write the next record. It is safe on disk when `committed` has reached its number.

        Args:
            key: of the sample; not one that the store `holds`.
            record: `layout.encode_record(self.position, sample)`.

        Raises:
            OtherSourceError: an interrupted writer left another record at this place.
            OutputError: the batch could not be written; what was committed before is kept.
        """
        if self.position < self.resumable:
            raise self._other_source(f"record {self.position} there is not '{key}' as it comes now")
        self._pending[layout.key_bytes(key)] = record
        self._pending_bytes += len(record)
        self._advance(record)
        if len(self._pending) >= self._commit_every or self._pending_bytes >= MAX_BATCH_BYTES:
            self.commit()

    def commit(self) -> None:
        """Write the pending batch and sync it to disk.

        Raises:
            OutputError: the disk is full or fails; nothing of the batch is written then.
        """
        while self._pending:
            try:
                with self._environment.begin(write=True) as transaction:
                    self._put(transaction)
            except lmdb.MapFullError:
                size = self._environment.info()["map_size"]
                self._environment.set_mapsize(max(2 * size, size + 2 * self._pending_bytes))
                continue
            except lmdb.Error as error:
                raise self._failed(error) from error
            self.committed = self.position
            self._pending, self._pending_bytes = {}, 0

    def finish(
        self, attributes: Mapping[str, Any] | None = None, skipped: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Commit, mark the store as finished and move it to its place.

        Args:
            attributes: JSON values to keep with the store.
            skipped: samples of the source that were left out: key and reason.

        Raises:
            OtherSourceError: an interrupted writer left more records than came now.
            OutputError: as `commit`, or the attributes are not JSON.
        """
        assert self.position, "a store has at least one record"
        self.commit()
        if self.position < self.resumable:
            raise self._other_source(f"it has {self.resumable:,} records and only {self.position:,} come now")
        self._environment.close()
        data = self._partial / layout.DATA
        try:
            mark = layout.Mark(
                format=layout.FORMAT,
                count=self.position,
                bytes=data.stat().st_size,
                sha256=layout.file_digest(data),
                image_bytes=self.image_bytes,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                skipped=len(skipped),
                skipped_first=[list(entry) for entry in skipped[:_SKIPPED_NAMED]],
                attributes=dict(attributes or {}),
            )
            write_synced(self._partial / layout.MARK, layout.encode_mark(mark))
            sync_folder(self._partial)
            self._require_free()
            replace_folder(self._partial, self.path)
        except OSError as error:
            raise self._failed(error) from error

    def _advance(self, record: bytes) -> None:
        self.position += 1
        self.image_bytes += layout.image_length(record)

    def _put(self, transaction: lmdb.Transaction) -> None:
        first = self.position - len(self._pending)
        for number, (key, record) in enumerate(self._pending.items(), first):
            place = layout.number_bytes(number)
            added = transaction.put(place, record, db=self._records, append=True)
            added &= transaction.put(key, place, db=self._keys, overwrite=False)
            assert added, f"record {number} or its key is there already"

    def _open(self, map_bytes: int) -> lmdb.Environment:
        """The environment of the partial store, its databases opened or made."""
        data = self._partial / layout.DATA
        try:
            (self._partial / layout.MARK).unlink(missing_ok=True)
            # A writer killed at its very start may leave less than LMDB's first two pages, without a record.
            if data.exists() and data.stat().st_size < 2 * os.sysconf("SC_PAGE_SIZE"):
                data.unlink()
            environment = lmdb.open(
                str(self._partial), map_size=max(map_bytes, 1 << 16), lock=False, max_dbs=3, lib_version=0
            )
            with environment.begin(write=True) as transaction:
                self._records = environment.open_db(layout.RECORDS, txn=transaction)
                self._keys = environment.open_db(layout.KEYS, txn=transaction)
                about = environment.open_db(layout.ABOUT, txn=transaction)
                version = transaction.get(b"format", db=about)
                if version is None:
                    transaction.put(b"format", str(layout.FORMAT).encode(), db=about)
            sync_folder(self._partial)
        except (OSError, lmdb.Error) as error:
            raise OutputError(
                f"its unfinished store cannot be opened ({error})",
                where=self.path,
                do="free some space, or start again with --no-resume",
            ) from error
        if version is not None and version != str(layout.FORMAT).encode():
            environment.close()
            raise OutputError(
                f"its unfinished store has format {version!r}, this program writes {layout.FORMAT}",
                where=self.path,
                do="start again with --no-resume",
            )
        return environment

    def _require_free(self) -> None:
        try:
            taken = self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir()))
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        if taken and not layout.is_store(self.path):
            raise OutputError("exists and is not a record store", where=self.path, do="choose another place")
        if taken and not self._overwrite:
            raise TakenError(
                "is a record store already",
                where=self.path,
                do="choose another place, or replace it with --overwrite",
            )

    def _other_source(self, what: str) -> OtherSourceError:
        return OtherSourceError(
            f"its unfinished store was begun from other data ({what})",
            where=self.path,
            do="give the same data, or start again with --no-resume",
        )

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._partial).free
        except OSError:
            return sys.maxsize

    def _failed(self, error: OSError | lmdb.Error) -> OutputError:
        code = error.errno if isinstance(error, OSError) else error.code
        # LMDB reports a write that was cut short as an input/output error: the free space tells.
        full = code in (errno.ENOSPC, errno.EDQUOT) or self._free_bytes() < 2 * self._pending_bytes
        reason = "the disk is full" if full else f"cannot be written ({error})"
        remedy = "free some space" if full else "see to the disk"
        return OutputError(
            f"{reason}; {self.committed:,} records are safe in the unfinished store",
            where=self.path,
            do=f"{remedy} and run the same command again, which goes on after them",
        )


def lock_folder(folder: Path, path: Path) -> int:
    """Make `folder` and become its only writer until the returned handle is closed, by us or by our end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between the two calls above another writer may have finished and moved the folder away.
        if os.fstat(handle).st_ino != folder.stat().st_ino:
            raise FileNotFoundError
    except (BlockingIOError, FileNotFoundError):
        os.close(handle)
        raise BusyError(
            "is being written by another process",
            where=path,
            do="wait until it is done, or choose another place",
        ) from None
    return handle


def _cannot_write(path: Path, error: OSError) -> OutputError:
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"cannot be written ({reason})", where=path, do="choose another place")
