"""Zero-shot ranks against sorting by hand; ties, prompt ensembles and what is refused."""

import math
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from visionsmith.errors import ConfigError, DataError
from visionsmith.evaluate import zero_shot as module
from visionsmith.evaluate.zero_shot import ensemble, first_true_ranks, rank_scores, zero_shot


def unit(rows: int, width: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def questions(count: int = 40, candidates: int = 30) -> tuple[Tensor, Tensor, list[set[int]]]:
    rng = np.random.default_rng(0)
    truth = [set(rng.choice(candidates, rng.integers(1, 4), replace=False).tolist()) for _ in range(count)]
    return unit(count, 6, 0), unit(candidates, 6, 1), truth


def share_by_sorting(scores: np.ndarray, truth: list[set[int]], k: int) -> float:
    return float(
        np.mean(
            [bool(set(np.argsort(-row)[:k].tolist()) & true) for row, true in zip(scores, truth, strict=True)]
        )
    )


def test_shares_are_those_of_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    images, candidates, truth = questions()
    scores = (images.double() @ candidates.double().T).numpy()
    wanted = {f"top{k}": share_by_sorting(scores, truth, k) for k in (1, 3, 5, 30)}
    assert 0 < wanted["top1"] < wanted["top5"] < wanted["top30"] == 1
    found = zero_shot(images, candidates, truth, top=(1, 3, 5, 30))
    assert found == pytest.approx({**wanted, "pictures": 40, "candidates": 30})
    monkeypatch.setattr(module, "ROWS", 7)
    assert zero_shot(images, candidates, truth, top=(1, 3, 5, 30)) == found, "blocks that do not divide"
    assert rank_scores(torch.from_numpy(scores), truth, top=(1, 3, 5, 30)) == found


def test_any_true_candidate_counts() -> None:
    candidates = torch.eye(4)
    image = F.normalize(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), dim=-1)
    ranks = [int(first_true_ranks(image, candidates, [true])) for true in ({0}, {1}, {3}, {1, 3}, {0, 3})]
    assert ranks == [1, 2, 4, 2, 1]


@pytest.mark.parametrize("width", [1, 5, 64, 513])
def test_a_model_that_tells_nothing_apart_is_never_right(width: int) -> None:
    same = F.normalize(torch.rand(1, width) + 0.1, dim=-1)
    truth = [{place % 37} for place in range(50)]
    found = zero_shot(same.expand(50, -1), same.expand(37, -1).clone(), truth, top=(1, 5, 36, 37))
    assert [found[key] for key in ("top1", "top5", "top36", "top37")] == [0, 0, 0, 1]
    constant = rank_scores(torch.full((50, 37), -3.0), truth)
    assert (constant["top1"], constant["top5"]) == (0, 0)


def test_a_tie_between_true_candidates_is_no_tie() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.1], [0.5, 0.5, 0.1]])
    assert rank_scores(scores, [{0, 1}, {1}], top=(1, 2)) == {
        "top1": 0.5,
        "top2": 1,
        "pictures": 2,
        "candidates": 3,
    }


@pytest.mark.parametrize(("below", "top1"), [(0.0, 0), (1e-7, 0), (1e-4, 1)])
def test_rounding_does_not_break_a_tie(below: float, top1: float) -> None:
    scores = torch.tensor([[0.7 - below, 0.7, 0.1]], dtype=torch.float32)
    assert rank_scores(scores, [{1}])["top1"] == top1


def test_masked_candidates_come_last() -> None:
    scores = torch.tensor([[-torch.inf, 0.3, -torch.inf, 0.2]])
    assert [rank_scores(scores, [{true}], top=(2,))["top2"] for true in range(4)] == [0, 1, 0, 1]


def test_half_precision_embeddings_are_ranked_in_single() -> None:
    images, candidates, truth = questions()
    half = zero_shot(images.bfloat16(), candidates.bfloat16(), truth)
    assert half == zero_shot(images.bfloat16().float(), candidates.bfloat16().float(), truth)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_refuses_embeddings_that_are_not_finite(bad: float) -> None:
    images, candidates, truth = questions()
    images[3, 2] = bad
    with pytest.raises(DataError, match="1 of 40 picture embeddings are not finite, first number 3"):
        zero_shot(images, candidates, truth)
    candidates[4] = bad
    with pytest.raises(DataError, match="candidate embeddings are not finite, first number 4"):
        zero_shot(unit(40, 6, 0), candidates, truth)
    with pytest.raises(DataError, match="not a number"):
        rank_scores(torch.tensor([[math.nan, 1.0]]), [{1}])


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ([{0}], "answers of 1 pictures were given for 2"),
        ([{0}, set()], "picture 1 has no true candidate"),
        ([{0}, {3}], "picture 1 names candidate 3 of 3"),
        ([{-1}, {0}], "picture 0 names candidate -1 of 3"),
    ],
)
def test_refuses_a_truth_that_does_not_fit(truth: list[set[int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        zero_shot(unit(2, 4, 0), unit(3, 4, 1), truth)


def test_refuses_nothing_to_measure() -> None:
    some = unit(3, 4, 0)
    with pytest.raises(DataError, match="no picture"):
        zero_shot(some[:0], some, [])
    with pytest.raises(DataError, match="no candidate"):
        zero_shot(some, some[:0], [{0}] * 3)
    with pytest.raises(DataError, match="nothing to rank"):
        rank_scores(torch.empty(0, 3), [])


class Encoder:
    """Texts to fixed random vectors of any norm; remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> Tensor:
        self.calls.append(list(texts))
        return torch.stack([self.vector(text) for text in texts])

    @staticmethod
    def vector(text: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
        return 5 * torch.rand(1, generator=generator) * torch.randn(8, generator=generator)


NAMES = ["cat", "a very long name of a dog", "ox", "{} bird"]
TEMPLATES = ["{}", "a photo of a {}.", "art of the {}"]


@pytest.mark.parametrize("batch", [1, 5, 256])
def test_ensemble_is_the_mean_of_unit_vectors(batch: int) -> None:
    encoder = Encoder()
    found = ensemble(encoder, NAMES, TEMPLATES, batch=batch)
    for row, name in zip(found, NAMES, strict=True):
        texts = [name, f"a photo of a {name}.", f"art of the {name}"]
        mean = sum(encoder.vector(text) / encoder.vector(text).norm() for text in texts)
        torch.testing.assert_close(row, mean / mean.norm())
    assert [len(call) for call in encoder.calls] == [batch] * (12 // batch) + [12 % batch] * (12 % batch > 0)


def test_ensemble_puts_texts_of_one_length_together() -> None:
    encoder = Encoder()
    ensemble(encoder, NAMES, TEMPLATES, batch=4)
    lengths = [len(text) for call in encoder.calls for text in call]
    assert lengths == sorted(lengths)


def test_ensemble_refuses_what_gives_no_classifier() -> None:
    with pytest.raises(DataError, match="no class names"):
        ensemble(Encoder(), [], TEMPLATES)
    with pytest.raises(ConfigError, match="no prompt templates"):
        ensemble(Encoder(), NAMES, [])
    with pytest.raises(ConfigError, match="'a photo' has no place"):
        ensemble(Encoder(), NAMES, ["a photo"])
    with pytest.raises(DataError, match="text embeddings are not finite"):
        ensemble(lambda texts: torch.full((len(texts), 3), math.nan), NAMES, TEMPLATES)
