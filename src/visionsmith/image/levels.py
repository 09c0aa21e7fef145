"""Thresholds.

Pictures: HW gray, HWC RGB or RGBA; uint8, uint16 or float32 [0, 1].
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from visionsmith.errors import DataError
from visionsmith.image.channels import has_alpha
from visionsmith.image.checks import check_choice, check_image, check_level, top_of

__all__ = ["Threshold", "threshold"]

Threshold = Literal["binary", "binary-inv", "trunc", "tozero", "tozero-inv"]

_TYPES = {
    "binary": cv2.THRESH_BINARY,
    "binary-inv": cv2.THRESH_BINARY_INV,
    "trunc": cv2.THRESH_TRUNC,
    "tozero": cv2.THRESH_TOZERO,
    "tozero-inv": cv2.THRESH_TOZERO_INV,
}


def threshold(
    image: np.ndarray,
    value: float | Literal["otsu"],
    *,
    method: Threshold = "binary",
    maximum: float | None = None,
) -> np.ndarray:
    """Compare each channel of each pixel with a value; alpha stays as it is.

    Args:
        image: the picture.
        value: in the picture's range; "otsu": the value that separates a gray picture's histogram best (Otsu, 1979).
        method: what becomes of a pixel: "binary" `maximum` above the value, else 0; "binary-inv" the reverse;
            "trunc" cut to the value; "tozero" 0 unless above the value; "tozero-inv" 0 above it.
        maximum: of the two binary methods; without it, white (255, 65535 or 1).

    Raises:
        DataError: "otsu" for a picture in colours or of float32.
    """
    image = check_image(image, "threshold")
    check_choice(method, "method", "threshold", tuple(_TYPES))
    high = top_of(image) if maximum is None else check_level(maximum, "maximum", "threshold", image)
    kind = _TYPES[method]
    if value == "otsu":
        _check_for_otsu(image)
        kind, level = kind | cv2.THRESH_OTSU, 0.0
    else:
        level = check_level(value, "value", "threshold", image)
    colours = image[:, :, :3] if has_alpha(image) else image
    result = np.asarray(cv2.threshold(colours, level, high, kind)[1])
    return np.dstack([result, image[:, :, 3]]) if has_alpha(image) else result


def _check_for_otsu(image: np.ndarray) -> None:
    if image.ndim == 3:
        raise DataError(
            "Otsu's method needs a gray picture, and this one has colours",
            where="threshold",
            do="make it gray first (channels gray)",
        )
    if image.dtype == np.float32:
        raise DataError(
            "Otsu's method needs uint8 or uint16, and this picture is float32",
            where="threshold",
            do="convert it with (image * 255).astype(np.uint8)",
        )
