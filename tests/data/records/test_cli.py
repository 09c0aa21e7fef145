"""`visionsmith data` as a user sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from visionsmith.cli.data import app
from visionsmith.data.records import RecordStore, layout
from visionsmith.errors import ConfigError, DataError, OutputError, VisionsmithError
from visionsmith.image.io import encode_jpeg, encode_png


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(kind: type[VisionsmithError], says: str, *arguments: object) -> Result:
    result = run(*arguments)
    assert isinstance(result.exception, kind), result.output
    assert says in str(result.exception)
    assert result.exception.exit_code == 2
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    folder.mkdir()
    for number, (height, width) in enumerate([(10, 20), (30, 40), (50, 60)]):
        image = np.full((height, width, 3), number, np.uint8)
        (folder / f"{number}.png").write_bytes(encode_png(image))
        (folder / f"{number}.txt").write_text("cat" * (number + 1))
    (folder / "photo.jpg").write_bytes(encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    (folder / "photo.txt").write_text("a photo")
    return folder


def spoil(folder: Path) -> None:
    (folder / "cut.png").write_bytes((folder / "2.png").read_bytes()[:-9])
    (folder / "cut.txt").write_text("cut")
    (folder / "alone.png").write_bytes((folder / "2.png").read_bytes())


def test_pack_inspect_verify_unpack(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "pets.records"
    result = run("pack", folder, store)
    assert (result.exit_code, result.output) == (0, f"{store}: 4 records\n")
    result = run("verify", store)
    assert "4 records" in result.output
    assert json.loads(run("verify", store, "--json").stdout) == {
        "path": str(store),
        "ok": True,
        "count": 4,
        "bytes": (store / "data.mdb").stat().st_size,
        "damaged": [],
    }
    result = run("unpack", store, tmp_path / "out", "--json")
    assert json.loads(result.stdout) == {"path": str(tmp_path / "out"), "count": 4}
    for file in folder.iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
    for what in (folder, store, tmp_path / "out"):
        found = json.loads(run("inspect", what, "--json").stdout)
        assert found["count"] == 4
        assert found["formats"] == {"PNG": 3, "JPEG": 1}
        assert found["width"] == {"min": 8, "median": 30, "max": 60}
        assert found["height"] == {"min": 8, "median": 20, "max": 50}
        assert found["caption_characters"] == {"min": 3, "median": 6.5, "max": 9}
        assert found["picture_bytes"]["total"] == sum(len(sample.image) for sample in RecordStore(store))
        assert (found["without_caption"], found["without_picture"]) == (0, 0)
        assert (found["broken"], found["unreadable"]) == ([], [])
    table = run("inspect", store).stdout
    assert "formats.PNG" in table
    assert "width.median" in table


def test_what_is_broken_is_named(folder: Path, tmp_path: Path) -> None:
    spoil(folder)
    result = run("pack", folder, tmp_path / "store")
    assert result.exit_code == 0
    assert "4 records" in result.stdout
    assert "2 left out:" in result.stderr
    assert "alone: it has no caption" in result.stderr
    assert "cut: is a damaged PNG" in result.stderr
    packed = json.loads(run("pack", folder, tmp_path / "second", "--json").stdout)
    assert (packed["written"], packed["resumed"]) == (4, 0)
    assert [entry["key"] for entry in packed["skipped"]] == ["alone", "cut"]
    result = run("inspect", folder)
    assert "1 broken:\n  cut: is a damaged PNG" in result.stderr
    assert "1 unreadable:\n  alone: it has no caption" in result.stderr
    refused(DataError, "it has no caption", "pack", folder, tmp_path / "third", "--strict")
    (folder / "alone.png").unlink()
    refused(DataError, "is a damaged PNG", "pack", folder, tmp_path / "third", "--strict")
    assert not (tmp_path / "third").exists()
    assert "5 records" in run("pack", folder, tmp_path / "third", "--no-check").stdout


def test_damage_ends_with_exit_code_2(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("pack", folder, store)
    data = (store / "data.mdb").read_bytes()
    place = data.index((folder / "1.png").read_bytes()) + 10
    (store / "data.mdb").write_bytes(data[:place] + b"?" + data[place + 1 :])
    result = refused(DataError, "damage in 1 of 4 records", "verify", store)
    assert "'1': its content has changed" in result.stderr
    result = refused(DataError, "damage in 1 of 4 records", "verify", store, "--json")
    values = json.loads(result.stdout)
    assert values["ok"] is False
    assert values["damaged"][1] == {
        "record": 1,
        "reason": "'1': its content has changed since it was written",
    }
    (store / "data.mdb").unlink()
    refused(DataError, "damage in its files (data.mdb is missing)", "verify", store)


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("pack", folder, store)
    refused(DataError, "no such file or folder", "pack", tmp_path / "nowhere", tmp_path / "new")
    refused(OutputError, "is a record store already", "pack", folder, store)
    refused(OutputError, "is not a record store", "pack", folder, folder, "--overwrite")
    refused(DataError, "no such record store", "verify", tmp_path / "nowhere")
    refused(DataError, "is not a record store", "unpack", folder, tmp_path / "out")
    refused(OutputError, "is not empty", "unpack", store, folder)
    refused(DataError, "no such file or folder", "inspect", tmp_path / "nowhere")
    refused(ConfigError, "--size is for 'openmoji' only", "pack", folder, tmp_path / "new", "--size", "32")
    refused(DataError, "is an unfinished", "verify", _unfinished(tmp_path / "half"))
    assert "4 records" in run("pack", folder, store, "--overwrite").stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [".half.partial", "pets", "store"]


def _unfinished(path: Path) -> Path:
    layout.partial_path(path).mkdir()
    return path


def test_help_is_light() -> None:
    heavy = ("torch", "cv2", "lmdb", "numpy")
    script = f"import sys; import visionsmith.cli.data; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"
