from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from visionsmith import checkpoint
from visionsmith.errors import CheckpointError, OutputError


def write(path: Path, value: float = 1.0) -> None:
    checkpoint.write(
        path,
        paper="toy",
        config={"width": 3},
        tensors={"w": torch.full((4, 3), value)},
        files={"a.txt": b"a"},
    )


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "c")
    opened = checkpoint.read(tmp_path / "c", paper="toy")
    assert opened.config == {"width": 3}
    assert torch.equal(opened.tensors()["w"], torch.ones(4, 3))
    assert (tmp_path / "c" / "a.txt").read_bytes() == b"a"
    assert os.listdir(tmp_path) == ["c"], "no temporary folder may stay"


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    write(tmp_path / "c")
    for file in (tmp_path / "c").iterdir():
        content = file.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 7)):
            damaged = bytearray(content)
            damaged[place] ^= 4
            file.write_bytes(damaged)
            if file.name != checkpoint.MANIFEST:  # a flip there may fall on white space
                assert file.name in str(checkpoint.verify(tmp_path / "c"))
                with pytest.raises(CheckpointError, match=f"is damaged: {file.name} has changed"):
                    checkpoint.read(tmp_path / "c")
        file.write_bytes(content)
    assert checkpoint.verify(tmp_path / "c") is None


def test_cut_and_missing_files_are_named(tmp_path: Path) -> None:
    write(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").write_bytes(b"1234")
    with pytest.raises(CheckpointError, match=r"model\.safetensors has 4 bytes where \d+ were written"):
        checkpoint.read(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        checkpoint.read(tmp_path / "c")


def test_replaced_only_when_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "c", 1.0)
    plain = checkpoint.write_synced

    def full(path: Path, content: bytes) -> None:
        if path.name == "model.safetensors":
            raise OSError(28, "No space left on device")
        plain(path, content)

    monkeypatch.setattr(checkpoint, "write_synced", full)
    with pytest.raises(OutputError, match="cannot be written \\(No space left on device\\)"):
        write(tmp_path / "c", 2.0)
    assert torch.equal(checkpoint.read(tmp_path / "c").tensors()["w"], torch.ones(4, 3))
    assert os.listdir(tmp_path) == ["c"]
    monkeypatch.undo()
    write(tmp_path / "c", 2.0)
    assert checkpoint.read(tmp_path / "c").tensors()["w"][0, 0] == 2


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="exists and is not a checkpoint"):
        write(tmp_path / "c")
    assert (tmp_path / "c" / "thesis.txt").read_text() == "precious"


def test_wrong_places(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.read(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        checkpoint.read(tmp_path / "empty")
    write(tmp_path / "c")
    with pytest.raises(CheckpointError, match="holds a model of 'toy', not of 'clip'"):
        checkpoint.read(tmp_path / "c", paper="clip")
