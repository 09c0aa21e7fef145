"""How often a classifier is right, where it errs, and whether its confidence can be believed.

Axes: n pictures, k classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from visionsmith.errors import DataError

__all__ = ["calibration_error", "classify_scores", "confusion", "nearest_pixels"]


def classify_scores(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Measure a classifier's answers.

    Args:
        logits: `n k`.
        labels: int64 `n`.
        classes: k names.

    Returns:
        "top1", "top5" (shares of the pictures, 0 to 1; a class with the same score as the true one counts before it),
        "chance", "loss" (mean cross-entropy, nats), "calibration_error", "pictures", "classes", "per_class" (name ->
        share of its pictures; classes without pictures are left out) and "mistaken" (the five most frequent errors:
        true class, answer, pictures).

    Raises:
        DataError: there are no pictures, or a score is not a number.
    """
    if not len(labels):
        raise DataError("there is no picture to evaluate", do="give at least one picture of a known class")
    if bool(logits.isnan().any()):
        raise DataError("a score is not a number", do="check the model's weights and inputs")
    logits, labels = logits.detach().float().cpu(), labels.cpu()
    own = logits.gather(1, labels[:, None])
    rank = 1 + ((logits >= own).sum(dim=1) - 1)
    right = rank == 1
    table = confusion(logits.argmax(dim=1), labels, len(classes))
    counts = table.sum(dim=1)
    per_class = {
        name: float(right[labels == place].double().mean())
        for place, name in enumerate(classes)
        if counts[place]
    }
    return {
        "top1": float(right.double().mean()),
        "top5": float((rank <= 5).double().mean()),
        "chance": 1 / len(classes),
        "loss": float(torch.nn.functional.cross_entropy(logits, labels)),
        "calibration_error": calibration_error(logits.softmax(dim=1), labels),
        "pictures": len(labels),
        "classes": len(classes),
        "per_class": per_class,
        "mistaken": _most_mistaken(table, classes),
    }


def confusion(answers: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Counts int64 `k k`: rows are the true classes, columns the answers."""
    return torch.bincount(labels * classes + answers, minlength=classes * classes).view(classes, classes)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3).

    The mean distance between the confidence of the answers and the share of them that is right, over bins of equal
    width in confidence, weighted by their pictures: 0 to 1.

    Args:
        probabilities: `n k`.
        labels: int64 `n`.
        bins: how many.
    """
    confidence, answers = probabilities.max(dim=1)
    right = (answers == labels).double()
    place = (confidence * bins).long().clamp(max=bins - 1)
    error = 0.0
    for number in range(bins):
        inside = place == number
        if bool(inside.any()):
            error += float(
                inside.double().mean() * (confidence[inside].double().mean() - right[inside].mean()).abs()
            )
    return error


def nearest_pixels(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, neighbours: int = 5
) -> float:
    """The baseline that learns nothing: the majority among the training pictures nearest in pixels.

    Args:
        train: `n h w 3` uint8.
        train_labels: int64 `n`.
        test: `m h w 3` uint8, of the same size.
        test_labels: int64 `m`.
        neighbours: how many vote, nearer ones with more weight (one over the distance).

    Returns:
        Share of the test pictures that is right, 0 to 1.
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(n_neighbors=min(neighbours, len(train)), weights="distance")
    classifier.fit(train.flatten(1).float().numpy(), train_labels.numpy())
    answers = classifier.predict(test.flatten(1).float().numpy())
    return float((torch.from_numpy(answers) == test_labels).double().mean())


def _most_mistaken(table: Tensor, classes: Sequence[str], count: int = 5) -> list[dict[str, Any]]:
    wrong = table.clone().fill_diagonal_(0)
    order = wrong.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return [
        {
            "true": classes[place // len(classes)],
            "answer": classes[place % len(classes)],
            "pictures": pictures,
        }
        for place in order
        if (pictures := int(wrong.flatten()[place]))
    ]
