"""Make an enlarged picture agree with the small one that it was made of: back-projection (Irani & Peleg 1991).

Latents lose a little of every colour. The small picture knows the mean of each 2 x 2 pixels exactly, so that what the
enlarged one has there besides is an error: it is taken away, and edges stay where the upscaler drew them.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["back_projected"]

ROUNDS = 8
"""After which hardly anything changes."""


def back_projected(enlarged: np.ndarray, small: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """The enlarged picture, corrected so that its halves are the small picture.

    Args:
        enlarged: RGB `2h 2w 3`, uint8 or float [0, 255].
        small: RGB uint8 `h w 3`.
        rounds: of correction, each of what the last left.

    Returns:
        RGB float32 `2h 2w 3` [0, 255].
    """
    height, width = small.shape[:2]
    assert enlarged.shape[:2] == (2 * height, 2 * width), f"{enlarged.shape} is not twice {small.shape}"
    found: np.ndarray = enlarged.astype(np.float32)
    wanted = small.astype(np.float32)
    for _ in range(rounds):
        error = wanted - cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA)
        # Smoothly, so that no pattern of 2 x 2 pixels appears.
        found = found + cv2.resize(error, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        found = found.clip(0, 255)
    return found
