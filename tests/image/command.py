"""Calling `visionsmith image` in a test, and the pictures that it is called on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from visionsmith.cli import main
from visionsmith.image import encode_jpeg, to_gray, write_image

PHOTO = data.astronaut()[:200, 100:400]
RGBA = np.dstack([PHOTO, np.tile(np.arange(300) % 256, (200, 1)).astype(np.uint8)])
BROKEN = encode_jpeg(PHOTO)[:3000]


def make_album(root: Path) -> None:
    """A photograph, and a folder of one in every kind."""
    write_image(root / "photo.png", PHOTO)
    write_image(root / "album" / "one.png", PHOTO)
    write_image(root / "album" / "more" / "two.png", RGBA)
    write_image(root / "album" / "more" / "deep.tif", PHOTO.astype(np.uint16) * 257)
    write_image(root / "album" / "gray.jpg", to_gray(PHOTO))


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["image", *arguments])
    out, err = capsys.readouterr()
    assert (stopped.value.code or 0) == code, out + err
    return out, err


def files(folder: str | Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
