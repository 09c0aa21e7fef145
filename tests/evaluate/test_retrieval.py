"""Recall both ways against sorting by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visionsmith.errors import DataError
from visionsmith.evaluate.retrieval import retrieval


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_recalls_are_those_of_sorting() -> None:
    rng = np.random.default_rng(1)
    images, texts = unit(25, 4, 0), unit(60, 4, 1)
    matches = [set(rng.choice(50, rng.integers(1, 5), replace=False).tolist()) for _ in range(25)]
    scores = (images.double() @ texts.double().T).numpy()
    wanted = {}
    for k in (1, 5, 10):
        hits = [bool(set(np.argsort(-scores[i])[:k].tolist()) & matches[i]) for i in range(25)]
        wanted[f"image_to_text.r{k}"] = np.mean(hits)
        hits = []
        for text in range(60):
            own = {i for i in range(25) if text in matches[i]}
            if own:
                hits.append(bool(set(np.argsort(-scores[:, text])[:k].tolist()) & own))
        assert len(hits) < 50, "some texts belong to no picture"
        wanted[f"text_to_image.r{k}"] = np.mean(hits)
    found = retrieval(images, texts, matches)
    assert found == pytest.approx(wanted)
    assert len(set(found.values())) > 3, "the example tells the numbers apart"


def test_perfect_and_useless_features() -> None:
    own = [{i} for i in range(12)]
    assert set(retrieval(torch.eye(12), torch.eye(12), own).values()) == {1.0}
    same = unit(1, 33, 0).repeat(12, 1)
    assert set(retrieval(same, same, own).values()) == {0.0}


def test_the_two_ways_differ() -> None:
    # Both pictures are nearest to text 0; the texts find their own.
    texts = torch.eye(2)
    images = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.9]]), dim=-1)
    assert retrieval(images, texts, [{0}, {1}], at=(1,)) == {"image_to_text.r1": 0.5, "text_to_image.r1": 1.0}


def test_refuses_what_cannot_be_measured() -> None:
    some = unit(3, 4, 0)
    with pytest.raises(DataError, match="no text"):
        retrieval(some, some[:0], [{0}] * 3)
    with pytest.raises(DataError, match="no picture"):
        retrieval(some[:0], some, [])
    with pytest.raises(DataError, match="picture 2 has no true"):
        retrieval(some, some, [{0}, {1}, set()])
    broken = some.clone()
    broken[1] = torch.nan
    with pytest.raises(DataError, match="text embeddings are not finite, first number 1"):
        retrieval(some, broken, [{0}] * 3)
