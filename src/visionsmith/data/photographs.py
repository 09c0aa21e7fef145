"""Real photographs that lie in installed packages, so that no download is needed.

The package `scikit-image` brings its sample pictures, `scikit-learn` two photographs. Their licences stand in those
packages (skimage/data/README.txt, sklearn/datasets/images/README.txt).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from visionsmith.errors import DataError
from visionsmith.image.io import read_image

__all__ = ["PHOTOGRAPHS", "photograph"]

_FILES = {
    "astronaut": ("skimage", "data", "astronaut.png"),
    "brick": ("skimage", "data", "brick.png"),
    "cat": ("skimage", "data", "chelsea.png"),
    "coffee": ("skimage", "data", "coffee.png"),
    "flower": ("sklearn", "datasets", "images", "flower.jpg"),
    "galaxies": ("skimage", "data", "hubble_deep_field.jpg"),
    "grass": ("skimage", "data", "grass.png"),
    "gravel": ("skimage", "data", "gravel.png"),
    "motorcycle": ("skimage", "data", "motorcycle_left.png"),
    "pagoda": ("sklearn", "datasets", "images", "china.jpg"),
    "retina": ("skimage", "data", "retina.jpg"),
    "rocket": ("skimage", "data", "rocket.jpg"),
    "tissue": ("skimage", "data", "ihc.png"),
}
"""Name -> package, and the path in it."""

PHOTOGRAPHS = tuple(_FILES)
"""Names of the photographs: three are gray textures (brick, grass, gravel), the others are in colour."""


def photograph(name: str) -> np.ndarray:
    """A photograph.

    Args:
        name: one of `PHOTOGRAPHS`.

    Returns:
        RGB HWC uint8 [0, 255]; sides of 300 to 1411 px.

    Raises:
        DataError: its package is not installed, or is one that does not bring it.
    """
    path = _path(name)
    if path is None or not path.is_file():
        raise DataError(
            f"the photograph '{name}' is not there",
            where=path,
            do="install scikit-image and scikit-learn again",
        )
    return read_image(path)


def _path(name: str) -> Path | None:
    assert name in PHOTOGRAPHS, f"there is no photograph '{name}'"
    package, *parts = _FILES[name]
    found = find_spec(package)  # the package is not imported
    return Path(found.origin).parent.joinpath(*parts) if found and found.origin else None
