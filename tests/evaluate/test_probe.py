"""The linear probe on scikit-learn's digits, and its parts one by one."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from visionsmith.errors import DataError
from visionsmith.evaluate import probe
from visionsmith.evaluate.probe import few_shot, linear_probe


def digits(train: int = 400, test: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    order = np.random.default_rng(0).permutation(len(y))[: train + test]
    return x[order[:train]], y[order[:train]], x[order[train:]], y[order[train:]]


def test_probe_is_logistic_regression_at_its_own_strength() -> None:
    x, y, test_x, test_y = digits()
    found = linear_probe(x, y, test_x, test_y)
    oracle = LogisticRegression(C=found["c"], max_iter=5000, tol=1e-8).fit(x, y)
    assert found["top1"] == pytest.approx(oracle.score(test_x, test_y), abs=0.004)
    assert found["top1"] > 0.9
    assert found["classes"] == 10


def test_probe_takes_tensors_and_names() -> None:
    x, y, test_x, test_y = digits(200, 100)
    wanted = linear_probe(x, y, test_x, test_y)
    tensors = [torch.from_numpy(part) for part in (x, y, test_x, test_y)]
    assert linear_probe(*tensors) == wanted
    names = [[f"digit {label}" for label in labels] for labels in (y, test_y)]
    assert linear_probe(x, names[0], test_x, names[1]) == wanted


def test_labels_without_meaning_give_chance() -> None:
    x, y, test_x, test_y = digits()
    shuffled = np.random.default_rng(3).permutation(y)
    assert linear_probe(x, shuffled, test_x, test_y)["top1"] < 0.25
    assert linear_probe(x, y, test_x, test_y + 100)["top1"] == 0, "classes that training never saw"


@pytest.mark.parametrize(("peak", "nearest"), [(0.3, 0.5), (-5.1, -5.0), (3.5, 3.5), (7.2, 7.0)])
def test_sweep_ends_within_half_a_decade(
    peak: float, nearest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def accuracy(exponent: float, x: np.ndarray, y: np.ndarray) -> float:
        tried.append(exponent)
        return -abs(exponent - peak)

    monkeypatch.setattr(probe, "_fit", lambda x, y, c: np.log10(c))
    monkeypatch.setattr(probe, "_accuracy", accuracy)
    nothing = np.empty(0)
    assert np.log10(probe._best_c(nothing, nothing, nothing, nothing)) == pytest.approx(nearest)
    assert len(tried) == 7 + 2 * 2


def test_held_back_part_is_a_fifth_of_each_class() -> None:
    y = np.array([0] * 50 + [1] * 11 + [2] * 2 + [3])
    held_back = probe._held_back(y, np.random.default_rng(0))
    assert [int(held_back[y == label].sum()) for label in range(4)] == [10, 2, 1, 0]
    assert not np.array_equal(held_back, probe._held_back(y, np.random.default_rng(1)))


def test_one_example_a_class_holds_nothing_back() -> None:
    x, y, test_x, test_y = digits()
    first = np.unique(y, return_index=True)[1]
    found = linear_probe(x[first], y[first], test_x, test_y)
    assert found["c"] == probe.FIXED_C
    assert found["top1"] == few_shot(x[first], y[first], test_x, test_y, shots=(1,), seeds=(5,))[0]["mean"]


def test_few_shot_curve_rises_and_says_its_spread() -> None:
    x, y, test_x, test_y = digits()
    curve = few_shot(x, y, test_x, test_y)
    assert [point["shots"] for point in curve] == [1, 2, 4, 8, 16]
    means = [point["mean"] for point in curve]
    assert means == sorted(means)
    assert means[0] > 0.3
    assert means[-1] > 0.85
    single = [few_shot(x, y, test_x, test_y, shots=(2,), seeds=(seed,))[0] for seed in (0, 1, 2)]
    assert [point["std"] for point in single] == [0, 0, 0]
    values = [point["mean"] for point in single]
    assert curve[1]["mean"] == pytest.approx(np.mean(values))
    assert curve[1]["std"] == pytest.approx(np.std(values, ddof=1))
    assert curve[1]["std"] > 0


def test_draws_have_so_many_of_each_class_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.array([0] * 6 + [1] * 3 + [2] * 9)
    x = np.arange(18.0)[:, None]
    drawn: list[set[float]] = []

    def fit(x: np.ndarray, y: np.ndarray, c: float) -> None:
        drawn.append(set((x[:, 0] + 8.5).round().tolist()))

    monkeypatch.setattr(probe, "_fit", fit)
    monkeypatch.setattr(probe, "_accuracy", lambda *_: 0.0)
    few_shot(x, y, x, y, shots=(1, 4, 16), seeds=(0, 1))
    counts = [[sum(y[int(place)] == label for place in draw) for label in range(3)] for draw in drawn]
    assert counts == [[1, 1, 1], [4, 3, 4], [6, 3, 9]] * 2
    assert drawn[0] < drawn[1] < drawn[2]
    assert drawn[1] != drawn[4]


def test_refuses_what_cannot_be_probed() -> None:
    x, y, test_x, test_y = digits(50, 20)
    with pytest.raises(DataError, match="one label"):
        linear_probe(x, np.zeros(50), test_x, test_y)
    with pytest.raises(DataError, match="no training picture"):
        linear_probe(x[:0], y[:0], test_x, test_y)
    with pytest.raises(DataError, match="no test picture"):
        few_shot(x, y, test_x[:0], test_y[:0])
    x[7, 3] = np.nan
    with pytest.raises(DataError, match="training picture embeddings are not finite, first number 7"):
        few_shot(x, y, test_x, test_y)
