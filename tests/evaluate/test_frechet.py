"""The distance against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from visionsmith.errors import DataError
from visionsmith.evaluate.frechet import frechet_distance


def test_the_same_is_at_no_distance_and_a_shift_at_its_square() -> None:
    features = np.random.default_rng(0).normal(size=(200, 6))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    shift = np.array([3, 0, 0, 0, 0, 0])
    assert frechet_distance(features + shift, features) == pytest.approx(9, rel=1e-9)


def test_of_diagonal_covariances_it_is_the_difference_of_deviations() -> None:
    exact = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    one, other = exact * [1.0, 2.0], exact * [3.0, 0.5]
    deviation = np.sqrt(4 / 3)
    wanted = ((deviation * np.array([1 - 3, 2 - 0.5])) ** 2).sum()
    assert frechet_distance(one, other) == pytest.approx(wanted)


def test_it_agrees_with_the_root_of_the_product() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(60, 4)) + 1
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    wanted = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(one, other) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("found", "real", "reason"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "no covariance"),
        (np.zeros((4, 3)), np.zeros((4, 2)), "cannot be compared"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(found: np.ndarray, real: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        frechet_distance(found, real)
