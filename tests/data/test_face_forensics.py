"""Real and forged pictures in every layout: labels, splits, videos that stay apart, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from visionsmith.data.face_forensics import Frame, find_frames, open_forgeries
from visionsmith.data.records import pack
from visionsmith.data.sample import Sample
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import encode_png

RNG = np.random.default_rng(0)


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(RNG.integers(0, 256, (20, 20, 3)).astype(np.uint8)))


def by_key(frames: list[Frame]) -> dict[str, Frame]:
    return {frame.key: frame for frame in frames}


def test_the_re_implementations_layout(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        write(
            tmp_path / split / "real" / "000" / "1.png",
            tmp_path / split / "fake" / "Deepfakes" / "000_003" / "1.png",
        )
        write(tmp_path / split / "fake" / "Face2Face" / "000_003" / "1.png")
    frames = by_key(find_frames(tmp_path))
    assert len(frames) == 9
    real, fake = frames["train/real/000/1.png"], frames["valid/fake/Deepfakes/000_003/1.png"]
    assert (real.forged, real.split, real.manipulation, real.video) == (False, "train", "", "train/real/000")
    assert (fake.forged, fake.split, fake.manipulation) == (True, "val", "Deepfakes")
    # The same pair in another manipulation is another video.
    assert len({frame.video for frame in frames.values()}) == 9


def test_face_forensics_as_it_unpacks(tmp_path: Path) -> None:
    for compression in ("c23", "c40"):
        for person in range(20):
            write(tmp_path / f"original_sequences/youtube/{compression}/frames/{person:03d}/0.png")
            pair = f"{person:03d}_{person ^ 1:03d}"
            write(tmp_path / f"manipulated_sequences/Deepfakes/{compression}/frames/{pair}/0.png")
            write(tmp_path / f"manipulated_sequences/FaceSwap/{compression}/frames/{pair}/0.png")
    frames = find_frames(tmp_path)
    assert len(frames) == 20 * 3 * 2
    assert {frame.compression for frame in frames} == {"hq", "lq"}
    assert {frame.manipulation for frame in frames} == {"", "Deepfakes", "FaceSwap"}
    assert {frame.split for frame in frames} == {"train", "val", "test"}
    split_of: dict[str, set[str]] = {}
    for frame in frames:
        for person in frame.people:
            split_of.setdefault(person, set()).add(frame.split)
    assert all(len(splits) == 1 for splits in split_of.values()), "a person is in two splits"
    assert find_frames(tmp_path) == frames


def test_plain_folders_and_missing_levels(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / "real" / f"{number}.png", tmp_path / "fake" / f"{number}.png")
    write(tmp_path / "fake" / "lq" / "FaceSwap" / "a.png")
    frames = by_key(find_frames(tmp_path))
    assert frames["real/3.png"].video == "real/3.png"
    assert frames["fake/3.png"].forged
    deep = frames["fake/lq/FaceSwap/a.png"]
    assert (deep.compression, deep.manipulation) == ("lq", "FaceSwap")
    assert {frame.split for frame in frames.values()} == {"train", "val", "test"}


def test_an_index(tmp_path: Path) -> None:
    names = ["faces/real/000/0.png", "faces/df/000_003/0.png", "faces/df/000_003/1.png"]
    write(*(tmp_path / name for name in names))
    index = {
        "FF++": {
            "FF-real": {"train": {"c23": {"000": {"label": "FF-real", "frames": names[:1]}}}},
            "FF-DF": {
                "test": {
                    "c23": {"000_003": {"label": "FF-DF", "frames": ["faces\\df\\000_003\\0.png", names[2]]}}
                }
            },
        }
    }
    (tmp_path / "index.json").write_text(json.dumps(index))
    frames = by_key(find_frames(tmp_path / "index.json"))
    assert len(frames) == 3
    assert not frames[names[0]].forged
    fake = frames[names[1]]
    assert (fake.forged, fake.split, fake.compression, fake.manipulation) == (True, "test", "hq", "FF-DF")
    assert fake.video == frames[names[2]].video == "FF++/FF-DF/test/c23/000_003"
    index["FF++"]["FF-real"]["train"]["c23"]["000"]["frames"] = ["../../secret.png"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="lies outside its folder"):
        find_frames(tmp_path / "index.json")


def test_a_folder_is_opened_packed_once_and_packed_again_when_it_changes(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for number in range(3):
            write(tmp_path / "d" / split / "real" / "v" / f"{number}.png")
            write(tmp_path / "d" / split / "fake" / "A" / "hq" / "v" / f"{number}.png")
    first = open_forgeries(tmp_path / "d")
    assert len(first.store) == 18
    assert first.forged.sum() == 9
    assert len(first.select("test")) == 6
    assert set(first.method) == {"", "A"}
    assert len(set(first.video)) == 6
    assert open_forgeries(tmp_path / "d").store.path == first.store.path
    write(tmp_path / "d" / "train" / "real" / "v" / "9.png")
    assert len(open_forgeries(tmp_path / "d").store) == 19


def test_only_one_kind_gets_a_sentence(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write(*(tmp_path / "d" / split / "real" / f"{number}.png" for number in range(2)))
    opened = open_forgeries(tmp_path / "d")
    with pytest.raises(
        DataError, match=r"has 2 real and 0 forged pictures for 'train'.*both kinds are needed"
    ):
        opened.select("train")
    with pytest.raises(ConfigError, match="there is no compression 'c23'"):
        opened.select("train", "c23")


def test_mistakes_get_a_sentence(tmp_path: Path) -> None:
    write(tmp_path / "plain" / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "nothing.json").write_text("[1, 2]")
    for path, message in (
        (tmp_path / "plain", "'a.png' lies neither in a folder 'real' nor in 'fake'"),
        (tmp_path / "empty", "holds no pictures"),
        (tmp_path / "missing", "no such file or folder"),
        (tmp_path / "bad.json", "cannot be read as JSON"),
        (tmp_path / "nothing.json", "holds no pictures"),
    ):
        with pytest.raises(DataError, match=message):
            open_forgeries(path)
    pack([Sample("x", encode_png(np.zeros((8, 8, 3), np.uint8)))], tmp_path / "s.records")
    with pytest.raises(DataError, match="record 'x' does not say whether it is real or forged"):
        open_forgeries(tmp_path / "s.records")
