"""Pictures in memory, shares of them, and the changes that the experiment makes to them.

Pictures: RGB uint8 [0, 255], `... h w 3`. Axes: b pictures, h/w pixels, n patches in reading order.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch.utils.data import Dataset

from visionsmith.data.labelled import Item, Labelled, View
from visionsmith.data.sampler import Key, generator
from visionsmith.image.augment import colour_jitter, horizontal_flip
from visionsmith.image.io import decode
from visionsmith.papers.inductive_bias.config import PATCH, PATCHES, SIDE

__all__ = [
    "FIXED_ORDER",
    "DecodedPictures",
    "augment",
    "blur",
    "conflict",
    "details",
    "fit_side",
    "partners",
    "permute_patches",
    "shift",
    "take_share",
]

FIXED_ORDER = tuple(int(place) for place in np.random.default_rng(2018).permutation(PATCHES))
"""The other order of the patches in the trainings on permuted pictures."""

DETAIL_SIGMA = 2.0
"""What separates details from the arrangement, pixels: details are what a Gaussian of this width takes away. At this
one a CNN (300 updates, seed 0) was right about as often from the arrangement alone as from shuffled patches alone."""


class DecodedPictures(Dataset[Item]):
    """`dataset[(epoch, index)]` as `PictureDataset` gives it, from pictures that were decoded once.

    The networks are so small that decoding would take as long as training.
    """

    def __init__(self, pictures: dict[int, np.ndarray], labels: np.ndarray, view: View, seed: int) -> None:
        """Make the data set.

        Args:
            pictures: by record, `h w 3`.
            labels: int64, one a record of the store.
            view: how a picture is shown; its random stream comes from (seed, epoch, index).
            seed: of every random choice.
        """
        self.pictures, self.labels, self.view, self.seed = pictures, labels, view, seed

    def __getitem__(self, key: Key) -> Item:
        epoch, index = key
        image = self.view(self.pictures[index], generator(self.seed, epoch, index))
        return Item(image, int(self.labels[index]), (epoch, index))


def fit_side(data: Labelled, indices: Sequence[int]) -> dict[int, np.ndarray]:
    """Decode records to `SIDE` x `SIDE` px: by record, `h w 3`."""
    found = {}
    for index in indices:
        image = decode(data.store[index].image, where=f"{data.store.path}[{index}]")
        found[index] = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return found


def take_share(data: Labelled, share: float, seed: int) -> tuple[int, ...]:
    """Training records of a share of each class, at least one; a larger share holds the smaller ones.

    Args:
        data: pictures with classes.
        share: above 0, up to 1.
        seed: which ones.
    """
    train = np.asarray(data.train)
    labels = data.labels[train]
    taken: list[int] = []
    for label in np.unique(labels):
        own = train[labels == label]
        order = np.random.default_rng((seed, int(label))).permutation(own)
        taken += order[: max(1, round(share * len(own)))].tolist()
    return tuple(sorted(taken))


def augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror and change colours at random; no shift, so that what a network knows of shifts is its own."""
    image = horizontal_flip(image, rng)
    return colour_jitter(image, rng, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, probability=0.5)


def permute_patches(images: np.ndarray, order: Sequence[int] | np.ndarray) -> np.ndarray:
    """Move whole patches: patch i of the result is patch `order[i]` of the picture.

    Args:
        images: `... h w 3`, sides of `SIDE` px.
        order: a permutation of the n patches.
    """
    side = SIDE // PATCH
    lead = images.shape[:-3]
    grid = images.reshape(*lead, side, PATCH, side, PATCH, 3).swapaxes(-4, -3)
    patches = grid.reshape(*lead, PATCHES, PATCH, PATCH, 3)
    moved = np.take(patches, np.asarray(order), axis=-4)
    back: np.ndarray = moved.reshape(*lead, side, side, PATCH, PATCH, 3).swapaxes(-4, -3)
    joined: np.ndarray = back.reshape(images.shape)
    return joined


def shift(images: np.ndarray, *, x: int = 0, y: int = 0) -> np.ndarray:
    """Move pictures on a torus, so that nothing is lost and nothing is made up.

    Args:
        images: `... h w 3`.
        x: to the right, pixels.
        y: down, pixels.
    """
    return np.roll(images, (y, x), axis=(-3, -2))


def blur(images: np.ndarray) -> np.ndarray:
    """Take the details away: `b h w 3` -> `b h w 3`."""
    return np.stack([cv2.GaussianBlur(image, (0, 0), DETAIL_SIGMA) for image in images])


def details(images: np.ndarray) -> np.ndarray:
    """What `blur` takes away, on gray: `b h w 3` -> `b h w 3`."""
    found: np.ndarray = np.clip(128 + images.astype(np.int16) - blur(images), 0, 255).astype(np.uint8)
    return found


def conflict(arrangement: np.ndarray, texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures whose global and local cues belong to different pictures.

    The arrangement is that of one picture without details (`blur`). The details are those of another, what the blur
    takes from it, with its patches in random order, so that they say nothing of an arrangement.

    Args:
        arrangement: `b h w 3`.
        texture: `b h w 3`.
        rng: random stream of the orders.
    """
    taken = texture.astype(np.int16) - blur(texture)
    moved = np.stack([permute_patches(picture, rng.permutation(PATCHES)) for picture in taken])
    mixed: np.ndarray = np.clip(blur(arrangement) + moved, 0, 255).astype(np.uint8)
    return mixed


def partners(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each picture another one of another class: places, int64 `b`.

    Args:
        labels: int64 `b`, at least two classes.
        rng: random stream.
    """
    return np.array([rng.choice(np.flatnonzero(labels != label)) for label in labels])
