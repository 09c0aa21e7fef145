"""A small folder of classes, and the tiny recipe made smaller still."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from visionsmith.config import override
from visionsmith.image.io import write_image
from visionsmith.papers.supcon.recipes import SupConRecipe, tiny

CLASSES = {"blue": (40, 60, 220), "green": (30, 170, 50), "red": (220, 40, 40)}


def picture(name: str, seed: int, size: int = 20) -> np.ndarray:
    """A disc of the class's colour on noise."""
    rng = np.random.default_rng((sum(name.encode()), seed))
    image = rng.integers(60, 200, (size, size, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:size, :size]
    centre = size / 2 + rng.uniform(-2, 2, 2)
    image[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (size * 0.35) ** 2] = CLASSES[name]
    return image


def write_classes(folder: Path, count: int = 12) -> Path:
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            write_image(folder / name / f"{number}.png", picture(name, number))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "classes")


def mini(*settings: str) -> SupConRecipe:
    """A few thousand parameters at 16 px."""
    base = {
        "model": {
            "image_size": 16,
            "embed_dim": 8,
            "encoder": {"widths": [8, 16], "layers": [1, 1], "stem": "small"},
        },
        "train": {"steps": 20, "batch_size": 12, "save_every": 5, "log_every": 5, "evaluate_every": 0},
        "linear": {"steps": 20, "batch_size": 12, "save_every": 5, "log_every": 5},
        "augment": {"hue": 0.02, "gray": 0.0},
    }
    return override(override(tiny(), base), settings)
