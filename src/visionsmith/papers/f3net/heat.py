"""Where the evidence lies, drawn over the picture; and a video's probabilities over time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from visionsmith.report.plots import curves

__all__ = ["draw_heat", "timeline"]

FULL = 8.0
"""Share in the logit from which on a place is drawn at full strength. The scale is the same for every picture, so
that a real one stays as it is."""
HEAT = (230, 50, 20)
OUTLINE = (255, 255, 255)


def draw_heat(picture: np.ndarray, evidence: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The picture in gray, with what speaks for a forgery in red.

    Args:
        picture: RGB HWC uint8.
        evidence: the grid of a `Finding`.
        mask: HW bool of the picture's size: what was forged, whose outline is drawn in white.

    Returns:
        RGB HWC uint8 of the picture's size.
    """
    height, width = picture.shape[:2]
    spread = cv2.resize(evidence.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    share = 0.8 * np.clip(spread / FULL, 0, 1)[:, :, None]
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    drawn: np.ndarray = np.rint(gray * (1 - share) + np.array(HEAT, np.float32) * share).astype(np.uint8)
    if mask is not None:
        edge = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        drawn[edge] = OUTLINE
    return drawn


def timeline(seconds: Sequence[float], probabilities: Sequence[float], threshold: float) -> bytes:
    """A video's probabilities over time, beside the threshold: a PNG."""
    return curves(
        {"probability of a forgery": (seconds, probabilities)},
        x="seconds",
        y="probability",
        baseline=("threshold", threshold),
    )
