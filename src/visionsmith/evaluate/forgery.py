"""How well forged pictures are told from real ones: by picture, and by video as the mean of its pictures.

scores = forgery_scores(probability, forged, video=paths)
scores["auc"], scores["video_auc"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from visionsmith.errors import DataError

__all__ = ["average_precision", "equal_error", "forgery_scores", "mean_by_video", "roc", "roc_auc"]


def forgery_scores(
    probability: Any, forged: Any, *, video: Sequence[str] | np.ndarray | None = None, threshold: float = 0.5
) -> dict[str, float]:
    """The protocol of the field.

    Args:
        probability: of each picture to be forged, 0 to 1.
        forged: of each picture, whether it is.
        video: the video of each picture, by a name that is unique (the whole path), to score videos too.
        threshold: probability from which on a picture or video is called forged.

    Returns:
        "auc", "accuracy", "balanced_accuracy" (the mean over both kinds, which an unequal number of them does not
        flatter), "equal_error", "average_precision", "false_alarms" and "misses" at the threshold, "pictures"; with
        `video` the first five once more as "video_...", and "videos".

    Raises:
        DataError: only one kind, values that are no probabilities, or a video that is real and forged at once.
    """
    scores, truth = _checked(probability, forged)
    found = {**_scores(scores, truth, threshold), "pictures": float(len(truth))}
    if video is None:
        return found
    of_video, true_video = mean_by_video(scores, truth, video)
    by_video = _scores(of_video, true_video, threshold)
    kept = ("auc", "accuracy", "balanced_accuracy", "equal_error", "average_precision")
    return {**found, **{f"video_{name}": by_video[name] for name in kept}, "videos": float(len(true_video))}


def roc(probability: Any, forged: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False alarms, hits and thresholds, one a distinct probability, from the highest threshold (nothing forged) down.

    Returns:
        Shares of the real pictures, shares of the forged ones, and the thresholds, of which the first is infinite.

    Raises:
        DataError: as `forgery_scores`.
    """
    scores, truth = _checked(probability, forged)
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(truth)[last]
    alarms = last + 1 - hits
    return (
        np.append(0.0, alarms / alarms[-1]),
        np.append(0.0, hits / hits[-1]),
        np.append(np.inf, scores[last]),
    )


def roc_auc(probability: Any, forged: Any) -> float:
    """The share of pairs of a forged and a real picture in which the forged one scores higher; ties count half."""
    alarms, hits, _ = roc(probability, forged)
    return float(np.trapezoid(hits, alarms))


def average_precision(probability: Any, forged: Any) -> float:
    """Precision at each distinct probability, weighed by the hits that it adds."""
    scores, truth = _checked(probability, forged)
    alarms, hits, _ = roc(scores, truth)
    called = alarms[1:] * (~truth).sum() + hits[1:] * truth.sum()
    precision = hits[1:] * truth.sum() / called
    return float(np.sum(np.diff(hits) * precision))


def equal_error(probability: Any, forged: Any) -> tuple[float, float]:
    """The error rate where false alarms and misses are equal, and a threshold for it.

    Between two thresholds both rates are taken as straight lines. The threshold is the one at which the rates are
    nearest to each other, put half way to the next lower probability, so that rounding moves no picture across it.
    """
    alarms, hits, thresholds = roc(probability, forged)
    gap = alarms - (1 - hits)  # from -1 up to 1
    after = int(np.argmax(gap >= 0))
    share = gap[after] / (gap[after] - gap[after - 1])
    rate = alarms[after] - share * (alarms[after] - alarms[after - 1])
    nearest = int(np.argmin(np.abs(gap)))
    bounds = np.append(np.minimum(thresholds, 1.0), 0.0)
    return float(rate), float((bounds[nearest] + bounds[nearest + 1]) / 2)


def mean_by_video(
    probability: Any, forged: Any, video: Sequence[str] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mean probability of each video's pictures, and whether it is forged, in the order of the videos' names.

    Raises:
        DataError: another number of videos than of pictures, or a video that is real and forged at once.
    """
    scores, truth = np.asarray(probability, dtype=np.float64), np.asarray(forged, dtype=bool)
    names, place = np.unique(np.asarray(video, dtype=np.str_), return_inverse=True)
    if place.shape != scores.shape or truth.shape != scores.shape:
        raise DataError(
            f"{place.size} videos and {truth.size} labels for {scores.size} pictures",
            do="give one of each a picture",
        )
    counts = np.bincount(place)
    share = np.bincount(place, weights=truth) / counts
    if (mixed := np.flatnonzero((share > 0) & (share < 1))).size:
        raise DataError(
            f"the video '{names[mixed[0]]}' is real in some pictures and forged in others",
            do="name videos by their whole path",
        )
    return np.bincount(place, weights=scores) / counts, share == 1


def _scores(scores: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    called = scores >= threshold
    false_alarms, misses = float(called[~truth].mean()), float((~called[truth]).mean())
    return {
        "auc": roc_auc(scores, truth),
        "accuracy": float((called == truth).mean()),
        "balanced_accuracy": 1 - (false_alarms + misses) / 2,
        "equal_error": equal_error(scores, truth)[0],
        "average_precision": average_precision(scores, truth),
        "false_alarms": false_alarms,
        "misses": misses,
    }


def _checked(probability: Any, forged: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = np.asarray(probability, dtype=np.float64), np.asarray(forged, dtype=bool)
    if scores.ndim != 1 or scores.shape != truth.shape:
        raise DataError(
            f"probabilities of shape {scores.shape} and labels of shape {truth.shape}",
            do="give one of each a picture",
        )
    if not np.isfinite(scores).all() or (scores.size and not 0 <= scores.min() <= scores.max() <= 1):
        raise DataError(
            "some probabilities are not numbers from 0 to 1", do="apply the sigmoid to logits first"
        )
    if truth.all() or not truth.any():
        kind = "forged" if truth.size and truth.all() else "real"
        raise DataError(
            f"all {truth.size} pictures are {kind}, so there is nothing to tell apart",
            do="give pictures of both kinds",
        )
    return scores, truth
