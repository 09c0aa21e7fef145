"""What the model is shown of a picture (sec. 3.1, "Data Augmentation"), and wrong labels planted in training.

Pictures: RGB HWC uint8 [0, 255].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from visionsmith.data.labelled import Item, PictureCollate
from visionsmith.image.augment import colour_jitter, horizontal_flip, random_gray, random_resized_crop
from visionsmith.papers.supcon.recipes import AugmentConfig

__all__ = ["CropAndFlip", "Views", "ViewsApart", "wrong_labels"]


class Views:
    """Several random views of a picture, independent of each other."""

    def __init__(self, size: int, augment: AugmentConfig) -> None:
        self.size, self.augment = size, augment

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture of any size -> `v size size 3`."""
        return np.stack([self._one(image, rng) for _ in range(self.augment.views)])

    def _one(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        augment = self.augment
        view = random_resized_crop(image, rng, self.size, scale=augment.scale)
        view = colour_jitter(
            horizontal_flip(view, rng),
            rng,
            brightness=augment.brightness,
            contrast=augment.contrast,
            saturation=augment.saturation,
            hue=augment.hue,
            probability=augment.jitter,
        )
        return random_gray(view, rng, augment.gray)


class CropAndFlip:
    """One view without changes of colour, `size size 3`: what the linear classifier is trained on."""

    def __init__(self, size: int, augment: AugmentConfig) -> None:
        self.size, self.scale = size, augment.scale

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture of any size -> `size size 3`."""
        return horizontal_flip(random_resized_crop(image, rng, self.size, scale=self.scale), rng)


class ViewsApart:
    """A list of items in several views -> a batch in which every view is a picture of its own, with its label."""

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """{"images": uint8 `b*v h w 3`, "labels": int64 `b*v`}."""
        batch = PictureCollate()(items)
        images = batch["images"]
        return {"images": images.flatten(0, 1), "labels": batch["labels"].repeat_interleave(images.shape[1])}


def wrong_labels(
    labels: np.ndarray, train: Sequence[int], share: float, classes: int, *, seed: int
) -> np.ndarray:
    """Labels of which some are wrong, drawn evenly from the other classes.

    Args:
        labels: int64, one a record.
        train: the records whose labels may be wrong; the others keep theirs.
        share: probability of each to be wrong, 0 to 1 (1 excluded).
        classes: number of classes.
        seed: a record's draw comes from (seed, its number), so that it is the same at every other setting.
    """
    found = labels.copy()
    for index in train if share else ():
        rng = np.random.default_rng((seed, index))
        if rng.random() < share:
            found[index] = (labels[index] + 1 + rng.integers(classes - 1)) % classes
    return found
