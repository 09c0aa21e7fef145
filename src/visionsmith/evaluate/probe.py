"""A linear classifier on frozen features, with every label or a few (Radford et al. 2021, section 3.2, A.3).

Axes: n training pictures, m test pictures, f features.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionsmith.errors import DataError
from visionsmith.evaluate.zero_shot import check_embeddings

__all__ = ["few_shot", "linear_probe"]

HELD_BACK = 0.2
"""Share of each class on which the strength of the regularisation is chosen."""
EXPONENTS = (-6, -4, -2, 0, 2, 4, 6)
"""Powers of ten of the first sweep."""
FINEST = 1 / 2
"""The sweep ends at this many decades a step."""
ITERATIONS = 1000
"""Of L-BFGS, at most, as in the paper."""
TOLERANCE = 1e-6
"""Largest gradient at the end. Features of unit norm have small ones: at scikit-learn's 1e-4 the fit stops so
early that a weak penalty acts as a strong one; at 1e-8 it takes twice as long for the same answers."""
FIXED_C = 10.0
"""Where no label can be spared to choose on."""

Features = Tensor | np.ndarray
Labels = Sequence[int] | Sequence[str] | Tensor | np.ndarray


def linear_probe(
    train_x: Features, train_y: Labels, test_x: Features, test_y: Labels, *, seed: int = 0
) -> dict[str, float]:
    """Logistic regression with an L2 penalty whose strength is chosen on a held-back part of training.

    The sweep is the paper's, cut short: seven powers of ten, then the step around the best is halved down to
    two to the decade (the paper: eight). The classifier is fitted again on the whole training set with what was chosen.

    Args:
        train_x: `n f`.
        train_y: n labels, numbers or names, of at least two classes.
        test_x: `m f`.
        test_y: m labels; one that training never saw is a miss.
        seed: of the choice of the held-back part.

    Returns:
        "top1" (share of the test set, 0 to 1), "classes", and "c", the inverse strength. Where no class has
        two examples nothing can be held back, and "c" is `FIXED_C`.

    Raises:
        DataError: an empty or broken set of features, or a single class.
    """
    x, y, test, answers = _prepare(train_x, train_y, test_x, test_y)
    held_back = _held_back(y, np.random.default_rng(seed))
    c = _best_c(x[~held_back], y[~held_back], x[held_back], y[held_back]) if held_back.any() else FIXED_C
    return {"top1": _accuracy(_fit(x, y, c), test, answers), "classes": len(np.unique(y)), "c": c}


def few_shot(
    train_x: Features,
    train_y: Labels,
    test_x: Features,
    test_y: Labels,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    seeds: Sequence[int] = (0, 1, 2),
) -> list[dict[str, float]]:
    """The probe with a few examples of each class (figure 6), at the strength `FIXED_C`.

    Args:
        train_x: `n f`, from which the examples are drawn; a seed's smaller draws are part of its larger ones.
        train_y: n labels.
        test_x: `m f`.
        test_y: m labels.
        shots: examples of a class; a class that has fewer gives all it has.
        seeds: one draw each.

    Returns:
        For each of `shots`: "shots", "mean" and "std" (over the seeds, n - 1) of the share that is right.

    Raises:
        DataError: an empty or broken set of features, or a single class.
    """
    x, y, test, answers = _prepare(train_x, train_y, test_x, test_y)
    found = np.empty((len(shots), len(seeds)))
    for column, seed in enumerate(seeds):
        order = np.random.default_rng(seed).permutation(len(y))
        place = _place_in_class(y, order)
        for row, count in enumerate(shots):
            chosen = place < count
            found[row, column] = _accuracy(_fit(x[chosen], y[chosen], FIXED_C), test, answers)
    spread = found.std(axis=1, ddof=1) if len(seeds) > 1 else np.zeros(len(shots))
    return [
        {"shots": count, "mean": float(mean), "std": float(std)}
        for count, mean, std in zip(shots, found.mean(axis=1), spread, strict=True)
    ]


def _prepare(
    train_x: Features, train_y: Labels, test_x: Features, test_y: Labels
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Float32 features about the mean of the training set, and labels."""
    matrices = []
    for what, features in (("training picture", train_x), ("test picture", test_x)):
        tensor = torch.as_tensor(features).detach().cpu().float()
        check_embeddings(what, tensor)
        matrices.append(tensor.numpy())
    y, answers = np.asarray(train_y), np.asarray(test_y)
    assert [len(y), len(answers)] == [len(matrix) for matrix in matrices], "one label a picture"
    if len(np.unique(y)) < 2:
        raise DataError("all training pictures have one label", do="give pictures of at least two classes")
    # The penalty spares the intercept, so centring changes no solution, only how fast it is found.
    mean = matrices[0].mean(axis=0)
    return matrices[0] - mean, y, matrices[1] - mean, answers


def _place_in_class(y: np.ndarray, order: np.ndarray) -> np.ndarray:
    """For each example, how many of its class come before it in `order`."""
    place = np.empty(len(y), dtype=np.int64)
    for label in np.unique(y):
        members = order[y[order] == label]
        place[members] = np.arange(len(members))
    return place


def _held_back(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask of `HELD_BACK` of every class, at least one of it, and none of a class of one."""
    _, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    share = np.where(counts > 1, np.maximum(1, np.rint(HELD_BACK * counts)), 0)
    held_back: np.ndarray = _place_in_class(y, rng.permutation(len(y))) < share[inverse]
    return held_back


def _best_c(x: np.ndarray, y: np.ndarray, check_x: np.ndarray, check_y: np.ndarray) -> float:
    """The best inverse strength on the held-back part; of equals the smallest, the simplest model."""
    accuracy: dict[float, float] = {}
    step = float(EXPONENTS[1] - EXPONENTS[0])
    todo = [float(exponent) for exponent in EXPONENTS]
    while True:
        for exponent in todo:
            accuracy[exponent] = _accuracy(_fit(x, y, 10.0**exponent), check_x, check_y)
        best = max(sorted(accuracy), key=accuracy.__getitem__)
        if step <= FINEST:
            return float(10.0**best)
        step /= 2
        todo = [best - step, best + step]


def _fit(x: np.ndarray, y: np.ndarray, c: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    # Thousands of small products: threads spend their time waiting for each other (2 cores: 2.3 times as long).
    with threadpool_limits(1), warnings.catch_warnings():
        # Where the iterations run out at a weak penalty, the sweep judges what was reached.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        return LogisticRegression(C=c, max_iter=ITERATIONS, tol=TOLERANCE).fit(x, y)


def _accuracy(classifier: Any, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(classifier.predict(x) == y))
