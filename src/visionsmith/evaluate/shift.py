"""Changes of a picture that leave its meaning alone, to measure robustness to a shift of the distribution.

The paper measures natural shifts (Radford et al. 2021, section 3.3); these are synthetic ones that any set of
pictures can be put through, after the corruptions of Hendrycks and Dietterich (2019).

Pictures: RGB HWC uint8 [0, 255] in and out, of the same size. All are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from visionsmith.errors import DataError

__all__ = [
    "BLUR",
    "HUE_DEGREES",
    "JPEG_QUALITY",
    "ROTATION_DEGREES",
    "blur",
    "jpeg",
    "recolour",
    "rotation",
    "shifts",
]

BLUR = 1 / 64
"""Standard deviation of the blur, as a share of the shorter side: 1 px at 64 px, 3.5 px at 224 px."""
JPEG_QUALITY = 15
"""libjpeg's quality, 1 to 100, with the colours at half the resolution."""
ROTATION_DEGREES = 15.0
"""Counter-clockwise."""
HUE_DEGREES = 60.0
"""Turn of the colour circle: red becomes yellow, yellow green."""


def shifts() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Every shift by name, each a function from picture to picture."""
    return {"blur": blur, "jpeg": jpeg, "rotation": rotation, "recolour": recolour}


def blur(image: np.ndarray) -> np.ndarray:
    """A Gaussian blur of `BLUR` times the shorter side; edges are mirrored."""
    _check(image)
    sigma = BLUR * min(image.shape[:2])
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def jpeg(image: np.ndarray) -> np.ndarray:
    """Through JPEG at quality `JPEG_QUALITY` and back."""
    _check(image)
    quality = [
        cv2.IMWRITE_JPEG_QUALITY,
        JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    assert done, "OpenCV could not encode a picture as JPEG"
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV could not decode its own JPEG"
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def rotation(image: np.ndarray) -> np.ndarray:
    """Turned about its centre by `ROTATION_DEGREES`; corners leave the frame, white comes into view."""
    _check(image)
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), ROTATION_DEGREES, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(255, 255, 255))


def recolour(image: np.ndarray) -> np.ndarray:
    """Every hue turned by `HUE_DEGREES`; saturation and value stay, so grays stay as they are."""
    _check(image)
    # In float32: OpenCV's 8-bit hue is a multiple of 2 degrees and would change the colours it should keep.
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + HUE_DEGREES) % 360
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).clip(0, 255).astype(np.uint8)


def _check(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(
            f"a picture is {image.dtype} of shape {image.shape}", do="give RGB, height x width x 3, uint8"
        )
