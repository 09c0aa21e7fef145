"""Scores of a classifier against scikit-learn and closed forms."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

from visionsmith.errors import DataError
from visionsmith.evaluate.classify import calibration_error, classify_scores, confusion, nearest_pixels

NAMES = [f"class {place}" for place in range(8)]


def test_scores_agree_with_scikit_learn() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 8), torch.randint(0, 8, (200,))
    scores = classify_scores(logits, labels, NAMES)
    for k in (1, 5):
        assert scores[f"top{k}"] == pytest.approx(top_k_accuracy_score(labels, logits, k=k))
    assert scores["loss"] == pytest.approx(log_loss(labels, logits.double().softmax(1)), abs=1e-5)
    table = confusion(logits.argmax(dim=1), labels, 8)
    assert table.tolist() == confusion_matrix(labels, logits.argmax(dim=1)).tolist()
    recall = table.diag() / table.sum(dim=1)
    assert list(scores["per_class"].values()) == pytest.approx(recall.tolist())
    worst = scores["mistaken"][0]
    assert worst["pictures"] == int(table.clone().fill_diagonal_(0).max())
    assert int(table[NAMES.index(worst["true"]), NAMES.index(worst["answer"])]) == worst["pictures"]


def test_a_model_that_scores_everything_alike_is_never_right() -> None:
    scores = classify_scores(torch.zeros(10, 8), torch.arange(10) % 8, NAMES)
    assert scores["top1"] == scores["top5"] == 0


def test_calibration_is_the_gap_between_confidence_and_truth() -> None:
    sure = torch.tensor([[0.9, 0.1]]).repeat(100, 1)
    labels = (torch.arange(100) >= 90).long()
    assert calibration_error(sure, labels) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(sure, (torch.arange(100) >= 60).long()) == pytest.approx(0.3, abs=1e-6)
    halves = torch.cat([sure[:50], torch.tensor([[0.6, 0.4]]).repeat(50, 1)])
    assert calibration_error(halves, torch.zeros(100).long()) == pytest.approx(
        0.5 * 0.1 + 0.5 * 0.4, abs=1e-6
    )


def test_nearest_pixels_finds_the_copy() -> None:
    torch.manual_seed(0)
    train = torch.randint(0, 256, (12, 4, 4, 3), dtype=torch.uint8)
    labels = torch.arange(12)
    assert nearest_pixels(train, labels, train, labels, neighbours=1) == 1.0
    assert nearest_pixels(train, labels, train, (labels + 1) % 12, neighbours=1) == 0.0


def test_nothing_or_not_a_number_is_refused() -> None:
    with pytest.raises(DataError, match="no picture"):
        classify_scores(torch.empty(0, 8), torch.empty(0, dtype=torch.long), NAMES)
    with pytest.raises(DataError, match="not a number"):
        classify_scores(torch.full((2, 8), torch.nan), torch.zeros(2, dtype=torch.long), NAMES)
