"""The baseline: its regression against scikit-learn, its odds in closed form, and what it can learn."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

from visionsmith.errors import DataError
from visionsmith.evaluate import bag_of_words as module
from visionsmith.evaluate.bag_of_words import BagOfWords, descriptor
from visionsmith.evaluate.zero_shot import rank_scores

COLOURS = {"red": (220, 30, 30), "green": (20, 180, 40), "blue": (40, 40, 230), "grey": (128, 128, 128)}
PLACES = {"left": (16, 4), "right": (16, 28), "top": (4, 16), "bottom": (28, 16)}


def drawing(colour: str, place: str, rng: np.random.Generator) -> np.ndarray:
    image = np.full((40, 40, 3), 255, np.uint8)
    row, column = np.array(PLACES[place]) + rng.integers(-2, 3, 2)
    image[max(row, 0) : row + 9, max(column, 0) : column + 9] = COLOURS[colour]
    return image


def scenes(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    pairs = [(str(rng.choice(list(COLOURS))), str(rng.choice(list(PLACES)))) for _ in range(count)]
    features = np.stack([descriptor(drawing(colour, place, rng)) for colour, place in pairs])
    return features, [f"A {colour} square, {place}." for colour, place in pairs]


def test_learns_words_and_puts_them_together() -> None:
    unseen = "A green square, bottom."
    features, texts = scenes(300, 0)
    known = [place for place, text in enumerate(texts) if text != unseen]
    model = BagOfWords().fit(features[known], [texts[place] for place in known])
    candidates = [f"A {colour} square, {place}." for colour in COLOURS for place in PLACES]
    test_features, test_texts = scenes(200, 1)
    scores = model.scores(test_features, candidates)
    truth = [{candidates.index(text)} for text in test_texts]
    assert rank_scores(torch.from_numpy(scores), truth)["top1"] > 0.95
    asked = [row for row, text in enumerate(test_texts) if text == unseen]
    assert len(asked) > 5
    assert (scores[asked].argmax(axis=1) == candidates.index(unseen)).mean() > 0.8


def test_score_is_the_mean_log_likelihood_of_every_word() -> None:
    features, texts = scenes(120, 2)
    model = BagOfWords().fit(features, texts)
    words = ["blue", "bottom", "green", "grey", "left", "red", "right", "top"]
    assert list(model._place) == words, "'a' and 'square' are in every caption and tell nothing"
    captions = [" ".join(chosen) for size in range(9) for chosen in combinations(words, size)]
    likelihood = np.exp(model.scores(features[:5], captions) * len(words))
    np.testing.assert_allclose(
        likelihood.sum(axis=1), 1, rtol=1e-9, err_msg="the 256 bags exclude each other"
    )
    for word in words:
        share = likelihood[:, [word in caption.split() for caption in captions]].sum(axis=1)
        present = np.array([word in text for text in texts[:5]])
        assert (share[present] > 0.5).all()
        assert (share[~present] < 0.5).all()


def test_case_stops_and_repeats_do_not_matter() -> None:
    features, texts = scenes(60, 3)
    scores = (
        BagOfWords().fit(features, texts).scores(features, ["grey top", "A GREY, grey square: Top!", "top"])
    )
    np.testing.assert_allclose(scores[:, 0], scores[:, 1], rtol=1e-12)
    assert not np.allclose(scores[:, 0], scores[:, 2])


def test_features_without_meaning_leave_the_shares_of_the_words() -> None:
    rng = np.random.default_rng(0)
    texts = ["often"] * 300 + ["seldom often"] * 60 + ["other"] * 40
    model = BagOfWords().fit(rng.normal(size=(400, 30)), texts)
    new = rng.normal(size=(200, 30))
    odds = (model.scores(new, ["often", "other", "seldom"]) - model.scores(new, [""])) * 3
    np.testing.assert_allclose((1 / (1 + np.exp(-odds))).mean(axis=0), [0.9, 0.1, 0.15], atol=0.03)


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_ridge_and_its_left_out_predictions(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRENGTHS", (strength,))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 6)), rng.normal(size=(30, 2))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    weights, left_out = module._ridge(x, y)
    penalty = strength * np.trace(x.T @ x) / 6
    np.testing.assert_allclose(weights.T, Ridge(alpha=penalty).fit(x, y).coef_, atol=1e-8)
    for row in (0, 7, 29):
        others = np.arange(30) != row
        wanted = Ridge(alpha=penalty).fit(x[others], y[others]).predict(x[[row]])[0]
        np.testing.assert_allclose(left_out[row], wanted, atol=1e-8)


def test_ridge_chooses_the_penalty_that_predicts() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    x -= x.mean(axis=0)
    signal = x @ rng.normal(size=(5, 1))
    weights, _ = module._ridge(x, signal)
    np.testing.assert_allclose(weights.T, LinearRegression().fit(x, signal).coef_, rtol=0.01)
    weights, _ = module._ridge(x, rng.normal(size=(200, 1)))
    assert np.abs(weights).max() < 0.05, "noise is shrunk away"


def test_log_odds_of_two_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    present = (np.arange(40000) % 4 == 0).astype(float)[:, None]
    output = rng.normal(size=(40000, 1)) * 0.5 + np.where(present > 0, 1.0, 0.2)
    gain, offset = module._log_odds(output, present)
    assert gain[0] == pytest.approx(0.8 / 0.25, rel=0.03)
    assert gain[0] * 0.6 + offset[0] == pytest.approx(np.log(1 / 3), abs=0.05)
    reversed_gain, share = module._log_odds(-output, present)
    assert (reversed_gain[0], share[0]) == (0, pytest.approx(np.log(1 / 3)))


def test_descriptor_is_coarse_colours_and_shares() -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 24:] = (255, 128, 0)
    vector = descriptor(image)
    assert vector.shape == (16 * 16 * 3 + 64,)
    assert vector.dtype == np.float32
    grid, histogram = vector[:768].reshape(16, 16, 3), vector[768:].reshape(4, 4, 4)
    np.testing.assert_allclose(grid[:, :8], 0)
    np.testing.assert_allclose(grid[:, 8:], np.broadcast_to([1, 128 / 255, 0], (16, 8, 3)), atol=1e-6)
    assert histogram[0, 0, 0] == histogram[3, 2, 0] == 0.5
    assert histogram.sum() == 1


def test_refuses_what_cannot_be_learned() -> None:
    features, texts = scenes(10, 0)
    with pytest.raises(DataError, match="no picture features"):
        BagOfWords().fit(features[:0], [])
    with pytest.raises(DataError, match="no word"):
        BagOfWords().fit(features, ["the same"] * 10)
    model = BagOfWords().fit(features, texts)
    with pytest.raises(DataError, match="no candidate texts"):
        model.scores(features, [])
    features[2, 1] = np.nan
    with pytest.raises(DataError, match="not finite"):
        model.scores(features, texts)
