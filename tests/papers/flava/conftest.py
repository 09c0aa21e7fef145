"""A small FLAVA, and a folder of captioned pictures, that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visionsmith.config import override
from visionsmith.image.io import encode_png
from visionsmith.papers.flava.config import (
    CodebookConfig,
    FlavaConfig,
    ImageConfig,
    MultimodalConfig,
    TextConfig,
)
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.recipes import FlavaRecipe, tiny

CONFIG = FlavaConfig(
    image=ImageConfig(image_size=32, patch_size=8, width=32, layers=3, heads=4, hidden=64),
    text=TextConfig(vocab_size=50, context_length=20, width=32, layers=2, heads=4, hidden=64),
    multimodal=MultimodalConfig(width=32, layers=2, heads=4, hidden=64),
    codebook=CodebookConfig(codes=30, width=8, blocks=1),
    embed_dim=24,
)
COLOURS = {"red": (220, 30, 30), "green": (30, 160, 30), "blue": (30, 30, 220), "black": (0, 0, 0)}
SHAPES = ("square", "disc")


def spread_weights(model: torch.nn.Module, std: float = 0.2) -> None:
    """Weights large enough that every place makes a difference; at N(0, 0.02) all outputs are nearly alike."""
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)


@pytest.fixture
def model() -> FLAVA:
    made = FLAVA(CONFIG).eval()
    spread_weights(made)
    return made


def picture(colour: str, shape: str, size: int = 40) -> np.ndarray:
    image = np.full((size, size, 3), 255, np.uint8)
    rows, columns = np.mgrid[:size, :size]
    centre = (size - 1) / 2
    inside = (
        (np.abs(rows - centre) < size * 0.3) & (np.abs(columns - centre) < size * 0.3)
        if shape == "square"
        else (rows - centre) ** 2 + (columns - centre) ** 2 < (size * 0.3) ** 2
    )
    image[inside] = COLOURS[colour]
    return image


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("flava") / "pictures"
    data.mkdir()
    for colour in COLOURS:
        for shape in SHAPES:
            for copy in range(4):
                name = f"{colour}-{shape}-{copy}"
                (data / f"{name}.png").write_bytes(encode_png(picture(colour, shape, 36 + 2 * copy)))
                (data / f"{name}.txt").write_text(f"a {colour} {shape}")
    return data


def mini(**settings) -> FlavaRecipe:
    """A few thousand parameters at 32 px, its codebook included."""
    part = {"width": 32, "layers": 2, "heads": 2, "hidden": 64}
    training = {"steps": 24, "batch_size": 16, "save_every": 8, "log_every": 4, "evaluate_every": 0}
    base = {
        "model": {
            "image": {**part, "image_size": 32},
            "text": {**part, "vocab_size": 100, "context_length": 12},
            "multimodal": part,
            "codebook": {"codes": 16, "width": 4, "blocks": 1},
            "embed_dim": 16,
        },
        "train": {**training, "ema": None, "optim": {"lr": 3e-3, "warmup_steps": 5}},
        "train_codebook": {**training, "steps": 8, "optim": {"warmup_steps": 2}},
        "views": {"count": 2, "reword": 0.0},
    }
    return override(override(tiny(), base), [f"{key}={value}" for key, value in settings.items()])
