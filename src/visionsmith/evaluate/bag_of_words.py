"""A baseline for zero-shot: the words of the caption, predicted from coarse pixels.

The objective that the paper compares its own with (Radford et al. 2021, figure 2, "bag of words prediction"),
with nothing learned about seeing: colours and a 16 x 16 picture go through a linear map. What this reaches
needs no vision model.

Axes: n pictures, c texts, f features, v words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np

from visionsmith.errors import DataError

__all__ = ["BagOfWords", "descriptor"]

SIDE = 16
"""Side of the small picture, pixels."""
BINS = 4
"""Levels of each colour channel in the histogram."""
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties that are tried, as shares of the mean eigenvalue."""


def descriptor(image: np.ndarray) -> np.ndarray:
    """A fixed description of a picture: `SIDE` x `SIDE` colours and a colour histogram.

    Args:
        image: RGB HWC uint8 [0, 255], any size.

    Returns:
        `3 * SIDE**2 + BINS**3` float32: values 0 to 1, then shares of the pixels.
    """
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    levels = (image // (256 // BINS)).reshape(-1, 3) @ np.array([BINS * BINS, BINS, 1])
    histogram = np.bincount(levels, minlength=BINS**3) / len(levels)
    return np.concatenate([small.reshape(-1) / 255, histogram]).astype(np.float32)


class BagOfWords:
    """Presence of each word from features: ridge regression, then a probability.

    The probability follows from two normal distributions of the regression's output, one with the word and
    one without it, of one variance. They are fitted to leave-one-out outputs, so a word that the features do
    not explain stays near the share of captions that carry it.
    """

    def __init__(self) -> None:
        self._place: dict[str, int] = {}

    def fit(self, image_features: np.ndarray, texts: Sequence[str]) -> BagOfWords:
        """Learn from pictures and their captions; returns the model itself.

        Args:
            image_features: `n f`, e.g. of `descriptor`.
            texts: n captions. Words are runs of letters and digits, in lower case; what occurs in one caption
                or in all of them is left out.

        Raises:
            DataError: no picture, features that are not finite, or no word to learn.
        """
        x = _features(image_features)
        assert len(x) == len(texts), f"{len(x)} pictures have {len(texts)} captions"
        counts = Counter(word for text in texts for word in _words(text))
        words = sorted(word for word, count in counts.items() if 1 < count < len(texts))
        if not words:
            raise DataError("no word occurs in some captions and not in others", do="give more captions")
        self._place = {word: place for place, word in enumerate(words)}
        present = self._presence(texts)
        self._mean, self._spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        self._weights, left_out = _ridge((x - self._mean) / self._spread, present - present.mean(axis=0))
        self._gain, self._offset = _log_odds(left_out, present)
        return self

    def scores(self, image_features: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """How well each text fits each picture.

        Args:
            image_features: `n f`.
            texts: c candidates; words that were not learned are ignored.

        Returns:
            `n c` float64: the mean over all words of the log-likelihood of its presence or absence, nats.

        Raises:
            DataError: no picture, no text, or features that are not finite.
        """
        assert self._place, "call fit before scores"
        x = _features(image_features)
        if not texts:
            raise DataError("there are no candidate texts", do="give at least one")
        odds = (x - self._mean) / self._spread @ self._weights * self._gain + self._offset
        all_absent = -np.logaddexp(0, odds).sum(axis=1, keepdims=True)
        mean: np.ndarray = (all_absent + odds @ self._presence(texts).T) / len(self._place)
        return mean

    def _presence(self, texts: Sequence[str]) -> np.ndarray:
        present = np.zeros((len(texts), len(self._place)))
        for row, text in enumerate(texts):
            present[row, [self._place[word] for word in _words(text) if word in self._place]] = 1
        return present


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _features(features: np.ndarray) -> np.ndarray:
    if features.ndim != 2 or not features.size:
        raise DataError(
            f"there are no picture features (shape {features.shape})", do="give at least one picture"
        )
    if not np.isfinite(features).all():
        raise DataError("picture features are not finite", do="check the pictures they come from")
    return features.astype(np.float64)


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights `f v` of the penalty with the least leave-one-out error, and its left-out predictions `n v`."""
    eigenvalues, axes = np.linalg.eigh(x.T @ x)
    eigenvalues = eigenvalues.clip(min=0)
    turned = x @ axes
    pulled = turned.T @ y
    best = (np.inf, np.empty(0), np.empty(0))
    for strength in STRENGTHS:
        shrink = 1 / (eigenvalues + strength * eigenvalues.mean() + 1e-9)
        # The share of its own prediction that each example decides; one more for the mean that was taken off.
        own = np.minimum((turned**2) @ shrink + 1 / len(x), 1 - 1e-6)[:, None]
        left_out = (turned @ (shrink[:, None] * pulled) - own * y) / (1 - own)
        error = float(np.mean((left_out - y) ** 2))
        if error < best[0]:
            best = (error, axes @ (shrink[:, None] * pulled), left_out)
    return best[1], best[2]


def _log_odds(output: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset `v` that turn an output into the log-odds of the word's presence."""
    there, absent = present.sum(axis=0), (1 - present).sum(axis=0)
    mean_there = (output * present).sum(axis=0) / there
    mean_absent = (output * (1 - present)).sum(axis=0) / absent
    variance = ((output - np.where(present > 0, mean_there, mean_absent)) ** 2).mean(axis=0) + 1e-9
    # An output that is lower where the word is there says nothing.
    gain = np.maximum(mean_there - mean_absent, 0) / variance
    return gain, np.log(there / absent) - gain * (mean_there + mean_absent) / 2
