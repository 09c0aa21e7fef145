"""A small F3-Net that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from visionsmith.papers.f3net.config import DecisionConfig, F3NetConfig, XceptionConfig
from visionsmith.papers.f3net.detector import Detector
from visionsmith.papers.f3net.model import F3Net

SMALL = XceptionConfig(stem=(4, 6), entry=(6, 8, 10), middle=2, exit=(12, 14, 16), strides=(2, 2, 2, 1))
CONFIG = F3NetConfig(
    image_size=48,
    stream=SMALL,
    decision=DecisionConfig(
        threshold=0.5, false_alarms=0.1, misses=0.2, pictures=40, trained_on="squares and discs"
    ),
)


@pytest.fixture
def model() -> F3Net:
    torch.manual_seed(1)
    return F3Net(CONFIG).eval()


@pytest.fixture
def checkpoint(model: F3Net, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    Detector(model).save(folder)
    return folder
