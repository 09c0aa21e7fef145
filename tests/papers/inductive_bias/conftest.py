"""A data set of three colours that every network can learn, in folders as a user has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from visionsmith.data.labelled import Labelled, open_labelled
from visionsmith.image.io import write_image
from visionsmith.papers.inductive_bias.config import SIDE

COLOURS = {"blue": (30, 40, 220), "green": (20, 200, 60), "red": (220, 40, 30)}


@pytest.fixture
def folder_of_colours() -> Callable[..., Labelled]:
    def make(folder: Path, size: tuple[int, int] = (SIDE, SIDE)) -> Labelled:
        for name, colour in COLOURS.items():
            (folder / name).mkdir(parents=True)
            for number in range(10):
                noise = np.random.default_rng((number, len(name))).normal(0, 30, (*size, 3))
                write_image(folder / name / f"{number}.png", np.clip(noise + colour, 0, 255).astype(np.uint8))
        return open_labelled(folder, into=folder.with_suffix(".records"))

    return make


@pytest.fixture
def colours(tmp_path: Path, folder_of_colours: Callable[..., Labelled]) -> Labelled:
    return folder_of_colours(tmp_path / "colours")
