"""Every kind of source gives its samples; what cannot be read is told and passed over."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset

from visionsmith.data.records import RecordStore, RecordWriter, layout, pack
from visionsmith.data.sample import Sample
from visionsmith.data.sources import find_source, open_or_pack, pack_source, read_samples
from visionsmith.errors import DataError, OutputError
from visionsmith.image.io import encode_jpeg, encode_png


def picture(number: int, encode: Callable[[np.ndarray], bytes] = encode_png) -> bytes:
    return encode(np.full((6, 8, 3), (number * 37) % 256, np.uint8))


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read_with_problems(path: Path) -> tuple[list[Sample], list[tuple[str, str]]]:
    problems: list[tuple[str, str]] = []
    samples = list(read_samples(path, on_problem=lambda key, reason: problems.append((key, reason))))
    return samples, problems


FOLDER = {
    "b.png": picture(1),
    "b.txt": "the second\n",
    "a.JPG": picture(2, encode_jpeg),
    "a.txt": "\ufeffthe first",
    "notes.txt": "not a caption",
    "inner/c.png": picture(3),
    "inner/readme.md": "not a picture",
    ".DS_Store": b"junk",
    "._a.jpg": b"junk",
    ".cache/x.png": b"junk",
}


def test_folder(tmp_path: Path) -> None:
    write(tmp_path, FOLDER)
    assert list(read_samples(tmp_path)) == [
        Sample("a", FOLDER["a.JPG"], "the first"),
        Sample("b", FOLDER["b.png"], "the second"),
        Sample("inner/c", FOLDER["inner/c.png"]),
    ]


def test_folder_with_links(tmp_path: Path) -> None:
    write(tmp_path, {"data/a.png": picture(1), "other/b.png": picture(2)})
    (tmp_path / "data" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    assert [sample.key for sample in read_samples(tmp_path / "data")] == ["a", "link/b"]


def test_folder_problems_are_told_and_passed_over(tmp_path: Path) -> None:
    write(
        tmp_path,
        {**FOLDER, "blank.png": picture(4), "blank.txt": " \n", "none.png": picture(5), "zero.png": b""},
    )
    write(tmp_path, {"latin.png": picture(6), "latin.txt": "caf\xe9".encode("latin-1")})
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    samples, problems = read_with_problems(tmp_path)
    assert [sample.key for sample in samples] == ["a", "b", "inner/c"]
    assert [key for key, _ in problems] == ["blank", "gone", "latin", "none", "zero"]
    says = ["is empty", "there is no picture", "cannot be read as UTF-8", "none.txt is missing", "is empty"]
    for (_, reason), part in zip(problems, says, strict=True):
        assert part in reason


def table_rows(folder: Path) -> list[tuple[str, str, bytes]]:
    rows = [(f"images/{number}.png", f'caption, "{number}"', picture(number)) for number in range(4)]
    write(folder, {name: image for name, _, image in rows})
    return rows


@pytest.mark.parametrize(
    ("name", "delimiter", "columns"),
    [
        ("a.csv", ",", ("filepath", "title")),
        ("a.csv", "\t", ("filepath", "title")),
        ("a.csv", ";", ("image", "caption")),
        ("a.tsv", "\t", ("path", "text")),
    ],
)
def test_csv(tmp_path: Path, name: str, delimiter: str, columns: tuple[str, str]) -> None:
    rows = table_rows(tmp_path)
    with (tmp_path / name).open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(["split", *columns])
        writer.writerows(
            ["train" if index else "", path, caption] for index, (path, caption, _) in enumerate(rows)
        )
    assert list(read_samples(tmp_path / name)) == [
        Sample(path.removesuffix(".png"), image, caption, {"split": "train"} if index else {})
        for index, (path, caption, image) in enumerate(rows)
    ]


def test_a_picture_with_several_captions(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": picture(1), "t.csv": "filepath,title\na.png,one\na.png,two\n./a.png,three\n"})
    samples = list(read_samples(tmp_path / "t.csv"))
    assert [(sample.key, sample.caption) for sample in samples] == [
        ("a", "one"),
        ("a#2", "two"),
        ("a#3", "three"),
    ]


def test_absolute_paths(tmp_path: Path) -> None:
    write(tmp_path, {"data/a.png": picture(1), "b.png": picture(2)})
    text = f"image,caption\n{tmp_path}/data/a.png,one\n../b.png,two\n{tmp_path}/b.png,three\n"
    write(tmp_path, {"data/t.csv": text})
    keys = [sample.key for sample in read_samples(tmp_path / "data" / "t.csv")]
    assert keys == ["a", "../b", f"{tmp_path}/b"]


def test_jsonl(tmp_path: Path) -> None:
    rows = table_rows(tmp_path)
    lines = [json.dumps({"image": path, "caption": caption, "n": {"x": [1]}}) for path, caption, _ in rows]
    lines.insert(1, "")
    lines.append(json.dumps({"key": "mine", "image": rows[0][0], "meta": {"a": 1}, "b": 2}))
    write(tmp_path, {"t.jsonl": "\n".join(lines)})
    assert list(read_samples(tmp_path / "t.jsonl")) == [
        *(
            Sample(path.removesuffix(".png"), image, caption, {"n": {"x": [1]}})
            for path, caption, image in rows
        ),
        Sample("mine", rows[0][2], "", {"a": 1, "b": 2}),
    ]


def test_table_problems_are_told_and_passed_over(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": picture(1)})
    write(
        tmp_path, {"t.csv": "image,caption\na.png,good\nmissing.png,x\na.png,\n,x\na.png,x,y\na.png,last\n"}
    )
    samples, problems = read_with_problems(tmp_path / "t.csv")
    assert [sample.caption for sample in samples] == ["good", "last"]
    says = [
        "no picture 'missing.png'",
        "row 4 is empty",
        "row 5 names no picture",
        "row 6 has 3 values for 2 columns",
    ]
    assert all(part in reason for (_, reason), part in zip(problems, says, strict=True))
    lines = [
        '{"image": "a.png", "caption": "good"}',
        "nonsense",
        "[1]",
        '{"caption": "x"}',
        '{"image": "a.png", "caption": 5}',
    ]
    write(tmp_path, {"t.jsonl": "\n".join(lines)})
    samples, problems = read_with_problems(tmp_path / "t.jsonl")
    assert [sample.caption for sample in samples] == ["good"]
    says = [
        "row 2 is not a JSON object",
        "row 3 is not",
        "row 4 names no picture (it has caption;",
        "row 5 is not a text",
    ]
    assert all(part in reason for (_, reason), part in zip(problems, says, strict=True))


def test_a_folder_with_a_list(tmp_path: Path) -> None:
    write(tmp_path, {"x/1.png": picture(1), "x/2.png": picture(2), "x/forgotten.png": picture(3)})
    write(tmp_path, {"x/metadata.csv": "file_name,text\n2.png,two\n1.png,one\n"})
    samples, problems = read_with_problems(tmp_path / "x")
    assert [(sample.key, sample.caption) for sample in samples] == [("2", "two"), ("1", "one")]
    assert problems == [("forgotten", "'forgotten.png' is not listed in metadata.csv")]
    write(tmp_path, {"x/metadata.csv": "something,else\n1,2\n"})
    assert [sample.key for sample in read_samples(tmp_path / "x")] == ["1", "2", "forgotten"]


def write_shards(folder: Path, shards: int = 3, each: int = 4) -> list[Sample]:
    """Shards as the webdataset library writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = []
    for shard in range(shards):
        with webdataset.TarWriter(str(folder / f"part-{shard:03d}.tar")) as sink:
            for number in range(each):
                image, caption = picture(number), f"caption {shard} {number}"
                meta = {"shard": shard}
                sink.write(
                    {"__key__": f"{number:05d}", "png": image, "txt": caption, "json": meta, "cls": number}
                )
                expected.append(
                    Sample(f"part-{shard:03d}/{number:05d}", image, caption, {**meta, "cls": number})
                )
    return expected


@pytest.mark.parametrize("pattern", ["part-{000..002}.tar", "part-*.tar", "part-{000,001,002}.tar", "."])
def test_shards(tmp_path: Path, pattern: str) -> None:
    expected = write_shards(tmp_path / "shards")
    assert list(read_samples(tmp_path / "shards" / pattern)) == expected


def test_one_shard(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, shards=1)
    keys = [sample.key.removeprefix("part-000/") for sample in expected]
    assert [sample.key for sample in read_samples(tmp_path / "part-000.tar")] == keys
    with (
        tarfile.open(tmp_path / "part-000.tar") as plain,
        tarfile.open(tmp_path / "z.tar.gz", "w:gz") as packed,
    ):
        for member in plain:
            packed.addfile(member, plain.extractfile(member))
    assert [sample.key for sample in read_samples(tmp_path / "z.tar.gz")] == keys


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_shard_members(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "a.tar",
        {
            "./x/1.left.png": picture(1),
            "./x/1.json": b'{"caption": "from json", "a": 1}',
            "./x/1.npy": b"left out",
            "2.PNG": picture(2),
            "3.txt": b"no picture",
            "4.a.png": picture(4),
            "4.b.png": picture(4),
            "5.png": picture(5),
            "5.json": b"{broken",
            "6.png": picture(6),
            "6.txt": b"",
            "7.png": b"",
            "8.png": picture(8),
            "8.txt": b"last",
        },
    )
    samples, problems = read_with_problems(path)
    assert samples == [
        Sample("x/1", picture(1), "from json", {"a": 1}),
        Sample("2", picture(2)),
        Sample("8", picture(8), "last"),
    ]
    says = [
        "no pictures (txt)",
        "2 pictures (a.png, b.png)",
        "cannot be read",
        "caption is empty",
        "picture is empty",
    ]
    assert [key for key, _ in problems] == ["3", "4", "5", "6", "7"]
    assert all(part in reason for (_, reason), part in zip(problems, says, strict=True))


def test_a_shard_that_is_cut_short_does_not_hide_the_next(tmp_path: Path) -> None:
    expected = write_shards(tmp_path)
    shard = tmp_path / "part-001.tar"
    shard.write_bytes(shard.read_bytes()[:6000])
    (tmp_path / "part-003.tar").write_bytes(b"")
    samples, problems = read_with_problems(tmp_path / "part-*.tar")
    assert [sample for sample in samples if not sample.key.startswith("part-001")] == expected[:4] + expected[
        8:
    ]
    assert [key for key, _ in problems] == [str(shard), str(tmp_path / "part-003.tar")]
    assert "cut short or damaged after" in problems[0][1]


def test_a_record_store_is_a_source(tmp_path: Path) -> None:
    pack([Sample("a", picture(1), "x", {"b": [1]})], tmp_path / "store")
    assert list(read_samples(tmp_path / "store")) == [Sample("a", picture(1), "x", {"b": [1]})]


KINDS: dict[str, Callable[[Path], Path]] = {
    "folder": lambda folder: write(folder, FOLDER),
    "csv": lambda folder: (
        write(folder, {"a.png": picture(1), "t.csv": "image,caption\na.png,one\n"}) / "t.csv"
    ),
    "jsonl": lambda folder: write(folder, {"a.png": picture(1), "t.jsonl": '{"image": "a.png"}'}) / "t.jsonl",
    "shards": lambda folder: (write_shards(folder / "s"), folder / "s" / "part-{000..001}.tar")[1],
    "store": lambda folder: pack([Sample("a", picture(1))], folder / "s").path,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_source_gives_the_same_samples(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path)
    expected = list(read_samples(path))
    report = pack_source(path, tmp_path / "new" / "store")
    store = RecordStore(tmp_path / "new" / "store")
    assert list(store) == expected
    assert (report.count, report.skipped) == (len(expected), [])
    assert store.info()["attributes"] == {"source": str(path)}


def test_pack_source_lists_what_it_left_out(tmp_path: Path) -> None:
    write(tmp_path / "data", {"a.png": picture(1), "b.png": picture(2)[:-8], "t.csv": ""})
    write(tmp_path / "data", {"t.csv": "image,caption\na.png,one\nno.png,x\nb.png,y\na.png,\n"})
    report = pack_source(tmp_path / "data" / "t.csv", tmp_path / "store")
    assert report.count == 1
    assert [key for key, _ in report.skipped] == ["no", "b", "a#2"]
    assert RecordStore(tmp_path / "store").info()["skipped"] == 3
    with pytest.raises(DataError, match=r"there is no picture 'no\.png'"):
        pack_source(tmp_path / "data" / "t.csv", tmp_path / "strict", strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_open_or_pack_packs_once_and_again_when_files_change(tmp_path: Path, kind: str) -> None:
    path, into = KINDS[kind](tmp_path / "data"), tmp_path / "cache"
    expected = list(read_samples(path))
    assert list(open_or_pack(path, into)) == expected
    if kind == "store":
        assert not into.exists()
        return
    made = (into / layout.DATA).stat().st_ino
    assert list(open_or_pack(path, into)) == expected
    assert (into / layout.DATA).stat().st_ino == made
    changed = sorted(find_source(path).files())[0]
    os.utime(changed, (1, 1))
    assert list(open_or_pack(path, into)) == expected
    assert (into / layout.DATA).stat().st_ino != made


def test_open_or_pack_after_an_interruption_and_a_change(tmp_path: Path) -> None:
    write(tmp_path / "data", FOLDER)
    with RecordWriter(tmp_path / "cache") as writer:
        writer.append("old", layout.encode_record(0, Sample("old", picture(1))))
    assert list(open_or_pack(tmp_path / "data", tmp_path / "cache")) == list(read_samples(tmp_path / "data"))
    pack([Sample("precious", picture(1))], tmp_path / "mine")
    with pytest.raises(OutputError, match="is another record store"):
        open_or_pack(tmp_path / "data", tmp_path / "mine")
    assert RecordStore(tmp_path / "mine").keys() == ["precious"]


def test_open_or_pack_in_several_processes(tmp_path: Path) -> None:
    write(tmp_path / "data", {f"{number}.png": picture(number) for number in range(60)})
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        work = [pool.apply_async(_count, (tmp_path / "data", tmp_path / "cache")) for _ in range(3)]
        assert [one.get(30) for one in work] == [60, 60, 60]


def _count(path: Path, into: Path) -> int:
    return len(open_or_pack(path, into))
