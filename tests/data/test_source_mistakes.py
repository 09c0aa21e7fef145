"""Every mistake in a source of samples gets one sentence that names the place."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from visionsmith.data.sources import read_samples
from visionsmith.errors import DataError
from visionsmith.image.io import encode_png


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def bad_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    png = encode_png(np.zeros((6, 8, 3), np.uint8))
    write(
        folder, {"good/a.png": png, "empty/x.md": "", "tables/pets.csv": "a", "photo.png": png, "a.npz": b"x"}
    )
    write(
        folder,
        {"columns.csv": "id,label\n1,cat\n", "nocaption.csv": "image,label\na.png,cat\n", "zero.csv": ""},
    )
    write(
        folder,
        {"rows.csv": "image,caption\n", "latin.csv": b"image,caption\na.png,caf\xe9\n", "zero.jsonl": ""},
    )
    write(
        folder,
        {
            "missing.csv": "image,caption\nno.png,x\n",
            "bad.jsonl": "{",
            "zero.tar": b"",
            "text.tar": "x" * 2000,
        },
    )
    write(
        folder,
        {
            "captions/a.png": png,
            "captions/a.txt": "a",
            "captions/b.png": png,
            "blank/a.png": png,
            "blank/a.txt": "",
        },
    )
    write(
        folder,
        {
            "huge.csv": "image,caption\na.png," + "x" * 200_000,
            "picture.jsonl": '{"image": 5, "caption": "x"}',
        },
    )
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("a.png", png)
    return {
        "missing": (folder / "nowhere", "no such file or folder"),
        "no pictures": (folder / "empty", "holds no pictures"),
        "table inside": (folder / "tables", "give its table: .*pets.csv"),
        "a picture": (folder / "photo.png", "'.png' is no kind of data"),
        "a zip": (folder / "a.zip", "'.zip' is no kind of data"),
        "columns": (
            folder / "columns.csv",
            "no column for the picture; its columns are id, label; name one of them filepath",
        ),
        "no caption column": (
            folder / "nocaption.csv",
            "no column for the caption; its columns are image, label",
        ),
        "empty table": (folder / "zero.csv", r"its columns are \(none\)"),
        "no rows": (folder / "rows.csv", "holds no rows"),
        "latin": (folder / "latin.csv", "is not UTF-8 text"),
        "huge cell": (folder / "huge.csv", "is not a table"),
        "no such picture": (folder / "missing.csv", "there is no picture 'no.png'"),
        "no json": (folder / "bad.jsonl", "row 1 is not a JSON object"),
        "empty json": (folder / "zero.jsonl", "holds no rows"),
        "number as picture": (folder / "picture.jsonl", "row 1 names no picture"),
        "empty shard": (folder / "zero.tar", "cut short or damaged at its start|is empty"),
        "no shard": (folder / "text.tar", "cut short or damaged"),
        "missing shard": (folder / "shard-000.tar", "no such shard"),
        "missing shards": (folder / "shard-{000..003}.tar", "4 of 4 shards are missing"),
        "no match": (folder / "none-*.tar", "no such shard"),
        "caption missing": (folder / "captions", "it has no caption"),
        "caption empty": (folder / "blank", "its caption a.txt is empty"),
    }


def test_every_mistake_gets_one_sentence(tmp_path: Path) -> None:
    cases = bad_inputs(tmp_path)
    for name, (path, says) in cases.items():
        with pytest.raises(DataError, match=says) as caught:
            list(read_samples(path))
        text = str(caught.value)
        assert text.endswith("."), name
        assert "\n" not in text, name
        assert str(tmp_path) in text, name
        assert len(text) < 400, name
    assert len(cases) >= 20
