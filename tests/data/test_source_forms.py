"""Conversations, COCO, Parquet and hub data sets as others write them."""

from __future__ import annotations

import datetime
import json
import struct
import sys
import zlib
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.errors
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from visionsmith.data.exports import convert
from visionsmith.data.records import RecordStore
from visionsmith.data.sample import Sample
from visionsmith.data.sources import find_source, hub, open_or_pack, pack_source, parquet, read_samples
from visionsmith.errors import DataError
from visionsmith.image.io import encode_png


def picture(number: int) -> bytes:
    return encode_png(np.full((6, 8, 3), (number * 37) % 256, np.uint8))


def write(folder: Path, files: dict[str, bytes | str | object]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes | str):
            content = json.dumps(content)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read_with_problems(path: Path) -> tuple[list[Sample], list[tuple[str, str]]]:
    problems: list[tuple[str, str]] = []
    samples = list(read_samples(path, on_problem=lambda key, reason: problems.append((key, reason))))
    return samples, problems


def says(problems: list[tuple[str, str]], *expected: tuple[str, str]) -> bool:
    return len(problems) == len(expected) and all(
        key == wanted and part in reason
        for (key, reason), (wanted, part) in zip(problems, expected, strict=True)
    )


def jsonl(*rows: object) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


ASKED = [{"from": "human", "value": "<image>\nWho?"}, {"from": "gpt", "value": "A cat"}]
LLAVA = [
    {"id": "1", "image": "coco/1.png", "conversations": ASKED, "source": "x"},
    {"id": "1", "image": "coco/1.png", "conversations": [*ASKED, *ASKED]},
    {"id": 7, "image": "2.png", "conversations": [{"from": "human", "value": "<image>"}, ASKED[1]]},
    {"id": "text", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
    {"image": "2.png", "conversations": [{"from": "system", "value": "Be brief."}, *ASKED]},
]
LLAVA_SAMPLES = [
    Sample("1", picture(1), "A cat", {"source": "x", "conversations": ASKED}),
    Sample("1#2", picture(1), "A cat", {"conversations": [*ASKED, *ASKED]}),
    Sample("7", picture(2), "A cat"),
    Sample("text", b"", "Ho", {"conversations": LLAVA[3]["conversations"]}),
    Sample("2", picture(2), "A cat", {"conversations": LLAVA[4]["conversations"]}),
]


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_llava(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"coco/1.png": picture(1), "2.png": picture(2)})
    write(tmp_path, {name: jsonl(*LLAVA) if name.endswith("l") else json.dumps(LLAVA, indent=1)})
    assert list(read_samples(tmp_path / name)) == LLAVA_SAMPLES
    assert {path.name for path in find_source(tmp_path / name).files()} == {"1.png", "2.png", name}


def test_messages(tmp_path: Path) -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "Who?"}]
    answer = {"role": "assistant", "content": [{"type": "text", "text": "A cat"}], "weight": 1}
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<image>\nWho?"},
                {"role": "assistant", "content": "A cat"},
            ],
            "images": ["a.png"],
        },
        {"id": "x", "messages": [{"role": "user", "content": parts}, answer], "images": [{"path": "a.png"}]},
        {"id": "y", "messages": [{"role": "user", "content": "Hi"}], "images": []},
        {"id": "z", "conversations": ASKED, "images": ["a.png"], "caption": "another"},
    ]
    write(tmp_path, {"a.png": picture(1), "chat.jsonl": jsonl(*rows)})
    weighed = [ASKED[0], {"from": "gpt", "value": "A cat", "weight": 1}]
    assert list(read_samples(tmp_path / "chat.jsonl")) == [
        Sample("a", picture(1), "A cat", {"conversations": ASKED}),
        Sample("x", picture(1), "A cat", {"conversations": weighed}),
        Sample("y", b"", "", {"conversations": [{"from": "human", "value": "Hi"}]}),
        Sample("z", picture(1), "another", {"conversations": ASKED}),
    ]


def test_conversations_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    rows = [
        {"id": "two", "images": ["a.png", "a.png"], "messages": []},
        {"id": "turn", "image": "a.png", "conversations": [*ASKED, {"from": "gpt"}]},
        {"id": "part", "image": "a.png", "messages": [{"role": "user", "content": [{"type": "audio"}]}]},
        {"id": "number", "image": "a.png", "messages": [{"role": "user", "content": 5}]},
        {"id": "gone", "image": "gone.png", "conversations": ASKED},
        {"id": "good", "image": "a.png", "conversations": ASKED},
    ]
    write(tmp_path, {"a.png": picture(1), "d.jsonl": jsonl(*rows)})
    samples, problems = read_with_problems(tmp_path / "d.jsonl")
    assert [sample.key for sample in samples] == ["good"]
    assert says(
        problems,
        ("two", "it has 2 pictures; a record holds one"),
        ("turn", "turn 3 of its conversation has no from and value"),
        ("part", "turn 1 of its conversation is neither text nor parts"),
        ("number", "turn 1 of its conversation is neither"),
        ("gone", "there is no picture 'gone.png'"),
    )


INSTANCES = {
    "info": {"year": 2017},
    "images": [
        {"id": 9, "file_name": "000009.png", "width": 8, "height": 6, "license": 3},
        {"id": 4, "file_name": "000004.png", "width": 8, "height": 6},
        {"id": 5, "file_name": "gone.png", "width": 8, "height": 6},
        {"id": 6, "width": 8, "height": 6},
    ],
    "annotations": [
        {"id": 1, "image_id": 4, "category_id": 18, "bbox": [1.5, 2, 3, 4], "area": 12, "iscrowd": 0},
        {
            "id": 2,
            "image_id": 9,
            "category_id": 1,
            "bbox": [0, 0, 1, 1],
            "segmentation": [[0, 0, 1, 1, 0, 1]],
        },
        {"id": 3, "image_id": 4, "category_id": 1, "bbox": [1, 1, 1, 1]},
    ],
    "categories": [{"id": 1, "name": "person", "supercategory": "human"}, {"id": 18, "name": "dog"}],
}
CAPTIONS = {
    "images": INSTANCES["images"],
    "annotations": [
        {"id": 7, "image_id": 9, "caption": "one"},
        {"id": 8, "image_id": 4, "caption": "a dog"},
        {"id": 9, "image_id": 9, "caption": 'two, "quoted"'},
    ],
}


def coco(folder: Path) -> Path:
    pictures = {"val2017/000009.png": picture(9), "val2017/000004.png": picture(4)}
    annotations = {
        "annotations/instances_val2017.json": INSTANCES,
        "annotations/captions_val2017.json": CAPTIONS,
    }
    return write(folder, {**pictures, **annotations})


@pytest.mark.parametrize(
    "name", ["annotations/instances_val2017.json", "annotations/captions_val2017.json", "."]
)
def test_coco(tmp_path: Path, name: str) -> None:
    coco(tmp_path)
    samples, problems = read_with_problems(tmp_path / name)
    person = {"category": "person", "bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 1, 0, 1]]}
    dogs = [
        {"category": "dog", "bbox": [1.5, 2, 3, 4], "area": 12, "iscrowd": 0},
        {"category": "person", "bbox": [1, 1, 1, 1]},
    ]
    said = ["one", 'two, "quoted"']
    assert samples == [
        Sample(
            "000009", picture(9), "one", {"image_id": 9, "license": 3, "captions": said, "objects": [person]}
        ),
        Sample("000004", picture(4), "a dog", {"image_id": 4, "objects": dogs}),
    ]
    assert says(problems, ("gone", "there is no picture 'gone.png'"), ("image 6", "it has no file_name"))
    files = [path.name for path in find_source(tmp_path / name).files()]
    assert sorted(files[:2]) == ["captions_val2017.json", "instances_val2017.json"]
    assert files[2:] == ["000009.png", "000004.png", "gone.png"]


@pytest.mark.parametrize("place", ["", "images/", "../", "../images/", "../images/x/", "../x/"])
def test_where_the_pictures_of_coco_lie(tmp_path: Path, place: str) -> None:
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}
    write(tmp_path / "ann", {f"{place}a.png": picture(1), "instances_x.json": content})
    assert [sample.image for sample in read_samples(tmp_path / "ann" / "instances_x.json")] == [picture(1)]


def arrow(
    path: Path, columns: dict[str, object], metadata: dict[str, str] | None = None, **options: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, path, **options)
    return path


def test_parquet_of_the_hub(tmp_path: Path) -> None:
    images = [{"bytes": picture(n), "path": f"{n}.png" if n < 2 else None} for n in range(4)]
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}, "image": {"_type": "Image"}}
    path = arrow(
        tmp_path / "train.parquet",
        {
            "image": images,
            "text": ["one", "two, 'x'", None, "four"],
            "label": [0, 1, -1, 7],
            "score": [0.5, float("nan"), None, 1.0],
            "day": [datetime.date(2020, 1, 2)] * 4,
            "raw": [b"left out"] * 4,
            "more": [{"a": [1, 2], "b": b"left out"}] * 4,
        },
        {"huggingface": json.dumps({"info": {"features": features}})},
        row_group_size=2,
    )
    always = {"day": "2020-01-02", "more": {"a": [1, 2]}}
    assert list(read_samples(path)) == [
        Sample("0", picture(0), "one", {"label": "cat", "score": 0.5, **always}),
        Sample("1", picture(1), "two, 'x'", {"label": "dog", "score": None, **always}),
        Sample("000002", picture(2), "", {"label": -1, **always}),
        Sample("000003", picture(3), "four", {"label": 7, "score": 1.0, **always}),
    ]


def test_parquet_with_paths_bytes_and_several_captions(tmp_path: Path) -> None:
    write(tmp_path, {"in/a.png": picture(1), "in/b.png": picture(2)})
    paths = arrow(
        tmp_path / "paths.parquet",
        {"file_name": ["in/a.png", "in/b.png", "no.png"], "caption": ["x", "y", "z"]},
    )
    samples, problems = read_with_problems(paths)
    assert samples == [Sample("in/a", picture(1), "x"), Sample("in/b", picture(2), "y")]
    assert says(problems, ("no", "there is no picture 'no.png'"))
    several = [["one", "two"], ["three"], []]
    plain = arrow(
        tmp_path / "plain.parquet",
        {"img": [picture(n) for n in range(3)], "caption": several, "key": ["k", "", None]},
    )
    assert list(read_samples(plain)) == [
        Sample("k", picture(0), "one", {"captions": ["one", "two"]}),
        Sample("000001", picture(1), "three"),
        Sample("000002", picture(2)),
    ]
    odd_name = arrow(tmp_path / "odd.parquet", {"photo": [{"bytes": picture(1), "path": None}]})
    assert list(read_samples(odd_name)) == [Sample("000000", picture(1))]


def test_several_parquet_files(tmp_path: Path) -> None:
    for number in range(2):
        arrow(
            tmp_path / "data" / f"train-{number}.parquet",
            {"image": [{"bytes": picture(number), "path": None}]},
        )
    write(tmp_path, {"README.md": "a data set", "data/.hidden.parquet": "junk"})
    assert [sample.key for sample in read_samples(tmp_path)] == ["train-0/000000", "train-1/000000"]
    store = open_or_pack(tmp_path, tmp_path / "cache" / "store")
    assert len(store) == 2


def test_parquet_problems_are_told_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = arrow(tmp_path / "d" / "b.parquet", {"image": [picture(1)]})
    (tmp_path / "d" / "a.parquet").write_bytes(good.read_bytes()[:-20])
    arrow(tmp_path / "d" / "c.parquet", {"image": pyarrow.array([], pyarrow.binary())})
    arrow(tmp_path / "d" / "e.parquet", {"image": [picture(1)], "caption": [5]})
    arrow(tmp_path / "d" / "f.parquet", {"image": [5]})
    samples, problems = read_with_problems(tmp_path / "d")
    assert [sample.key for sample in samples] == ["b/000000"]
    assert says(
        problems,
        (str(tmp_path / "d" / "a.parquet"), "cut short or damaged"),
        (str(tmp_path / "d" / "c.parquet"), "the file has no rows"),
        ("e/000000", "its caption is not a text"),
        ("f/000000", "its picture is a int, neither bytes nor a path"),
    )
    monkeypatch.setattr(parquet, "LARGEST_GROUP", 1)
    _, problems = read_with_problems(good)
    assert says(problems, (f"{good}, row 0", "uncompressed, above 1"))


def test_a_picture_that_declares_too_many_pixels_is_left_out(tmp_path: Path) -> None:
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    arrow(tmp_path / "p" / "a.parquet", {"image": [bomb, picture(1)]})
    convert([Sample("bomb", bomb), Sample("good", picture(1))], tmp_path / "t", "webdataset")
    convert([Sample("bomb", bomb), Sample("good", picture(1))], tmp_path / "c", "coco")
    for name in "ptc":
        report = pack_source(tmp_path / name, tmp_path / f"{name}.records")
        assert report.count == 1
        assert "60,000 x 60,000 px, above the limit" in report.skipped[0][1]


def test_a_data_set_of_the_hub_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout is the hub's: a reference, and a snapshot whose files are links."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "cache" / "datasets--someone--pets"
    arrow(root / "blobs" / "abc", {"image": [{"bytes": picture(1), "path": "a.png"}], "text": ["a pet"]})
    snapshot = root / "snapshots" / ("f" * 40)
    write(root, {"refs/main": "f" * 40})
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "data" / "train-00000-of-00001.parquet").symlink_to("../../../blobs/abc")
    write(snapshot, {"README.md": "# Pets", "pets.py": "raise SystemExit('code of a data set was run')"})
    name = Path("someone/pets")
    assert list(read_samples(name)) == [Sample("a", picture(1), "a pet")]
    assert find_source(name).kind == "folder of Parquet files"
    pack_source(name, tmp_path / "store")
    assert len(RecordStore(tmp_path / "store")) == 1
    for other in ("someone/dogs", "no--such/na..me"):
        with pytest.raises(
            DataError, match="no such file or folder, and no data set of that name in the hub's cache"
        ):
            find_source(Path(other))
    (tmp_path / "someone").mkdir()
    with pytest.raises(DataError, match="no such file or folder; give"):
        find_source(name)


def test_download_needs_leave_and_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="is no data set of the hub; give OWNER/NAME"):
        hub.download(tmp_path)
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *args, **options: calls.append((args, options))
    )
    hub.download(Path("someone/pets"))
    assert calls == [(("someone/pets",), {"repo_type": "dataset"})]

    def offline(*_: object, **__: object) -> None:
        raise huggingface_hub.errors.OfflineModeIsEnabled("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(DataError, match="cannot be fetched: HF_HUB_OFFLINE is set"):
        hub.download(Path("someone/pets"))

    def refused(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host.\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    with pytest.raises(DataError, match=r"cannot be fetched \(no route to host\)"):
        hub.download(Path("someone/pets"))


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = arrow(tmp_path / "a.parquet", {"image": [picture(1)]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        DataError, match=r"not installed; install it with `pip install 'visionsmith\[parquet\]'`"
    ):
        list(read_samples(path))


def test_mistakes_get_one_sentence(tmp_path: Path) -> None:
    columns = arrow(tmp_path / "columns.parquet", {"id": [1], "label": ["x"]})
    nowhere = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}
    two = {"annotations/instances_a.json": nowhere, "annotations/captions_b.json": nowhere}
    write(
        tmp_path,
        {"list.json": "[1, {]", "object.json": '{"a": 1, "b": 2}', "text.json": "{", "empty.json": "[]"},
    )
    write(
        tmp_path,
        {"nowhere.json": nowhere, "none.json": {"images": []}, **{f"two/{k}": v for k, v in two.items()}},
    )
    write(tmp_path, {"noid.json": {"images": [{"file_name": "a.png"}]}, "latin.json": b'["\xe9"]'})
    cases = {
        columns: "has no column for the picture; its columns are id, label; name one of them filepath or",
        tmp_path / "list.json": r"is not JSON \(line 1",
        tmp_path / "object.json": r"is not COCO: it has no list of images \(it has a, b\)",
        tmp_path / "text.json": "is not JSON",
        tmp_path / "empty.json": "holds no rows",
        tmp_path
        / "nowhere.json": "its first picture 'a.png' is not found in .*; put the pictures into one of these",
        tmp_path / "none.json": "names no pictures",
        tmp_path / "noid.json": "is not COCO: an entry of images has no id",
        tmp_path / "latin.json": "is not UTF-8",
        tmp_path
        / "two": r"holds 2 sets of COCO \(a, b\); give the annotations of one, e.g. .*captions_b.json",
    }
    for path, sentence in cases.items():
        with pytest.raises(DataError, match=sentence) as caught:
            list(read_samples(path))
        text = str(caught.value)
        assert text.endswith("."), path
        assert "\n" not in text, path
        assert str(tmp_path) in text, path
