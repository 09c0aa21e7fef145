"""From samples to a store and back to files; what cannot be stored is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from visionsmith.data.records import RecordStore, pack, unpack
from visionsmith.data.sample import Sample
from visionsmith.data.sources import read_samples
from visionsmith.errors import DataError, OutputError
from visionsmith.image.io import encode_jpeg, encode_png

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PNG, JPEG = encode_png(PICTURE), encode_jpeg(PICTURE)

BAD = [
    (Sample("cut", JPEG[:-40]), "is a damaged JPEG"),
    (Sample("changed", PNG[:60] + b"?" + PNG[61:]), "is a damaged PNG"),
    (Sample("text", b"hello there"), "is not a picture"),
    (Sample("", PNG), "its key is empty"),
    (Sample("good", PNG), "its key came before"),
    (Sample("numbers", PNG, "", {"a": np.float32(1)}), "its metadata is not JSON"),
    (Sample("nan", PNG, "", {"a": float("nan")}), "its metadata is not JSON"),
    (Sample("set", PNG, "", {"a": {1, 2}}), "its metadata is not JSON"),
    (Sample("bytes", PNG, "", {"a": b"x"}), "its metadata is not JSON"),
    (Sample("surrogate \udcff", PNG), "not Unicode"),
    (Sample("caption", PNG, "\ud800"), "not Unicode"),
]


def test_bad_samples_are_left_out_and_named(tmp_path: Path) -> None:
    samples = [Sample("good", PNG, "a"), *(sample for sample, _ in BAD), Sample("last", JPEG, "b")]
    report = pack(samples, tmp_path / "store")
    assert (report.written, report.resumed, report.count) == (2, 0, 2)
    assert RecordStore(tmp_path / "store").keys() == ["good", "last"]
    assert len(report.skipped) == len(BAD)
    for (key, reason), (sample, says) in zip(report.skipped, BAD, strict=True):
        assert says in reason
        assert key == sample.key.encode("utf-8", "backslashreplace").decode()
    info = RecordStore(tmp_path / "store").info()
    assert info["skipped"] == len(BAD)
    assert info["skipped_first"][0] == ["cut", report.skipped[0][1]]


@pytest.mark.parametrize(("bad", "says"), BAD)
def test_strict_stops_at_the_first(tmp_path: Path, bad: Sample, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        pack([Sample("good", PNG), bad], tmp_path / "store", strict=True)
    assert str(caught.value).endswith(".")
    assert not (tmp_path / "store").exists()


def test_bad_samples_are_left_out_of_a_resumed_pack_as_well(tmp_path: Path) -> None:
    def samples(stop: int) -> list[Sample]:
        return [
            Sample(
                f"{number // 2}" if number % 5 == 1 else f"n{number}",
                PNG if number % 3 else PNG[:-9],
                str(number),
            )
            for number in range(stop)
        ]

    whole = pack(samples(40), tmp_path / "whole")

    def interrupted():
        yield from samples(25)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(interrupted(), tmp_path / "store")
    report = pack(samples(40), tmp_path / "store")
    assert report.resumed > 10
    assert report.skipped == whole.skipped
    assert list(RecordStore(tmp_path / "store")) == list(RecordStore(tmp_path / "whole"))


def test_nothing_to_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no sample to store"):
        pack([], tmp_path / "store")
    with pytest.raises(
        DataError, match="none of the 2 samples can be stored; the first, 'a': is a damaged PNG"
    ):
        pack([Sample("a", PNG[:-5]), Sample("b", PNG[:-5])], tmp_path / "store")
    with pytest.raises(DataError, match="attributes are not JSON"):
        pack([Sample("a", PNG)], tmp_path / "store", attributes={"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_unchecked_pictures_are_stored_as_they_come(tmp_path: Path) -> None:
    pack([Sample("a", b"anything")], tmp_path / "store", check=False)
    assert RecordStore(tmp_path / "store")[0].image == b"anything"


def test_unpacked_files_are_the_same_and_pack_to_the_same(tmp_path: Path) -> None:
    samples = [
        Sample("plain", PNG, "a caption", {"n": 1, "nested": {"a": [None, True]}, "meta": {"meta": 2}}),
        Sample("deep/er/photo", JPEG, "  spaces and\nlines  "),
        Sample("no caption", JPEG),
        Sample("no picture", b"", "words only", {"caption": "not this", "key": "nor this"}),
        Sample("../../outside", PNG, "x"),
        Sample("/etc/absolute", PNG, "x"),
        Sample(".hidden", PNG, "x"),
        Sample("a//b", PNG, "x"),
        Sample("a/b", PNG, "x"),
        Sample('od:d*na?me"<>|\\', PNG, "x"),
        Sample("100%", PNG, "x"),
        Sample("100%25", PNG, "x"),
        Sample("null\0and\nline", PNG, "x"),
        Sample("l" * 300, PNG, "x"),
        Sample("l" * 301, PNG, "x"),
        Sample("한국어 é", PNG, "그림"),
        Sample("ends.png", PNG, "x"),
        Sample("metadata.jsonl", PNG, "x"),
    ]
    pack(samples, tmp_path / "store")
    store = RecordStore(tmp_path / "store")
    folder = tmp_path / "in" / "folder"
    assert unpack(store, folder) == len(samples)
    files = [path for path in (tmp_path / "in").rglob("*") if path.is_file()]
    assert all(folder in path.parents for path in files)
    assert len(files) == 1 + sum(bool(sample.image) + bool(sample.caption) for sample in samples)
    assert (folder / "plain.png").read_bytes() == PNG
    assert (folder / "deep" / "er" / "photo.jpg").read_bytes() == JPEG
    assert (folder / "plain.txt").read_text() == "a caption"
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == [sample.key for sample in samples]
    assert list(read_samples(folder)) == samples
    with pytest.raises(OutputError, match="is not empty"):
        unpack(store, folder)
    assert unpack(store, folder, overwrite=True) == len(samples)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written|is not empty"):
        unpack(store, tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        unpack(store, tmp_path / "file" / "folder")
