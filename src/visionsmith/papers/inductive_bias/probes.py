"""What a trained network answers about test pictures that were changed: shifted, permuted, blurred, contradictory.

Axes: b pictures, h/w pixels, k classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from visionsmith.nn.pixels import normalise
from visionsmith.papers.inductive_bias.config import PATCH, PATCHES
from visionsmith.papers.inductive_bias.models import GNN, split_patches
from visionsmith.papers.inductive_bias.pictures import (
    blur,
    conflict,
    details,
    partners,
    permute_patches,
    shift,
)

__all__ = ["SHIFTS", "answers", "probe"]

SHIFTS = tuple(range(1, PATCH + 1))
"""Pixels."""
_SEED = 10_2018


def answers(model: nn.Module, pictures: np.ndarray, *, batch: int = 100) -> np.ndarray:
    """The class with the highest score: uint8 `b h w 3` -> int64 `b`.

    Args:
        model: `b 3 h w` -> `b k`, in evaluation mode.
        pictures: RGB.
        batch: pictures at once.
    """
    return _answers(model, pictures, batch)


def probe(model: nn.Module, pictures: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Ask a network about changed pictures; every change is the same for every network.

    Args:
        model: `b 3 h w` -> `b k`, in evaluation mode.
        pictures: test pictures, RGB uint8 `b h w 3`.
        labels: int64 `b`.

    Returns:
        Shares of the pictures, 0 to 1. NAME.top1 is how many answers are right and NAME.agree how many are those about
        the unchanged picture, for the names shift_1 to shift_8 (pixels, the mean of right and down), permuted (another
        random order of the patches for each picture), reversed (the last patch first), and for a GNN renamed (the nodes
        in another order, and their edges with them). blurred.top1 is accuracy without details, details.top1 with
        nothing else. conflict.global and conflict.local are how often the answer about a contradictory picture is the
        class of its arrangement and of its details.
    """
    plain = answers(model, pictures)
    found: dict[str, float] = {}

    def compare(name: str, given: np.ndarray) -> None:
        repeats = len(given) // len(plain)
        found[f"{name}.top1"] = float((given == np.tile(labels, repeats)).mean())
        found[f"{name}.agree"] = float((given == np.tile(plain, repeats)).mean())

    for distance in SHIFTS:
        moved = np.concatenate([shift(pictures, x=distance), shift(pictures, y=distance)])
        compare(f"shift_{distance}", answers(model, moved))
    rng = np.random.default_rng(_SEED)
    orders = np.stack([rng.permutation(PATCHES) for _ in pictures])
    permuted = np.stack(
        [permute_patches(image, order) for image, order in zip(pictures, orders, strict=True)]
    )
    compare("permuted", answers(model, permuted))
    compare("reversed", answers(model, permute_patches(pictures, range(PATCHES)[::-1])))
    if isinstance(model, GNN):
        compare("renamed", _renamed(model, pictures, orders[0]))
    found["blurred.top1"] = float((answers(model, blur(pictures)) == labels).mean())
    found["details.top1"] = float((answers(model, details(pictures)) == labels).mean())
    other = partners(labels, rng)
    given = answers(model, conflict(pictures, pictures[other], rng))
    found["conflict.global"] = float((given == labels).mean())
    found["conflict.local"] = float((given == labels[other]).mean())
    return found


def _answers(scores: Callable[[Tensor], Tensor], pictures: np.ndarray, batch: int) -> np.ndarray:
    parts = torch.split(torch.from_numpy(np.ascontiguousarray(pictures)), batch)
    with torch.inference_mode():
        found: np.ndarray = torch.cat([scores(normalise(part)).argmax(dim=1) for part in parts]).numpy()
    return found


def _renamed(model: GNN, pictures: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Answers when the nodes are numbered in another order, and their edges with them."""
    places = torch.from_numpy(order)
    neighbours = places.argsort()[model.neighbours[places]]
    return _answers(
        lambda images: model.read(split_patches(images)[:, places], neighbours), pictures, batch=100
    )
