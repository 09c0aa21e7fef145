"""What the patches of a place say, read by a linear map: the kind, the colour, the size, and whether it is empty."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionModel

from visionsmith.data.sampler import generator
from visionsmith.data.world import COLOURS, KINDS, SEEN, SIZES, draw, make_scene
from visionsmith.papers.clip import normalise
from visionsmith.papers.llava.tower import patch_features

__all__ = ["tower_scores"]

_FIT, _TEST = 9_003, 9_004
"""Seeds of the pictures."""


@torch.no_grad()
def tower_scores(
    tower: CLIPVisionModel, side: int, *, select_layer: int = -2, fit: int = 600, test: int = 200
) -> dict[str, float]:
    """Shares of places that are read rightly from a state of the tower.

    "kind", "colour" and "size" are those of places that hold a thing, "empty" is whether a place does, and "place" is
    which of the nine it is, read from one of its patches where it holds a thing.

    Args:
        tower: whose patches divide the three by three places evenly.
        side: of the pictures, pixels.
        select_layer: which state.
        fit: pictures that the linear map (ridge regression to one of n) is fitted on.
        test: pictures that it is tried on.
    """
    inputs, targets = _places(tower, side, select_layer, _FIT, fit)
    tried, truth = _places(tower, side, select_layer, _TEST, test)
    held, there = targets[:, 0] > 0, truth[:, 0] > 0
    scores = {}
    for column, name in enumerate(("kind", "colour", "size")):
        guess = _read(inputs, targets[:, column], tried)
        scores[name] = float((guess == truth[:, column])[there].float().mean())
        if column == 0:
            scores["empty"] = float(((guess > 0) == there).float().mean())
    width = tower.config.hidden_size
    place, known = torch.arange(9).repeat(fit), torch.arange(9).repeat(test)[there]
    guess = _read(inputs[held, :width], place[held], tried[there, :width])
    scores["place"] = float((guess == known).float().mean())
    return scores


def _read(inputs: Tensor, classes: Tensor, tried: Tensor) -> Tensor:
    """The classes (int64) of `tried`, by ridge regression to one of n on `inputs` and their classes."""
    mean, scale = inputs.mean(0), inputs.std(0) + 1e-5
    inputs, tried = (inputs - mean) / scale, (tried - mean) / scale
    gram = inputs.T @ inputs + 0.01 * len(inputs) * torch.eye(inputs.shape[1])
    wanted = F.one_hot(classes).float()
    weights = torch.linalg.solve(gram, inputs.T @ (wanted - wanted.mean(0)))
    found: Tensor = (tried @ weights + wanted.mean(0)).argmax(1)
    return found


def _places(
    tower: CLIPVisionModel, side: int, select_layer: int, seed: int, count: int
) -> tuple[Tensor, Tensor]:
    """Features of every place, `count*9 c`, and its kind, colour and size, 0 where there is nothing."""
    pictures, labels = [], torch.zeros(count, 9, 3, dtype=torch.int64)
    for number in range(count):
        scene = make_scene(generator(seed, 0, number), pairs=SEEN)
        pictures.append(draw(scene, side))
        for thing in scene.things:
            values = (
                list(KINDS).index(thing.kind),
                list(COLOURS).index(thing.colour),
                list(SIZES).index(thing.size),
            )
            labels[number, thing.place] = torch.tensor(values) + 1
    images = torch.from_numpy(np.stack(pictures))
    states = torch.cat(
        [patch_features(tower, normalise(part), select_layer) for part in torch.split(images, 100)]
    )
    each = int(states.shape[1] ** 0.5) // 3
    grid = states.reshape(count, 3, each, 3, each, -1).permute(0, 1, 3, 2, 4, 5)
    return grid.reshape(count * 9, -1), labels.reshape(count * 9, 3)
