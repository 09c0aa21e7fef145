"""The pictures of a form that names them in a list."""

from __future__ import annotations

from pathlib import Path

from visionsmith.data.records.pack import file_stem, picture_ending
from visionsmith.data.sample import Sample

__all__ = ["FOLDER", "write_picture"]

FOLDER = "images"
"""Where they go, below the folder of the form."""


def write_picture(sample: Sample, folder: Path) -> str:
    """Write a sample's picture, byte for byte, below `folder`; returns its path there, images/KEY.png (.jpg, ...).

    Raises:
        OSError: it cannot be written.
    """
    name = f"{FOLDER}/{file_stem(sample.key)}{picture_ending(sample.image)}"
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as stream:
        stream.write(sample.image)
    return name
