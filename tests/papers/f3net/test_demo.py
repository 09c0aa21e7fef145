"""The demonstration's section, with a small model in place of the one that ships."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.papers.f3net.conftest import CONFIG
from visionsmith.data import face_forensics
from visionsmith.data.forgeries import SPLITS, built_in_forgeries
from visionsmith.image.io import read_image
from visionsmith.papers.f3net import run
from visionsmith.papers.f3net.demo import demo
from visionsmith.papers.f3net.detector import Detector
from visionsmith.papers.f3net.model import F3Net
from visionsmith.report.page import Page


def test_the_section_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    detector = Detector(F3Net(dataclasses.replace(CONFIG, branches="rgb")))
    few = built_in_forgeries(48, cuts=dict.fromkeys(SPLITS, 4), path=tmp_path / "few.records")
    monkeypatch.setattr(run, "load", lambda: detector)
    monkeypatch.setattr(face_forensics, "built_in_forgeries", lambda size, *, progress: few)
    page = Page("a page")
    commands = demo(page, folder=tmp_path, progress=False)
    page.write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "F3-Net" in text
    assert "no proof" in text
    assert text.count("data:image/png") == 1
    written = sorted((tmp_path / "forged").iterdir())
    assert written
    assert read_image(written[0]).shape == (48, 48, 3)
    assert commands[0] == f"visionsmith run f3net {tmp_path / 'forged'}"
