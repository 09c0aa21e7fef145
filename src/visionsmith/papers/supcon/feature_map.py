"""A map of features: pictures laid out so that what is alike to the encoder lies together."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.supcon.supcon import SupCon

__all__ = ["feature_map", "feature_map_of", "flat_places"]

SIDE = 1200
"""Of the map, pixels."""
THUMBNAIL = 30
FRAME = 3
MOST = 600
"""Pictures on a map."""
PERPLEXITY = 30.0


def flat_places(features: Tensor, *, seed: int = 0) -> np.ndarray:
    """Places in a plane for features, neighbours near each other (t-SNE, van der Maaten and Hinton 2008).

    Args:
        features: `n f`, unit norm, n at least 3.
        seed: of the search.

    Returns:
        Float64 `n 2` in [0, 1].
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    assert len(features) > 2, f"a map needs three pictures, got {len(features)}"
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    with threadpool_limits(1):
        found = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features.numpy())
    low, high = found.min(axis=0), found.max(axis=0)
    places: np.ndarray = (found - low) / np.maximum(high - low, 1e-12)
    return places.astype(np.float64)


def feature_map(pictures: Sequence[np.ndarray], places: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Draw pictures at their places, each in a frame of its class's colour.

    Args:
        pictures: RGB HWC uint8 [0, 255], of any sizes.
        places: `n 2` in [0, 1]: across and down.
        labels: class of each picture, from 0.

    Returns:
        RGB HWC uint8, 1200 x 1200 px. A picture covers those drawn before it.
    """
    sheet = np.full((SIDE, SIDE, 3), 255, np.uint8)
    cell = THUMBNAIL + 2 * FRAME
    classes = max(labels) + 1
    for picture, (across, down), label in zip(pictures, places, labels, strict=True):
        left, top = round(across * (SIDE - cell)), round(down * (SIDE - cell))
        sheet[top : top + cell, left : left + cell] = _colour(label, classes)
        small = cv2.resize(picture, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        sheet[top + FRAME : top + FRAME + THUMBNAIL, left + FRAME : left + FRAME + THUMBNAIL] = small
    return sheet


def feature_map_of(user: SupCon, data: Labelled) -> np.ndarray:
    """The map of test pictures, picked at random, at most 600: RGB HWC uint8."""
    from visionsmith.image.io import decode

    indices = data.some_test(MOST)
    pictures = [user.show(decode(data.store[index].image)) for index in indices]
    return feature_map(
        pictures, flat_places(user.embed_records(data, indices)), data.labels[list(indices)].tolist()
    )


def _colour(label: int, classes: int) -> tuple[int, int, int]:
    """Hues all around the circle, light and dark in turn so that neighbours differ."""
    red, green, blue = colorsys.hls_to_rgb(label / classes, 0.35 if label % 2 else 0.6, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
