"""The three commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.single_file.tiny import single_file
from visionsmith.cli import main


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, path = single_file("sd1", tmp_path)
    assert run("convert", "what", path, "--text-head-width", "8") == 0
    said = capsys.readouterr().out
    assert "sd1 for text-to-image, to be run by StableDiffusionPipeline" in said
    assert "its text encoder is CLIP" in said
    folder = tmp_path / "folder"
    assert run("convert", "to-folder", path, "--output", folder, "--text-head-width", "8", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["recognised"]["family"] == "sd1"
    assert values["missing"] == []
    assert values["rest"] == ["alphas_cumprod", "betas"]
    assert run("convert", "what", folder) == 0
    assert "sd1 for text-to-image" in capsys.readouterr().out
    assert run("convert", "to-file", folder, "--output", tmp_path / "again.safetensors") == 0
    assert "unet: " in capsys.readouterr().out


def test_a_mistake_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", "what", tmp_path / "none.safetensors") == 2
    assert "no such file; check the path" in " ".join(capsys.readouterr().err.split())
