"""Where thoughts look: the parts of the question's pictures whose tokens are nearest to each latent."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from visionsmith.papers.swimbird.generate import Written
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.patches import cut

__all__ = ["draw_looks", "nearest"]

_SHOWN = 288
"""Side of a drawn picture, pixels."""


@torch.inference_mode()
def nearest(model: SwimBird, picture: np.ndarray, thoughts: Tensor) -> Tensor:
    """How near each thought is to each token of a picture.

    Args:
        model: whose tower sees the picture.
        picture: RGB HWC uint8.
        thoughts: `m d`.

    Returns:
        Cosines `m rows columns`, on the grid of the picture's tokens.
    """
    config = model.config
    merge = config.vision.spatial_merge_size
    part = cut(picture, config.vision, least=config.min_image_token, most=config.max_image_token)
    tokens = model.see(part.values.to(model.device), part.grids.to(model.device)).tokens.float().cpu()
    _, rows, columns = part.grids[0].tolist()
    # What all tokens have in common says nothing about a place.
    centre = tokens.mean(dim=0)
    cosines = F.normalize(thoughts.float() - centre, dim=-1) @ F.normalize(tokens - centre, dim=-1).T
    return cosines.view(-1, rows // merge, columns // merge)


def draw_looks(model: SwimBird, pictures: Sequence[np.ndarray], written: Written) -> list[np.ndarray]:
    """For each span the pictures, light where its thoughts are near and dark elsewhere.

    Args:
        model: who wrote.
        pictures: of the question, RGB HWC uint8.
        written: the answer.

    Returns:
        One picture a span, RGB HWC uint8, the question's pictures side by side; none without a picture or a span.
    """
    found, start = [], 0
    for span in written.spans:
        thoughts = written.thoughts[start : start + span.length]
        start += span.length
        if len(pictures) and span.length:
            found.append(np.hstack([_lit(model, picture, thoughts) for picture in pictures]))
    return found


def _lit(model: SwimBird, picture: np.ndarray, thoughts: Tensor) -> np.ndarray:
    near = nearest(model, picture, thoughts).amax(dim=0).clamp(min=0).numpy()
    height, width = picture.shape[:2]
    scale = _SHOWN / height
    size = (max(1, round(width * scale)), _SHOWN)
    large = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    # Tokens are shown as they are, with sharp borders: nothing finer is known.
    light = cv2.resize(near / max(float(near.max()), 1e-6), size, interpolation=cv2.INTER_NEAREST)[..., None]
    shown: np.ndarray = np.rint(large * (0.25 + 0.75 * light**2)).clip(0, 255).astype(np.uint8)
    return shown
