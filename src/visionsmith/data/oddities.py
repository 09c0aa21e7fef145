"""What is odd about a picture: its size, its content, or how its file keeps it."""

from __future__ import annotations

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image

from visionsmith.image.header import ImageHeader, read_orientation

__all__ = ["ODDITIES", "oddities"]

SMALL_SIDE = 32
"""Pixels: a picture with a shorter side is very small."""
LONG_ASPECT = 4.0
"""Sides: a picture is very long when one is more than so many times the other."""
BLANK_SHARE = 0.995
"""A picture is nearly blank when so many of its pixels are within `BLANK_REACH` of their median colour."""
BLANK_REACH = 4

ODDITIES = {
    "very small": f"a side shorter than {SMALL_SIDE} px",
    "very long": f"one side more than {LONG_ASPECT:g} times the other",
    "one colour": "every pixel is the same",
    "nearly blank": f"{100 * BLANK_SHARE:g} % of the pixels within {BLANK_REACH} gray levels of their median colour",
    "16 bits": "more than 8 bits a channel; training rounds them to 8",
    "CMYK": "inks of a printer; colours change when they become RGB",
    "alpha": "transparent parts, or a channel for them; they are laid on white",
    "turned by EXIF": "stored on its side or mirrored; programs that pass over EXIF show it so",
}
"""The oddities, and what each means."""

Picture = npt.NDArray[np.uint8]


def oddities(data: bytes, header: ImageHeader, image: Picture) -> list[str]:
    """The entries of `ODDITIES` that hold for a picture.

    Args:
        data: the encoded file.
        header: what it declares.
        image: decoded, RGB HWC uint8 [0, 255], upright.
    """
    small, large = sorted((header.width, header.height))
    holds = {
        "very small": small < SMALL_SIDE,
        "very long": large > LONG_ASPECT * small,
        **_content(image),
        **_storage(data, header.format),
        "turned by EXIF": read_orientation(data, header.format) != 1,
    }
    return [name for name in ODDITIES if holds[name]]


def _content(image: Picture) -> dict[str, bool]:
    pixels = image.reshape(-1, 3)
    if (pixels == pixels[0]).all():
        return {"one colour": True, "nearly blank": False}
    # A sample is enough for the median and spares its sorting; the share is of all pixels.
    middle = np.median(pixels[:: max(1, len(pixels) // 10_000)], axis=0)
    close = (np.abs(pixels - middle.astype(np.int16)) <= BLANK_REACH).all(axis=1)
    return {"one colour": False, "nearly blank": bool(close.mean() >= BLANK_SHARE)}


def _storage(data: bytes, kind: str) -> dict[str, bool]:
    """Depth, inks and transparency as the header says; Pillow reads it and decodes nothing."""
    nothing = {"16 bits": False, "CMYK": False, "alpha": False}
    with warnings.catch_warnings():
        # Pillow warns of large pictures; this one was decoded already.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=[kind.upper()]) as picture:
                mode, about = picture.mode, picture.info
                bits = picture.tag_v2.get(258, (8,)) if kind == "TIFF" else (8,)  # type: ignore[attr-defined]
        except (OSError, ValueError, SyntaxError):
            return nothing
    depth = data[24] if kind == "PNG" else max(bits)
    return {
        "16 bits": depth > 8,
        "CMYK": mode == "CMYK",
        "alpha": mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in about,
    }
