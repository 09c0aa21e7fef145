"""Every form gives back the samples that were written to it, or says which it cannot hold."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import webdataset

from visionsmith.data.exports import FORMS, convert
from visionsmith.data.records import BusyError, RecordStore, pack
from visionsmith.data.records.writer import lock_folder
from visionsmith.data.sample import Sample
from visionsmith.data.sources import find_source, pack_source, read_samples, shards
from visionsmith.errors import ConfigError, DataError, OutputError
from visionsmith.image.io import encode_jpeg, encode_png


def picture(number: int) -> bytes:
    return encode_png(np.full((6, 8, 3), (number * 37) % 256, np.uint8))


TURNS = [
    {"from": "human", "value": "<image>\nWhat is it?"},
    {"from": "gpt", "value": "A square."},
    {"from": "human", "value": "Sure?"},
    {"from": "gpt", "value": 'Yes, "quite".\nBye'},
]
SAMPLES = [
    Sample("plain", picture(1), "a plain one"),
    Sample(
        "b/c d/é한글 🙂",
        picture(2),
        'comma, "quote"\nline\ttab\r end; 한글',
        {"n": 1, "f": 1.5, "list": [1, None]},
    ),
    Sample("b/c.d.e", encode_jpeg(np.zeros((5, 9, 3), np.uint8)), "A square.", {"conversations": TURNS}),
    Sample("turns with a caption", picture(8), "a caption", {"conversations": TURNS[:2]}),
    Sample("turns without", picture(9), "", {"conversations": TURNS, "label": "cat"}),
    Sample("../up", picture(3), "", {"text": "no caption", "image": "x", "id": 3}),
    Sample(
        "names", picture(4), "c", {"text": "t", "caption": "c", "key": "k", "meta": {"x": [1]}, "title": "t"}
    ),
    Sample("several", picture(5), "one", {"captions": ["one", "two, three"], "label": "cat"}),
    Sample(
        "boxes", picture(6), "", {"objects": [{"category": "cat", "bbox": [1, 2, 3, 4], "area": 12.5}] * 2}
    ),
    Sample("odd", picture(7), "cap", {"captions": ["other"], "objects": "none", "conversations": []}),
    Sample("100% \\ : * ?", picture(10), "  spaces around "),
    Sample(".hidden", picture(11), "y"),
    Sample("no picture", b"", "only a text", {"a": None}),
    Sample("nothing", b""),
]
NEEDS = {
    "csv": lambda sample: bool(sample.image and sample.caption),
    "tsv": lambda sample: bool(sample.image and sample.caption),
    "coco": lambda sample: bool(sample.image),
    "webdataset": lambda sample: bool(sample.image),
}
"""What a form cannot do without; the others hold every sample."""


def read_all(path: Path) -> list[Sample]:
    """The samples of a source, which must not have a problem."""
    return list(read_samples(path))


@pytest.mark.parametrize("form", FORMS)
def test_a_form_gives_back_what_it_was_given(tmp_path: Path, form: str) -> None:
    sizes = {"shard_bytes": 400} if FORMS[form].sharded else {}
    pack(SAMPLES, tmp_path / "store")
    report = convert(RecordStore(tmp_path / "store"), tmp_path / "out", form, **sizes)
    held = [sample for sample in SAMPLES if NEEDS.get(form, lambda _: True)(sample)]
    assert read_all(tmp_path / "out") == held
    assert report.count == len(held)
    assert [key for key, _ in report.left_out] == [sample.key for sample in SAMPLES if sample not in held]
    assert bool(FORMS[form].cannot_hold) == (form in NEEDS)
    packed = pack_source(tmp_path / "out", tmp_path / "again", strict=True)
    assert list(RecordStore(packed.path)) == held
    if sizes:
        assert len(list((tmp_path / "out").glob("part-*"))) > 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "out", "store"]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_samples_give_the_same_files(tmp_path: Path, form: str) -> None:
    for name in ("a", "b"):
        convert(SAMPLES, tmp_path / name, form)
    first, second = (
        {
            file.relative_to(tmp_path / name): file.read_bytes()
            for file in (tmp_path / name).rglob("*")
            if file.is_file()
        }
        for name in ("a", "b")
    )
    assert first == second
    assert len(first) >= 2


def test_shards_are_what_webdataset_reads(tmp_path: Path) -> None:
    convert(SAMPLES, tmp_path / "out", "webdataset", shard_bytes=500)
    found = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with path.open("rb") as stream:
            members = webdataset.tariterators.tar_file_expander([{"stream": stream, "url": str(path)}])
            found += list(webdataset.tariterators.group_by_keys(members))
    held = [sample for sample in SAMPLES if sample.image]
    assert [json.loads(entry["json"]).pop("__key__") for entry in found] == [sample.key for sample in held]
    assert [entry.get("png") or entry["jpg"] for entry in found] == [sample.image for sample in held]
    assert [entry.get("txt", b"").decode() for entry in found] == [sample.caption for sample in held]


def test_shards_end_at_their_size(tmp_path: Path) -> None:
    samples = [Sample(f"{number:03d}", picture(number), "x" * 100) for number in range(30)]
    convert(samples, tmp_path / "out", "webdataset", shard_bytes=1000)
    sizes = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as archive:
            sizes.append(sum(member.size for member in archive))
    assert max(sizes) <= 1000
    # Full: the next sample would not have fitted.
    assert min(sizes[:-1]) > 1000 - max(sizes) / 3
    convert(samples, tmp_path / "one", "webdataset", shard_bytes=1)
    assert len(list((tmp_path / "one").glob("*.tar"))) == 30


def test_parquet_is_as_on_the_hub(tmp_path: Path) -> None:
    convert(SAMPLES, tmp_path / "out", "parquet")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "part-00000.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    rows = table.to_pylist()
    assert [row["image"]["bytes"] if row["image"] else b"" for row in rows] == [
        sample.image for sample in SAMPLES
    ]
    assert rows[2]["image"]["path"] == "b/c.d.e.jpg"
    assert [row["caption"] or "" for row in rows] == [sample.caption for sample in SAMPLES]


def test_coco_is_coco(tmp_path: Path) -> None:
    convert(SAMPLES, tmp_path / "out", "coco")
    content = json.loads((tmp_path / "out" / "annotations.json").read_bytes())
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    assert list(names.values()) == ["cat"]
    by_key = {entry["key"]: entry for entry in content["images"]}
    assert (by_key["b/c.d.e"]["width"], by_key["b/c.d.e"]["height"]) == (9, 5)
    for entry in content["images"]:
        assert (tmp_path / "out" / entry["file_name"]).is_file()
    boxes = [entry for entry in content["annotations"] if "bbox" in entry]
    assert [(names[box["category_id"]], box["bbox"], box["area"]) for box in boxes] == [
        ("cat", [1, 2, 3, 4], 12.5)
    ] * 2
    assert {box["image_id"] for box in boxes} == {by_key["boxes"]["id"]}
    said = [
        entry["caption"] for entry in content["annotations"] if entry["image_id"] == by_key["several"]["id"]
    ]
    assert said == ["one", "two, three"]
    assert len({entry["id"] for entry in content["annotations"]}) == len(content["annotations"])


def test_llava_and_messages_are_what_trainers_read(tmp_path: Path) -> None:
    convert(SAMPLES[:3], tmp_path / "llava", "llava")
    convert(SAMPLES[:3], tmp_path / "messages", "messages")
    llava, messages = (
        [json.loads(line) for line in (tmp_path / form / "metadata.jsonl").read_text().splitlines()]
        for form in ("llava", "messages")
    )
    assert llava[0] == {
        "id": "plain",
        "image": "images/plain.png",
        "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a plain one"}],
    }
    assert llava[2]["conversations"] == TURNS
    assert messages[2]["images"] == ["images/b/c.d.e.jpg"]
    assert [turn["role"] for turn in messages[2]["messages"]] == ["user", "assistant"] * 2
    assert [turn["content"] for turn in messages[2]["messages"]] == [turn["value"] for turn in TURNS]


def test_csv_is_csv(tmp_path: Path) -> None:
    for form, delimiter in (("csv", ","), ("tsv", "\t")):
        convert(SAMPLES[:2], tmp_path / form, form)
        with (tmp_path / form / f"metadata.{form}").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter=delimiter))
        assert [row["caption"] for row in rows] == [sample.caption for sample in SAMPLES[:2]]
        assert json.loads(rows[1]["meta"]) == SAMPLES[1].meta


def test_what_no_form_takes_is_left_out_and_named(tmp_path: Path) -> None:
    samples = [
        SAMPLES[0],
        SAMPLES[0],
        Sample("", picture(1), "x"),
        Sample("\udcff", picture(1), "x"),
        Sample("set", picture(1), "x", {"a": {1}}),
        Sample("long", picture(1), "x" * 200_000),
        Sample("blank", picture(1), " \n"),
    ]
    report = convert(samples, tmp_path / "out", "csv")
    reasons = [
        ("plain", "its key came before"),
        ("", "its key is empty"),
        ("\\udcff", "is not Unicode text"),
        ("set", "its metadata is not JSON"),
        ("long", "a text of 200,000 characters"),
        ("blank", "it has no caption"),
    ]
    assert report.count == 1
    for (key, reason), (expected, says) in zip(report.left_out, reasons, strict=True):
        assert key == expected
        assert says in reason
    assert read_all(tmp_path / "out") == [SAMPLES[0]]
    webdataset_only = [
        SAMPLES[0],
        Sample("text", b"no picture", "x"),
        Sample("m", picture(1), "", {"__key__": "z"}),
    ]
    report = convert(webdataset_only, tmp_path / "tars", "webdataset")
    assert [key for key, _ in report.left_out] == ["text", "m"]
    report = convert(webdataset_only, tmp_path / "coco", "coco")
    assert [key for key, _ in report.left_out] == ["text"]
    assert "is not a picture" in report.left_out[0][1]


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("precious")
    (tmp_path / "file").write_text("precious")
    pack(SAMPLES, tmp_path / "store")
    for name, says in (
        ("photos", "was not made by this command"),
        ("file", "is a file"),
        ("store", "is a record store"),
    ):
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=says):
                convert(SAMPLES, tmp_path / name, "jsonl", overwrite=overwrite)
    assert (tmp_path / "photos" / "a.jpg").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    convert(SAMPLES, tmp_path / "empty", "jsonl")
    with pytest.raises(OutputError, match="is there already"):
        convert(SAMPLES, tmp_path / "empty", "jsonl")
    convert(SAMPLES[:1], tmp_path / "empty", "parquet", overwrite=True)
    assert read_all(tmp_path / "empty") == SAMPLES[:1]
    with pytest.raises(OutputError, match="cannot be written"):
        convert(SAMPLES, tmp_path / "file" / "out", "jsonl")
    # Names that no file system tells apart from a folder that is there.
    clash = [Sample("a.png/b", picture(1), "x"), Sample("a", picture(1), "x")]
    with pytest.raises(OutputError, match="cannot be written"):
        convert(clash, tmp_path / "clash", "jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "photos", "store"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    def broken():
        yield from SAMPLES[:3]
        raise RuntimeError("the source fails")

    convert(SAMPLES, tmp_path / "out", "jsonl")
    for form in FORMS:
        with pytest.raises(RuntimeError, match="the source fails"):
            convert(broken(), tmp_path / "new", form)
        with pytest.raises(RuntimeError, match="the source fails"):
            convert(broken(), tmp_path / "out", form, overwrite=True)
    with pytest.raises(DataError, match="there is no sample to write"):
        convert([], tmp_path / "new", "jsonl")
    with pytest.raises(
        DataError, match="none of the 1 samples can be written; the first, 'nothing': it has no picture"
    ):
        convert(SAMPLES[-1:], tmp_path / "new", "csv")
    assert read_all(tmp_path / "out") == SAMPLES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_at_once(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path / ".out.converting", tmp_path / "out")
    with pytest.raises(BusyError, match="is being written by another process"):
        convert(SAMPLES, tmp_path / "out", "jsonl")
    os.close(lock)
    (tmp_path / ".out.converting" / "rest").write_text("left by a killed call")
    convert(SAMPLES, tmp_path / "out", "jsonl")
    assert not (tmp_path / "out" / "rest").exists()


def test_a_killed_convert_leaves_no_half_output(tmp_path: Path) -> None:
    code = """
import sys, time
from visionsmith.data.exports import convert
from visionsmith.data.sample import Sample
def samples():
    for number in range(1000):
        print(number, flush=True)
        yield Sample(str(number), b"x" * 100, "c")
        time.sleep(0.01)
convert(samples(), sys.argv[1], sys.argv[2])
"""
    for form in ("folder", "parquet"):
        target = tmp_path / form
        with subprocess.Popen(
            [sys.executable, "-c", code, target, form], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            while process.stdout.readline().strip() != "5":
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not target.exists()
        convert(SAMPLES, target, form)
        assert read_all(target) == SAMPLES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "parquet"]


def test_wrong_forms_and_sizes(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="'parket' is no form that data are written in; did you mean 'parquet'"
    ):
        convert(SAMPLES, tmp_path / "out", "parket")
    with pytest.raises(ConfigError, match="choose folder, csv"):
        convert(SAMPLES, tmp_path / "out", "zzz")
    with pytest.raises(
        ConfigError, match="'csv' has no shards; leave their size out; webdataset and parquet have them"
    ):
        convert(SAMPLES, tmp_path / "out", "csv", shard_bytes=5)
    with pytest.raises(ConfigError, match="a shard of 0 bytes is too small"):
        convert(SAMPLES, tmp_path / "out", "parquet", shard_bytes=0)
    assert list(tmp_path.iterdir()) == []


def test_a_large_tar_member_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_LARGEST_MEMBER", 1000)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name, size in (("a.png", 100), ("next.png", 100), ("b.png", 5000)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    problems: list[tuple[str, str]] = []
    found = list(
        read_samples(tmp_path / "a.tar.gz", on_problem=lambda key, reason: problems.append((key, reason)))
    )
    assert [sample.key for sample in found] == ["a"]
    assert "'b.png' has 5,000 bytes" in problems[0][1]


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    kinds = {}
    for form in FORMS:
        convert(SAMPLES, tmp_path / form, form)
        kinds[form] = find_source(tmp_path / form).kind
    listed = dict.fromkeys(("folder", "csv", "tsv", "jsonl", "llava", "messages"), "folder with a list")
    others = {"coco": "COCO", "webdataset": "folder of shards", "parquet": "folder of Parquet files"}
    assert kinds == {**listed, **others}
