"""What `data inspect` says is so, is so; its page shows it."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.data.test_duplicates import photo
from visionsmith.cli.data import app
from visionsmith.data import captions as captions_module
from visionsmith.data.captions import CaptionFigures
from visionsmith.data.classes import ClassFigures
from visionsmith.data.oddities import ODDITIES, oddities
from visionsmith.data.records import pack
from visionsmith.data.sample import Sample
from visionsmith.data.survey import pick, survey
from visionsmith.errors import DataError, OutputError
from visionsmith.image.io import decode, encode_jpeg, encode_png, read_header
from visionsmith.report.data_report import SAMPLES as GRID
from visionsmith.report.data_report import shown_records, write_data_report


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(data: bytes) -> bytes:
    """The JPEG with EXIF that says: turn me by a quarter."""
    image = Image.open(io.BytesIO(data))
    exif = image.getexif()
    exif[274] = 6
    return saved(image, "JPEG", exif=exif)


def odd(data: bytes) -> list[str]:
    return oddities(data, read_header(data), decode(data))


PHOTO = photo(1, 60, 80)
RGB = Image.fromarray(PHOTO)
DEEP = (PHOTO.astype(np.uint16) * 257)[:, :, ::-1]
DOT = np.full((100, 100, 3), 250, np.uint8)
DOT[50, 40:60] = 0
ODD = {
    "sound": (encode_png(PHOTO), []),
    "sound jpeg": (encode_jpeg(PHOTO), []),
    "small": (encode_png(PHOTO[:20, :40]), ["very small"]),
    "long": (encode_png(np.repeat(PHOTO[:40], 3, 1)), ["very long"]),
    "not too long": (encode_png(np.repeat(PHOTO, 3, 1)), []),
    "one colour": (encode_png(np.full((50, 50, 3), 7, np.uint8)), ["one colour"]),
    "dot": (encode_png(DOT), ["nearly blank"]),
    "line": (encode_png(np.vstack([DOT[:98], PHOTO[:2, :80].repeat(2, 1)[:, :100]])), []),
    "deep png": (cv2.imencode(".png", DEEP)[1].tobytes(), ["16 bits"]),
    "deep gray png": (cv2.imencode(".png", DEEP[:, :, 0])[1].tobytes(), ["16 bits"]),
    "deep tiff": (cv2.imencode(".tiff", DEEP)[1].tobytes(), ["16 bits"]),
    "tiff": (cv2.imencode(".tiff", PHOTO)[1].tobytes(), []),
    "cmyk": (saved(RGB.convert("CMYK"), "JPEG"), ["CMYK"]),
    "alpha png": (saved(RGB.convert("RGBA"), "PNG"), ["alpha"]),
    "alpha webp": (
        saved(Image.merge("RGBA", [*RGB.split(), RGB.split()[0]]), "WEBP", lossless=True),
        ["alpha"],
    ),
    "key colour": (saved(RGB.convert("P"), "PNG", transparency=3), ["alpha"]),
    "gif": (saved(RGB.convert("P"), "GIF"), []),
    "turned": (turned(encode_jpeg(PHOTO)), ["turned by EXIF"]),
    "bmp": (saved(RGB, "BMP"), []),
    "several": (
        saved(Image.new("LA", (8, 80), 7), "PNG"),
        ["very small", "very long", "one colour", "alpha"],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_oddities(name: str) -> None:
    data, expected = ODD[name]
    assert odd(data) == expected
    assert set(expected) <= set(ODDITIES)


def test_every_oddity_is_met() -> None:
    assert {name for _, names in ODD.values() for name in names} == set(ODDITIES)


def test_a_header_that_says_another_size_than_the_content_is_broken() -> None:
    webp = bytearray(
        saved(
            Image.merge("RGBA", [*RGB.split(), RGB.split()[0]]), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"
        )
    )
    assert webp[12:16] == b"VP8X"
    webp[24:27] = (500).to_bytes(3, "little")
    png = bytearray(encode_png(PHOTO))
    png[16:20] = struct.pack(">I", 40)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    found = survey(
        [Sample("webp", bytes(webp)), Sample("png", bytes(png)), Sample("good", encode_png(PHOTO))]
    )
    assert [key for key, _ in found.broken] == ["webp", "png"]
    assert (found.count, list(found.sound)) == (3, [2])


def test_caption_figures() -> None:
    said = [
        "A cat's tail",
        "a cat, a dog",
        "a cat, a dog",
        "well-known",
        "고양이 두 마리",
        "a cat, a dog",
        "well-known",
    ]
    found = CaptionFigures()
    for caption in said:
        found.add(caption)
    assert list(found.characters) == [len(caption) for caption in said]
    assert list(found.words) == [3, 4, 4, 1, 3, 4, 1]
    assert found.vocabulary == Counter(
        {"a": 7, "cat": 3, "dog": 3, "well-known": 2, "cat's": 1, "tail": 1, "고양이": 1, "두": 1, "마리": 1}
    )
    assert found.repeated == {"a cat, a dog": 3, "well-known": 2}


def test_rare_words_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions_module, "MOST_WORDS", 100)
    found = CaptionFigures()
    for number in range(1000):
        found.add(f"common w{number}")
    assert len(found.vocabulary) <= 100
    assert found.vocabulary["common"] == 1000


def test_class_figures() -> None:
    samples = [
        Sample("a/1", meta={"label": "cat", "skin": ["light", "dark"]}),
        Sample("a/2", meta={"label": "cat", "skin": []}),
        Sample(
            "b/3",
            meta={"label": "", "objects": [{"category": "dog"}, {"category": "dog"}, {"category": "cup"}]},
        ),
        Sample("b/4", meta={"label": 3, "other": "x"}),
    ]
    found = ClassFigures()
    for sample in samples:
        found.add(sample)
    assert found.fields == {
        "label": {"cat": 2, "(none)": 1, "3": 1},
        "skin": {"light": 1, "dark": 1, "(none)": 1},
        "objects": {"dog": 1, "cup": 1},
    }
    by_folder, one_folder = ClassFigures(), ClassFigures()
    for key in ("x/1", "x/2", "y/z/3", "4"):
        by_folder.add(Sample(key))
    one_folder.add(Sample("x/1"))
    assert by_folder.fields == {"folder": {"x": 2, "y/z": 1, "(none)": 1}}
    assert one_folder.fields == {}


def data_set() -> list[Sample]:
    a, b = photo(11), photo(12)
    half = cv2.resize(a, (80, 60), interpolation=cv2.INTER_AREA)
    return [
        Sample("x/a", encode_png(a), "a picture", {"label": "cat"}),
        Sample("x/b", encode_png(b), "another picture", {"label": "cat"}),
        Sample("x/twin", encode_png(a), "a picture", {"label": "dog"}),
        Sample("y/half", encode_jpeg(half), "a <b>picture</b> 한글", {"label": "cat"}),
        Sample("y/broken", encode_png(a)[:-20], "broken", {"label": "cat"}),
        Sample("y/none", b"", "no picture"),
        Sample("y/silent", encode_png(photo(13)), " "),
        Sample("y/blank", encode_png(np.full((40, 40, 3), 255, np.uint8)), "blank"),
    ]


def test_a_survey() -> None:
    found = survey(data_set()).plain()
    assert (found["count"], found["without_caption"], found["without_picture"]) == (8, 1, 1)
    assert found["formats"] == {"PNG": 5, "JPEG": 1}
    assert found["width"] == {"min": 40, "median": 160, "max": 160}
    assert found["caption_words"] == {"min": 1, "median": 2, "max": 5}
    assert found["most_repeated_captions"] == {"a picture": 2}
    assert found["frequent_words"]["picture"] == 5
    assert found["classes"]["label"] == {
        "classes": 2,
        "largest": 4,
        "smallest": 1,
        "most_common": {"cat": 4, "dog": 1},
    }
    assert found["odd"] == {"one colour": {"count": 1, "first": ["y/blank"]}}
    twins = {"groups": 1, "records": 2, "keys": [["x/a", "x/twin"]]}
    assert found["duplicates"] == {
        "same_file": twins,
        "same_pixels": twins,
        "alike": {"groups": 1, "records": 3, "keys": [["x/a", "x/twin", "y/half"]]},
    }
    assert [entry["key"] for entry in found["broken"]] == ["y/broken"]


def test_nothing_and_only_texts() -> None:
    assert survey([]).plain()["count"] == 0
    found = survey([Sample("a", caption="x"), Sample("b")])
    assert (found.without_picture, found.without_caption, found.plain()["width"]) == (2, 1, {})


def test_pick_reads_no_further_than_it_must() -> None:
    read = []

    def samples():
        for number in range(100):
            read.append(number)
            yield Sample(str(number))

    assert {number: sample.key for number, sample in pick(samples(), {3, 7}).items()} == {3: "3", 7: "7"}
    assert len(read) <= 9
    assert pick(samples(), set()) == {}


def test_the_page(tmp_path: Path) -> None:
    samples = data_set()
    found = survey(samples)
    shown = shown_records(found, 0)
    assert shown == {0, 1, 2, 3, 6, 7}
    page = tmp_path / "page.html"
    write_data_report(
        page,
        found,
        pick(samples, shown),
        title="<pets>",
        unreadable=[("u", "why not")],
        about={"Licence": "none"},
    )
    text = page.read_text(encoding="utf-8")
    assert "<title>Data set &lt;pets&gt;" in text
    for words in (
        "a &lt;b&gt;picture&lt;/b&gt; 한글",
        "x/a, x/twin",
        "y/broken",
        "why not",
        "one colour",
        "Licence",
    ):
        assert words in text, words
    for heading in (
        "Samples",
        "Sizes",
        "Captions",
        "Classes",
        "Odd pictures",
        "Duplicates",
        "Broken pictures",
    ):
        assert f">{heading}</h2>" in text, heading
    assert not re.search(r"(src|href)=\"(?!data:|#|https://)", text)
    assert "<script" not in text
    # Six sound pictures of the grid, one odd one, and two and three duplicates.
    assert len(re.findall("<figcaption>", text)) >= 6 + 1 + 2 + 3


def test_the_grid_is_seeded_and_small(tmp_path: Path) -> None:
    samples = [Sample(f"{n:03d}", encode_png(photo(n, 24, 32)), "c") for n in range(60)]
    found = survey(samples)
    small = [number for number in shown_records(found, 0) if number >= 4]
    assert shown_records(found, 0) == shown_records(found, 0) != shown_records(found, 1)
    assert GRID - 4 <= len(small) <= GRID
    for seed in (0, 1):
        write_data_report(
            tmp_path / f"{seed}.html", found, pick(samples, shown_records(found, seed)), title="x", seed=seed
        )
    assert (tmp_path / "0.html").stat().st_size < 2_000_000


def test_inspect_as_a_user_sees_it(tmp_path: Path) -> None:
    for sample in data_set():
        if sample.image:
            file = tmp_path / "pets" / f"{sample.key}{'.jpg' if 'half' in sample.key else '.png'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(sample.image)
    page = tmp_path / "page.html"
    result = run("inspect", tmp_path / "pets", "--html", page)
    assert result.exit_code == 0, result.output
    for words in (
        "files equal byte for byte",
        "x/a, x/twin",
        "classes by",
        "folder",
        "one colour",
        f"page: {page}",
    ):
        assert words in result.stdout, words
    assert "1 broken:\n  y/broken: is a damaged PNG" in result.stderr
    assert "y/half" in page.read_text(encoding="utf-8")
    result = run("inspect", tmp_path / "pets", "--html", page)
    assert isinstance(result.exception, OutputError)
    assert "is there already; choose another place, or allow it with --overwrite" in str(result.exception)
    assert run("inspect", tmp_path / "pets", "--html", page, "--overwrite").exit_code == 0
    for taken in (tmp_path / "pets", tmp_path / "pets" / "x" / "a.png" / "page.html"):
        result = run("inspect", tmp_path / "pets", "--html", taken, "--overwrite")
        assert isinstance(result.exception, OutputError), result.output
    pack([sample for sample in data_set() if sample.image], tmp_path / "store")
    values = json.loads(run("inspect", tmp_path / "store", "--json", "--html", tmp_path / "b.html").stdout)
    assert values["duplicates"]["alike"]["keys"] == [["x/a", "x/twin", "y/half"]]
    assert values["page"] == str(tmp_path / "b.html")
    assert isinstance(run("inspect", tmp_path / "nowhere").exception, DataError)


def test_convert_as_a_user_sees_it(tmp_path: Path) -> None:
    pack([sample for sample in data_set() if sample.key != "y/broken"], tmp_path / "store")
    result = run("convert", tmp_path / "store", tmp_path / "csv", "--to", "csv")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'csv'}: 5 records as csv\n"
    before, _, after = result.stderr.partition("\n")
    assert before.startswith("csv cannot hold a record without a picture or caption")
    assert after == (
        "2 left out:\n  y/none: it has no picture, which a table of this kind must name\n"
        "  y/silent: it has no caption, which a table of this kind must have\n"
    )
    result = run(
        "convert", tmp_path / "csv", tmp_path / "p", "--to", "parquet", "--shard-megabytes", "1", "--json"
    )
    assert json.loads(result.stdout) == {
        "path": str(tmp_path / "p"),
        "form": "parquet",
        "count": 5,
        "left_out": [],
    }
    result = run("pack", tmp_path / "p", tmp_path / "again")
    assert result.stdout == f"{tmp_path / 'again'}: 5 records\n"
    for arguments, says in (
        (("store", "csv", "--to", "csv"), "is there already"),
        (("nowhere", "new", "--to", "csv"), "no such file or folder"),
        (("store", "new", "--to", "tfrecord"), "is no form that data are written in"),
        (("store", "new", "--to", "csv", "--shard-megabytes", "5"), "'csv' has no shards"),
        (("store", "new", "--to", "csv", "--download"), "is no data set of the hub"),
    ):
        source, target, *options = arguments
        result = run("convert", tmp_path / source, tmp_path / target, *options)
        assert says in str(result.exception), result.output
        assert getattr(result.exception, "exit_code", None) == 2
    assert not (tmp_path / "new").exists()
    assert run("convert", tmp_path / "store", tmp_path / "csv", "--to", "csv", "--overwrite").exit_code == 0
