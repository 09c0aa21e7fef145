"""Writing: what was acknowledged survives whatever happens to the writer."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest

from visionsmith.data.records import (
    BusyError,
    OtherSourceError,
    RecordStore,
    RecordWriter,
    is_store,
    layout,
    open_or_make,
    pack,
    verify,
    writer,
)
from visionsmith.data.sample import Sample
from visionsmith.errors import OutputError

FORK = multiprocessing.get_context("fork")
COUNT = 150


def sample(number: int) -> Sample:
    rng = np.random.default_rng(number)
    return Sample(
        f"{number:04d}", rng.bytes(int(rng.integers(100, 6000))), f"caption {number}", {"n": number}
    )


def samples(count: int = COUNT, pause: float = 0.0) -> Iterator[Sample]:
    for number in range(count):
        if pause:
            time.sleep(pause)
        yield sample(number)


def run(work: Callable[[Connection], None]) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """Start `work` in a forked process that may be killed."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=work, args=(sender,))
    process.start()
    sender.close()
    return process, receiver


def received(connection: Connection) -> list[object]:
    values = []
    try:
        while True:
            values.append(connection.recv())
    except EOFError:
        return values


def records_in_partial(path: Path) -> list[Sample]:
    """What an unfinished store holds, read with plain LMDB."""
    environment = lmdb.open(str(layout.partial_path(path)), readonly=True, lock=False, max_dbs=3)
    database = environment.open_db(b"records", create=False)
    with environment.begin(db=database) as transaction:
        found = [
            layout.decode_record(number, record, "sha256")
            for number, (_, record) in enumerate(transaction.cursor())
        ]
    environment.close()
    return found


@pytest.mark.parametrize("point", ["file_digest", "write_synced", "sync_folder", "replace_folder"])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_kill_while_finishing(tmp_path: Path, point: str, replaces: bool) -> None:
    path = tmp_path / "store"
    if replaces:
        pack([sample(999)], path, check=False)
    module = layout if hasattr(layout, point) else writer
    real = getattr(module, point)

    def die(*arguments: object) -> object:
        # sync_folder is first called when the partial store is made; the kill is meant for the end.
        if point == "sync_folder" and not (layout.partial_path(path) / layout.MARK).exists():
            return real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    def write(connection: Connection) -> None:
        setattr(module, point, die)
        pack(samples(20), path, check=False, overwrite=True)

    process, _ = run(write)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if replaces:
        assert list(RecordStore(path)) == [sample(999)]
    else:
        assert not is_store(path)
    report = pack(samples(20), path, check=False, overwrite=True)
    assert (report.resumed, report.written) == (20, 0)
    assert list(RecordStore(path)) == list(samples(20))
    assert [file.name for file in tmp_path.iterdir()] == ["store"]


def test_a_kill_between_the_two_renames(tmp_path: Path) -> None:
    path = tmp_path / "store"
    pack([sample(999)], path, check=False)

    def write(connection: Connection) -> None:
        real = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self.name.endswith(".partial"):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, target)

        Path.rename = rename  # type: ignore[assignment, method-assign]
        pack(samples(5), path, check=False, overwrite=True)

    process, _ = run(write)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert pack(samples(5), path, check=False).resumed == 5
    assert list(RecordStore(path)) == list(samples(5))
    assert [file.name for file in tmp_path.iterdir()] == ["store"]


def test_a_writer_killed_before_its_first_page(tmp_path: Path) -> None:
    partial = layout.partial_path(tmp_path / "store")
    partial.mkdir()
    (partial / "data.mdb").write_bytes(b"\0" * 100)
    assert pack(samples(5), tmp_path / "store", check=False).written == 5


def test_the_map_grows_from_almost_nothing(tmp_path: Path) -> None:
    big = Sample("big", os.urandom(5_000_000))
    with RecordWriter(tmp_path / "store", first_map_bytes=1, commit_every=10) as store:
        for number in range(200):
            store.append(sample(number).key, layout.encode_record(number, sample(number)))
        store.append("big", layout.encode_record(200, big))
        store.finish()
    found = RecordStore(tmp_path / "store")
    assert found[200] == big
    assert [found[number] for number in range(200)] == list(samples(200))
    assert verify(tmp_path / "store").ok


def test_large_batches_are_committed_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_BATCH_BYTES", 20_000)
    commits: list[int] = []
    pack(samples(60), tmp_path / "store", check=False, commit_every=10_000, on_commit=commits.append)
    sizes = [
        sum(len(sample(n).image) for n in range(a, b)) for a, b in zip([0, *commits], commits, strict=False)
    ]
    assert len(commits) > 5
    assert max(sizes) < 20_000 + 6_000


def test_two_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with RecordWriter(path) as first:
        first.append("0000", layout.encode_record(0, sample(0)))
        with pytest.raises(BusyError, match="is being written by another process; wait until it is done"):
            RecordWriter(path)

        def second(connection: Connection) -> None:
            try:
                pack(samples(), path, check=False)
            except OutputError as error:
                connection.send(str(error))

        process, connection = run(second)
        assert "is being written by another process" in str(received(connection))
        process.join()
        first.finish()
    assert list(RecordStore(path)) == [sample(0)]


def test_of_several_processes_one_packs_and_the_others_wait(tmp_path: Path) -> None:
    path = tmp_path / "store"

    def work(connection: Connection) -> None:
        def make() -> None:
            connection.send("tries")
            pack(samples(30, pause=0.002), path, check=False)
            connection.send("packed")

        store = open_or_make(path, make)
        connection.send(len(store))

    runs = [run(work) for _ in range(3)]
    told = [value for _, connection in runs for value in received(connection)]
    assert [process.join() or process.exitcode for process, _ in runs] == [0, 0, 0]
    assert told.count("packed") == 1
    assert told.count(30) == 3


def test_a_store_that_another_process_finished_meanwhile_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "store"

    def make() -> None:
        pack(samples(3), path, check=False)  # the other process
        pack(samples(5), path, check=False)

    assert len(open_or_make(path, make)) == 3


@pytest.mark.parametrize("free", [0, 10**12])
def test_a_failing_disk_keeps_what_is_safe(tmp_path: Path, free: int) -> None:
    path = tmp_path / "store"

    def write(connection: Connection) -> None:
        # The kernel cuts a write short at this size, as it does on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        writer.shutil.disk_usage = lambda _: SimpleNamespace(free=free)  # type: ignore[attr-defined]
        try:
            pack(samples(), path, check=False, commit_every=5, on_commit=connection.send)
        except OutputError as error:
            connection.send(str(error))

    process, connection = run(write)
    *commits, message = received(connection)
    process.join()
    assert process.exitcode == 0
    assert isinstance(message, str)
    assert ("the disk is full" if free == 0 else "cannot be written (mdb_txn_commit") in message
    assert f"; {commits[-1]} records are safe" in message
    assert message.endswith("run the same command again, which goes on after them.")
    assert records_in_partial(path) == list(samples(commits[-1]))  # type: ignore[arg-type]
    report = pack(samples(), path, check=False)
    assert report.resumed == commits[-1]
    assert list(RecordStore(path)) == list(samples())


def test_an_error_of_the_source_keeps_what_came_before(tmp_path: Path) -> None:
    def broken() -> Iterator[Sample]:
        yield from samples(17)
        raise RuntimeError("the network is down")

    with pytest.raises(RuntimeError, match="network"):
        pack(broken(), tmp_path / "store", check=False)
    report = pack(samples(20), tmp_path / "store", check=False)
    assert (report.resumed, report.written) == (17, 3)


def interrupted(path: Path, count: int = 10) -> None:
    with RecordWriter(path) as store:
        for number in range(count):
            store.append(sample(number).key, layout.encode_record(number, sample(number)))


@pytest.mark.parametrize(
    "others",
    [
        [sample(5)],
        [*samples(4), Sample("0004", b"another picture")],
        [*samples(3), sample(4), sample(3)],
        list(samples(9)),
    ],
    ids=["other keys", "other content", "other order", "fewer"],
)
def test_other_data_is_not_mixed_in(tmp_path: Path, others: list[Sample]) -> None:
    path = tmp_path / "store"
    interrupted(path)
    with pytest.raises(OtherSourceError, match="was begun from other data"):
        pack(others, path, check=False)
    assert records_in_partial(path) == list(samples(10))
    assert pack(others, path, check=False, resume=False).count == len(others)
    assert list(RecordStore(path)) == others


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    pack(samples(3), tmp_path / "store", check=False)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "photo.jpg").write_text("precious")
    (tmp_path / "empty").mkdir()
    for name, says in [
        ("store", "is a record store already"),
        ("file", "is not a record store"),
        ("folder", "is not a"),
    ]:
        with pytest.raises(OutputError, match=says):
            pack(samples(2), tmp_path / name, check=False)
    for name in ("file", "folder"):
        with pytest.raises(OutputError, match="is not a record store"):
            pack(samples(2), tmp_path / name, check=False, overwrite=True)
    assert (tmp_path / "folder" / "photo.jpg").read_text() == "precious"
    with pytest.raises(OutputError, match="cannot be written"):
        pack(samples(2), tmp_path / "file" / "store", check=False)
    assert len(RecordStore(tmp_path / "store")) == 3
    pack(samples(2), tmp_path / "store", check=False, overwrite=True)
    pack(samples(2), tmp_path / "empty", check=False)
    pack(samples(2), tmp_path / "deep" / "er" / "store", check=False)
    assert len(RecordStore(tmp_path / "store")) == len(RecordStore(tmp_path / "empty")) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["deep", "empty", "file", "folder", "store"]


def test_a_damaged_unfinished_store(tmp_path: Path) -> None:
    path = tmp_path / "store"
    interrupted(path)
    data = layout.partial_path(path) / "data.mdb"
    data.write_bytes(b"\xff" * data.stat().st_size)
    with pytest.raises(OutputError, match=r"cannot be opened .*; .*--no-resume"):
        pack(samples(), path, check=False)
    assert pack(samples(12), path, check=False, resume=False).written == 12


def test_nothing_is_left_of_a_writer_without_records(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "store"):
        pass
    assert list(tmp_path.iterdir()) == []
