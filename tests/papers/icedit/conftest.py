"""A small transformer, and edits of a user's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from visionsmith.image.io import write_image


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four edits in a table: squares that change their colour."""
    folder = tmp_path_factory.mktemp("edits")
    colours = {"red": (230, 40, 40), "blue": (40, 80, 230), "green": (40, 170, 60), "gray": (128, 128, 128)}
    for name, colour in colours.items():
        picture = np.full((48, 64, 3), 255, np.uint8)
        picture[12:36, 20:44] = colour
        write_image(folder / f"{name}.png", picture)
    rows = [
        {"source": f"{a}.png", "target": f"{b}.png", "instruction": f"make the square {b}", "kind": b}
        for a in colours
        for b in colours
        if a != b
    ]
    file = folder / "edits.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows * 2), encoding="utf-8")
    return file
