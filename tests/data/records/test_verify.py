"""Looking for damage: every flipped byte is found, and the records that it hit are named."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from visionsmith.data.records import RecordStore, layout, pack, verify
from visionsmith.data.sample import Sample
from visionsmith.errors import DataError

COUNT = 120


def sample(number: int) -> Sample:
    rng = np.random.default_rng(number)
    return Sample(
        f"key-{number:03d}",
        rng.bytes(int(rng.integers(50, 7000))),
        f"the caption {number:03d}",
        {"n": number},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pack(map(sample, range(COUNT)), tmp_path / "store", check=False, commit_every=20)
    return tmp_path / "store"


def flip(file: Path, place: int, mask: int = 1) -> bytes:
    """Change a byte of a file; returns what it was before."""
    content = file.read_bytes()
    changed = bytearray(content)
    changed[place] ^= mask
    file.write_bytes(changed)
    return content


def test_a_sound_store(path: Path) -> None:
    report = verify(path)
    assert report.ok
    assert (report.count, report.damaged) == (COUNT, [])
    store = RecordStore(path)
    assert verify(path).ok  # also while it is open
    assert store[0] == sample(0)


def test_every_flipped_byte_of_the_data_is_found(path: Path) -> None:
    data = path / layout.DATA
    mark = layout.read_mark(path)
    places = np.random.default_rng(0).integers(0, data.stat().st_size, 400)
    for count, place in enumerate(places):
        content = flip(data, int(place), 1 << count % 8)
        if count < 12:  # the whole way, which starts a process
            report = verify(path)
            assert not report.ok
            assert report.damaged[0] == ("store", "data.mdb has changed since it was written")
        assert layout.file_digest(data) != mark.sha256
        data.write_bytes(content)
    assert verify(path).ok


@pytest.mark.parametrize("part", ["picture", "caption", "key", "meta", "digest"])
def test_the_record_that_was_hit_is_named(path: Path, part: str) -> None:
    data, number = path / layout.DATA, 77
    record = layout.encode_record(number, sample(number))
    start = data.read_bytes().index(record)
    marks = {
        "picture": sample(number).image,
        "caption": b"the caption 077",
        "key": b"key-077",
        "meta": b'"n":77',
        "digest": record[:32],
    }
    flip(data, start + record.index(marks[part]) + 5)
    report = verify(path)
    assert [place for place, _ in report.damaged] == ["store", number]
    assert "its content has changed" in report.damaged[1][1]
    if part == "picture":
        assert report.damaged[1][1].startswith("'key-077': ")


def test_a_key_that_leads_nowhere_is_found(path: Path) -> None:
    data = path / layout.DATA
    content = data.read_bytes()
    # In the index of keys the number follows the key; in a record it does not.
    places = [
        place
        for place in range(len(content))
        if content.startswith(b"key-033" + layout.number_bytes(33), place)
    ]
    assert places
    for place in places:
        flip(data, place + 14)
    assert (33, "'key-033': its key does not lead to it") in verify(path).damaged


def test_every_flipped_byte_of_the_mark_is_found(path: Path) -> None:
    content = (path / layout.MARK).read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        with pytest.raises(ValueError):  # noqa: PT011 - any reason will do
            layout.decode_mark(bytes(changed))
    flip(path / layout.MARK, content.index(b'"count": 120') + 10)
    report = verify(path)
    assert report.damaged == [("store", "store.json: it has changed since it was written")]


def test_a_file_of_another_size(path: Path) -> None:
    data = path / layout.DATA
    content = data.read_bytes()
    data.write_bytes(content + b"\0")
    assert "bytes where" in verify(path).damaged[0][1]
    data.write_bytes(content[: len(content) // 2])
    report = verify(path)
    assert "bytes where" in report.damaged[0][1]
    assert len(report.damaged) > 1
    data.unlink()
    assert verify(path).damaged == [("store", "data.mdb is missing")]


def test_pages_that_crash_the_reader(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package's function `verify` hides the module of that name.
    module = importlib.import_module("visionsmith.data.records.verify")
    told = "print(64); print('[70, \"gone\"]', flush=True)"
    crash = f"import os, signal; {told}; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(module, "_CHILD", crash)
    flip(path / layout.DATA, 5000)
    assert verify(path).damaged[1:] == [
        (70, "gone"),
        ("store", "its pages are damaged: what is with the records after 64 cannot be told"),
    ]


def test_what_is_no_store(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="record store"):
            verify(place)
