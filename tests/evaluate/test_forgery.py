"""The forgery protocol against scikit-learn, by hand, and on what must be refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from visionsmith.errors import DataError
from visionsmith.evaluate.forgery import (
    average_precision,
    equal_error,
    forgery_scores,
    mean_by_video,
    roc,
    roc_auc,
)


def draw(count: int, seed: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    forged = rng.random(count) < 0.4
    forged[:2] = True, False
    return np.round(np.clip(rng.normal(0.4 + 0.2 * forged, 0.2), 0, 1), digits), forged


@pytest.mark.parametrize("digits", [1, 6])  # with many ties, and with none
@pytest.mark.parametrize("count", [2, 7, 200])
@pytest.mark.parametrize("seed", range(5))
def test_areas_are_scikit_learns(count: int, seed: int, digits: int) -> None:
    scores, forged = draw(count, seed, digits)
    assert roc_auc(scores, forged) == pytest.approx(roc_auc_score(forged, scores), abs=1e-12)
    expected = average_precision_score(forged, scores)
    assert average_precision(scores, forged) == pytest.approx(expected, abs=1e-12)


def test_auc_is_the_share_of_right_pairs() -> None:
    scores, forged = draw(60, 1, 1)
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[forged]
        for low in scores[~forged]
    ]
    assert roc_auc(scores, forged) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("seed", range(10))
def test_no_threshold_brings_the_two_errors_nearer(seed: int) -> None:
    scores, forged = draw(301, seed, 6)
    rate, threshold = equal_error(scores, forged)

    def errors(at: float) -> tuple[float, float]:
        return float((scores[~forged] >= at).mean()), float((scores[forged] < at).mean())

    alarms, misses = errors(threshold)
    gaps = [abs(np.subtract(*errors(at))) for at in np.append(scores, 2.0)]
    assert abs(alarms - misses) == pytest.approx(min(gaps))
    assert min(alarms, misses) - 1e-9 <= rate <= max(alarms, misses) + 1e-9
    assert np.abs(scores - threshold).min() > 0  # no picture sits on the threshold


def test_scores_by_hand() -> None:
    scores = forgery_scores([0.9, 0.4, 0.6, 0.1], [True, True, False, False], threshold=0.5)
    assert (
        scores["accuracy"] == scores["balanced_accuracy"] == scores["false_alarms"] == scores["misses"] == 0.5
    )
    assert scores["auc"] == 0.75
    assert scores["equal_error"] == 0.5
    perfect = forgery_scores([0.9, 0.8, 0.2, 0.1], [True, True, False, False])
    assert (perfect["auc"], perfect["equal_error"], perfect["accuracy"]) == (1.0, 0.0, 1.0)
    assert equal_error([0.9, 0.8, 0.2, 0.1], [True, True, False, False])[1] == pytest.approx(0.5)


def test_many_forgeries_flatter_accuracy_and_not_the_balanced_one() -> None:
    forged = np.arange(100) < 90
    scores = forgery_scores(np.full(100, 0.7), forged)
    assert scores["accuracy"] == pytest.approx(0.9)
    assert scores["balanced_accuracy"] == pytest.approx(0.5)
    assert scores["auc"] == pytest.approx(0.5)


def test_videos_are_means_of_their_own_pictures() -> None:
    video = ["a/001", "a/001", "b/001", "b/001", "b/001"]
    scores, forged = [0.2, 0.4, 0.9, 0.7, 0.2], [False, False, True, True, True]
    means, truth = mean_by_video(scores, forged, video)
    assert means == pytest.approx([0.3, 0.6])
    assert truth.tolist() == [False, True]
    found = forgery_scores(scores, forged, video=video, threshold=0.35)
    assert (found["video_auc"], found["video_accuracy"], found["videos"]) == (1.0, 1.0, 2.0)
    assert found["auc"] < 1


def test_roc_goes_from_nothing_to_everything() -> None:
    scores, forged = draw(50, 3, 1)
    alarms, hits, thresholds = roc(scores, forged)
    assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)
    for alarm, hit, at in zip(alarms, hits, thresholds, strict=True):
        assert alarm == pytest.approx((scores[~forged] >= at).mean())
        assert hit == pytest.approx((scores[forged] >= at).mean())


@pytest.mark.parametrize(
    ("scores", "forged", "message"),
    [
        ([0.1, 0.2], [True, True], "all 2 pictures are forged"),
        ([0.1, 0.2], [False, False], "all 2 pictures are real"),
        ([], [], "all 0 pictures are real"),
        ([0.1, np.nan], [True, False], "not numbers from 0 to 1"),
        ([0.1, 3.0], [True, False], "apply the sigmoid"),
        ([0.1], [True, False], "labels of shape"),
    ],
)
def test_what_cannot_be_scored_gets_a_sentence(scores: list[float], forged: list[bool], message: str) -> None:
    with pytest.raises(DataError, match=message):
        forgery_scores(scores, forged)


def test_a_video_that_is_real_and_forged_is_refused() -> None:
    with pytest.raises(DataError, match="the video '001' is real in some pictures and forged in others"):
        forgery_scores([0.1, 0.9], [False, True], video=["001", "001"])
    with pytest.raises(DataError, match="3 videos and 2 labels for 2 pictures"):
        mean_by_video([0.1, 0.9], [False, True], ["a", "b", "c"])
