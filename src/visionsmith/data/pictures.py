"""The pictures that a user names on the command line: files and folders, read one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from visionsmith.data.progress import DelayedBar
from visionsmith.data.sources.folders import IMAGE_ENDINGS
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import read_image

__all__ = ["Pictures", "find_pictures", "free_name"]

LARGEST = 512
"""A picture is kept at this many pixels on its shorter side at most: enough for any model and sheet."""


def find_pictures(given: Sequence[Path]) -> list[Path]:
    """Files as they are, and for each folder the pictures in and below it.

    Raises:
        DataError: a path does not exist, or a folder holds no pictures.
    """
    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise DataError("no such picture or folder", where=path, do="check the path")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_ENDINGS)
        if not inside:
            raise DataError(
                "holds no pictures", where=path, do=f"known endings: {' '.join(sorted(IMAGE_ENDINGS))}"
            )
        found += inside
    return found


class Pictures:
    """Reads pictures one after the other, so that a folder of any size fits in memory.

    One broken file among several is left out and named by `broken`; when none is sound, the first is an error.
    """

    def __init__(self, paths: Sequence[Path], *, shorter_side: int | None = LARGEST) -> None:
        """Make it.

        Args:
            paths: files, as `find_pictures` gives them.
            shorter_side: larger pictures are scaled to this, pixels; None keeps every pixel.
        """
        self.paths = list(paths)
        self.shorter_side = shorter_side
        self.names: list[Path] = []
        """Those that could be read, in order, once the iteration is over."""
        self.broken: list[DataError] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        """RGB HWC uint8 [0, 255]: gray pictures get three channels, transparent parts lie on white."""
        self.names, self.broken = [], []
        with DelayedBar("reading", len(self.paths), show=True) as bar:
            for path in self.paths:
                bar.advance()
                try:
                    image = self.read(path)
                except DataError as error:
                    self.broken.append(error)
                    continue
                self.names.append(path)
                yield image
        if not self.names and self.broken:
            raise self.broken[0]

    def read(self, path: Path) -> np.ndarray:
        """One picture."""
        image = read_image(path)
        if self.shorter_side is None or min(image.shape[:2]) <= self.shorter_side:
            return image
        scale = self.shorter_side / min(image.shape[:2])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def free_name(stem: str, output: Path | None) -> Path:
    """The PNG to write: the given name, or the first of STEM.png, STEM-2.png, ... that is free.

    An earlier sheet is never overwritten unless it is named.

    Raises:
        ConfigError: the given name does not end in .png.
    """
    if output is not None:
        if output.suffix.lower() != ".png":
            raise ConfigError(f"the picture to write, '{output}', is not a .png", do="end --output in .png")
        return output
    number = 1
    while (name := Path(f"{stem}.png" if number == 1 else f"{stem}-{number}.png")).exists():
        number += 1
    return name
