"""The Frechet distance between two sets of features, each taken for a Gaussian (Heusel et al. 2017, eq. 6).

Axes: n, m samples, f features.
"""

from __future__ import annotations

import numpy as np

from visionsmith.errors import DataError

__all__ = ["frechet_distance"]


def frechet_distance(found: np.ndarray, real: np.ndarray) -> float:
    """|mu - mu'|^2 + trace(C + C' - 2 (C C')^(1/2)): 0 for the same mean and covariance, else larger.

    With few samples it is too large, for both sides alike: compare figures of the same numbers of samples only.

    Args:
        found: float `n f`, at least two.
        real: float `m f`, at least two.

    Raises:
        DataError: too few samples, different features, or a value that is not finite.
    """
    found, real = np.asarray(found, dtype=np.float64), np.asarray(real, dtype=np.float64)
    if found.ndim != 2 or real.ndim != 2 or found.shape[1:] != real.shape[1:]:
        raise DataError(f"features of shapes {found.shape} and {real.shape} cannot be compared")
    if min(len(found), len(real)) < 2:
        raise DataError(
            f"{len(found)} and {len(real)} samples have no covariance", do="give at least two of each"
        )
    if not (np.isfinite(found).all() and np.isfinite(real).all()):
        raise DataError("features are not finite", do="look at what was measured: a picture may be broken")
    one, other = np.cov(found, rowvar=False), np.cov(real, rowvar=False)
    one, other = np.atleast_2d(one), np.atleast_2d(other)
    # C^(1/2) C' C^(1/2) has the eigenvalues of C C' and is symmetric, which keeps its root real.
    half = _root(one)
    between = _root(half @ other @ half)
    apart = np.square(found.mean(axis=0) - real.mean(axis=0)).sum()
    return float(max(0.0, apart + np.trace(one) + np.trace(other) - 2 * np.trace(between)))


def _root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    rooted: np.ndarray = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return rooted
