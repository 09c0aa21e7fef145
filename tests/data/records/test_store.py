"""Reading: what was written comes back, in any process, whatever the order."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from visionsmith.data.records import RecordStore, is_store, pack
from visionsmith.data.records.layout import decode_record, encode_record
from visionsmith.data.sample import Sample
from visionsmith.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
SAMPLES = st.builds(
    Sample,
    key=TEXT.filter(bool),
    image=st.binary(max_size=200),
    caption=TEXT,
    meta=st.dictionaries(TEXT, JSON, max_size=4),
)


def sample(number: int, size: int | None = None) -> Sample:
    rng = np.random.default_rng(number)
    image = rng.bytes(int(rng.integers(10, 9000)) if size is None else size)
    return Sample(
        f"folder/{number:05d}", image, f"caption {number} é 한", {"number": number, "tags": ["a", None]}
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "a.records"
    pack(map(sample, range(300)), path, check=False, commit_every=64, attributes={"licence": "CC0"})
    return path


def test_order_and_content(path: Path) -> None:
    store = RecordStore(path)
    assert len(store) == 300
    assert list(store) == [sample(number) for number in range(300)]
    assert store.keys() == [sample(number).key for number in range(300)]
    assert store[-1] == sample(299)
    assert store[-300] == sample(0)
    assert store[np.int64(7)] == sample(7)
    for index in (300, -301):
        with pytest.raises(IndexError):
            store[index]
    assert [store.index_of(sample(number).key) for number in (0, 17, 299)] == [0, 17, 299]
    with pytest.raises(KeyError):
        store.index_of("folder/00300")


def test_info(path: Path) -> None:
    info = RecordStore(path).info()
    assert info["count"] == 300
    assert info["bytes"] == (path / "data.mdb").stat().st_size
    assert info["image_bytes"] == sum(len(sample(number).image) for number in range(300))
    assert info["attributes"] == {"licence": "CC0"}
    assert info["format"] == 1
    assert is_store(path)
    assert sorted(file.name for file in path.iterdir()) == ["data.mdb", "store.json"]
    assert [file.name for file in path.parent.iterdir()] == ["a.records"]


@settings(max_examples=200, deadline=None)
@given(SAMPLES, st.integers(0, 2**40))
def test_any_sample_comes_back_from_a_record(sample: Sample, number: int) -> None:
    record = encode_record(number, sample)
    for check in ("sha256", "crc", "none"):
        assert decode_record(number, record, check) == sample
    for check in ("sha256", "crc"):
        with pytest.raises(ValueError, match="has changed"):
            decode_record(number + 1, record, check)
        for place in range(32 if check == "crc" else 0, len(record), 13):
            changed = record[:place] + bytes([record[place] ^ 0x20]) + record[place + 1 :]
            with pytest.raises(ValueError, match="has changed"):
                decode_record(number, changed, check)


@settings(max_examples=15, deadline=None)
@given(samples=st.lists(SAMPLES, min_size=1, max_size=12, unique_by=lambda sample: sample.key))
def test_any_samples_come_back_from_a_store(
    samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "store"
    pack(samples, path, check=False)
    store = RecordStore(path)
    assert list(store) == samples
    assert store.keys() == [sample.key for sample in samples]
    assert [store.index_of(sample.key) for sample in samples] == list(range(len(samples)))


def test_long_keys(tmp_path: Path) -> None:
    keys = ["k" * length for length in (1, 479, 480, 481, 511, 512, 5000)] + ["\0a", "é" * 240, "é" * 241]
    pack((Sample(key, caption="a") for key in keys), tmp_path / "store")
    store = RecordStore(tmp_path / "store")
    assert store.keys() == keys
    assert [store.index_of(key) for key in keys] == list(range(len(keys)))


def test_random_reads_equal_the_sequential_ones(path: Path) -> None:
    store = RecordStore(path)
    for index in np.random.default_rng(0).integers(-300, 300, 200):
        assert store[int(index)] == sample(int(index) % 300)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_what_one_process_reads(path: Path, method: str) -> None:
    store = RecordStore(path)
    assert store[3] == sample(3)  # the file is open before the workers are made
    order = np.random.default_rng(1).permutation(300).tolist()
    expected = [store[index] for index in order]
    for workers in (0, 2):
        loader = DataLoader(
            store,  # type: ignore[arg-type]
            batch_size=16,
            sampler=order,
            collate_fn=list,
            num_workers=workers,
            multiprocessing_context=method if workers else None,
        )
        assert [sample for batch in loader for sample in batch] == expected
    assert store[4] == sample(4)


def test_a_forked_process_opens_the_file_for_itself(path: Path) -> None:
    inherited = RecordStore(path)
    handle = inherited._open()

    def child(connection: object) -> None:
        twin = RecordStore(path)
        first, second = inherited[5], twin[6]
        apart = inherited._open() is twin._open() is not handle
        connection.send((first, second, apart))  # type: ignore[attr-defined]

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(sender,))
    process.start()
    assert receiver.poll(10)
    assert receiver.recv() == (sample(5), sample(6), True)
    process.join()
    assert process.exitcode == 0
    assert inherited._open() is handle
    assert inherited[7] == sample(7)


def test_any_number_of_stores_on_one_file(path: Path) -> None:
    first, second = RecordStore(path), RecordStore(path)
    copy = pickle.loads(pickle.dumps(first))
    assert first[1] == second[1] == copy[1] == sample(1)
    first.close()
    assert second[2] == copy[2] == sample(2)
    assert first[2] == sample(2)
    del first, second, copy
    assert RecordStore(path)[3] == sample(3)


def test_threads(path: Path) -> None:
    wrong: list[int] = []

    def read(seed: int) -> None:
        store = RecordStore(path)
        for index in np.random.default_rng(seed).integers(0, 300, 100):
            if store[int(index)] != sample(int(index)):
                wrong.append(int(index))
        store.close()

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_does_not_grow_with_the_count(tmp_path: Path) -> None:
    peaks: dict[int, tuple[int, int]] = {}
    for count in (500, 6000):
        tracemalloc.start()
        pack(
            (Sample(str(number), b"x" * 50, "y") for number in range(count)),
            tmp_path / str(count),
            check=False,
            commit_every=100,
        )
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        store = RecordStore(tmp_path / str(count))
        assert sum(len(store[index].image) for index in range(0, count, 7)) > 0
        peaks[count] = written, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    for few, many in zip(peaks[500], peaks[6000], strict=True):
        assert many < 1.25 * few + 20_000, peaks


def test_a_changed_record_is_not_given_out(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    data = bytearray((path / "data.mdb").read_bytes())
    place = data.index(sample(40).image) + 5
    data[place] ^= 1
    (copy / "data.mdb").write_bytes(data)
    (copy / "store.json").write_bytes((path / "store.json").read_bytes())
    store = RecordStore(copy)
    assert store[41] == sample(41)
    with pytest.raises(DataError, match="record 40 is damaged: its content has changed since it was written"):
        store[40]
    assert RecordStore(copy, check=False)[40].caption == sample(40).caption


def damaged_copies(path: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    mark, data = (path / "store.json").read_bytes(), (path / "data.mdb").read_bytes()
    cases = {
        "has no data.mdb": (mark, None),
        "bytes where": (mark, data[: len(data) // 2]),
        "bytes where .*": (mark, data + b"\0"),
        "it has changed since it was written": (mark.replace(b'"count": 300', b'"count": 301'), data),
        "format 9 is newer": (mark.replace(b'"format": 1', b'"format": 9'), data),
        "store.json: ": (mark[:40], data),
        "cannot be read": (mark, b"\0" * len(data)),
        "entry is missing": (mark.replace(b"image_bytes", b"image_octets"), data),
    }
    for number, (says, (mark_content, data_content)) in enumerate(cases.items()):
        copy = folder / str(number)
        copy.mkdir()
        (copy / "store.json").write_bytes(mark_content)
        if data_content is not None:
            (copy / "data.mdb").write_bytes(data_content)
        yield says, copy


def test_what_is_no_sound_store_gets_one_sentence(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    (tmp_path / "folder").mkdir()
    (tmp_path / ".half.partial").mkdir()
    cases = [
        ("no such record store", tmp_path / "missing"),
        ("is not a record store", tmp_path / "folder"),
        ("cannot be read|is not a record store", tmp_path / "file"),
        ("is an unfinished record store", tmp_path / "half"),
        *damaged_copies(path, tmp_path),
    ]
    for says, place in cases:
        with pytest.raises(DataError, match=says) as caught:
            RecordStore(place)
        text = str(caught.value)
        assert text.startswith(f"{place}: ")
        assert text.endswith(".")
        assert "\n" not in text
    assert not is_store(tmp_path / "folder")


def test_a_store_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    pack([sample(1), sample(2)], tmp_path / "store", check=False)
    store = RecordStore(tmp_path / "store")
    pack([sample(3)], tmp_path / "store", check=False, overwrite=True)
    assert store[1] == sample(2)  # the old file lives as long as it is open
    with pytest.raises(DataError, match="was replaced while it was open"):
        pickle.loads(pickle.dumps(store))[0]
    assert RecordStore(tmp_path / "store")[0] == sample(3)
