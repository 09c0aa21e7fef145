"""What features are worth: the classes of a picture's nearest neighbours, and a linear classifier.

Axes: n training pictures, m test pictures, f features, k classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from visionsmith.data.labelled import Labelled
from visionsmith.evaluate.probe import few_shot
from visionsmith.papers.supcon.supcon import SupCon

__all__ = ["feature_scores", "linear_top1", "nearest_scores", "nearest_top1"]

NEIGHBOURS = 20
TEMPERATURE = 0.07
"""Of the votes (Wu et al. 2018, sec. 3.4)."""
ROWS = 1024


def feature_scores(user: SupCon, data: Labelled, labels: np.ndarray) -> dict[str, float]:
    """What a model's features are worth on the test pictures.

    Args:
        user: the model.
        data: pictures with classes, of which some are for testing.
        labels: int64, one a record: what the classifiers on the features are told of the training pictures.

    Returns:
        "linear.top1" and "nearest.top1", shares from 0 to 1.
    """
    train, test = (user.embed_records(data, part) for part in (data.train, data.test))
    told, answers = labels[list(data.train)], data.labels[list(data.test)]
    return {
        "linear.top1": linear_top1(train, told, test, answers),
        "nearest.top1": nearest_top1(train, told, test, answers),
    }


def nearest_scores(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, *, neighbours: int = NEIGHBOURS
) -> Tensor:
    """Votes of the nearest training pictures, each with the weight exp(cosine / 0.07) (Wu et al. 2018, eq. 7).

    Args:
        train: `n f`, unit norm.
        labels: int64 `n`.
        test: `m f`, unit norm.
        classes: k.
        neighbours: how many vote.

    Returns:
        `m k`, rows sum to 1.
    """
    found = []
    for part in torch.split(test, ROWS):
        cosine, place = (part @ train.T).topk(min(neighbours, len(train)))
        weights = (cosine / TEMPERATURE).softmax(dim=1)
        found.append(torch.zeros(len(part), classes).scatter_add_(1, labels[place], weights))
    return torch.cat(found)


def nearest_top1(train: Tensor, labels: np.ndarray, test: Tensor, answers: np.ndarray) -> float:
    """Share of the test pictures, 0 to 1, for which `nearest_scores` votes rightly."""
    classes = int(max(labels.max(), answers.max())) + 1
    votes = nearest_scores(train, torch.from_numpy(labels), test, classes)
    return float((votes.argmax(1).numpy() == answers).mean())


def linear_top1(train: Tensor, labels: np.ndarray, test: Tensor, answers: np.ndarray) -> float:
    """Share that is right for a logistic regression on all training features, at the few-shot probe's fixed penalty."""
    everything = few_shot(train, labels, test, answers, shots=(len(train),), seeds=(0,))
    return everything[0]["mean"]
