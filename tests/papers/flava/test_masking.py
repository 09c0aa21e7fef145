"""What is hidden: exactly so many patches in blocks, and word pieces in BERT's proportions, whole words together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionsmith.errors import ConfigError
from visionsmith.papers.flava.masking import block_mask, mask_words


@given(st.integers(1, 14), st.data())
def test_exactly_so_many_patches_each_once(grid: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, grid * grid))
    smallest = data.draw(st.integers(1, 20))
    seed = data.draw(st.integers(0, 1000))
    places = block_mask(np.random.default_rng(seed), grid, count, smallest=smallest)
    assert len(places) == len(np.unique(places)) == count
    assert places.min() >= 0
    assert places.max() < grid * grid
    assert (np.diff(places) > 0).all()
    again = block_mask(np.random.default_rng(seed), grid, count, smallest=smallest)
    assert (places == again).all()


def neighbours(places: np.ndarray, grid: int) -> float:
    """How many of the four neighbours of a hidden patch are hidden too, on average."""
    hidden = np.zeros((grid + 2, grid + 2), dtype=bool)
    hidden[1:-1, 1:-1].flat = False
    hidden[places // grid + 1, places % grid + 1] = True
    inner = hidden[1:-1, 1:-1]
    around = hidden[:-2, 1:-1].astype(int) + hidden[2:, 1:-1] + hidden[1:-1, :-2] + hidden[1:-1, 2:]
    return float(around[inner].mean())


def test_patches_lie_in_blocks_and_every_patch_has_its_turn() -> None:
    masks = [block_mask(np.random.default_rng(seed), 14, 75) for seed in range(400)]
    scattered = [np.random.default_rng(seed).choice(196, 75, replace=False) for seed in range(400)]
    assert np.mean([neighbours(places, 14) for places in masks]) > 3.0
    assert np.mean([neighbours(places, 14) for places in scattered]) < 1.6
    share = np.bincount(np.concatenate(masks), minlength=196) / 400
    assert share.min() > 0.005, "corners are rarer, but come"
    assert share.mean() == pytest.approx(75 / 196)


@pytest.mark.parametrize("count", [0, 17])
def test_so_many_patches_there_are_not(count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} of 16 patches cannot be hidden"):
        block_mask(np.random.default_rng(0), 4, count)


def hide(seed: int, pieces: list[int], begins: list[bool], **settings) -> tuple[np.ndarray, np.ndarray]:
    base = {"share": 0.15, "mask": 4, "ordinary": (5, 1000), "whole_words": True}
    return mask_words(np.random.default_rng(seed), pieces, first_of_word=begins, **{**base, **settings})


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 10_000), st.booleans())
def test_only_drawn_places_change_and_words_are_hidden_whole(
    begins: list[bool], seed: int, whole: bool
) -> None:
    begins = [True, *begins[1:]]
    pieces = list(range(2000, 2000 + len(begins)))
    changed, places = hide(seed, pieces, begins, whole_words=whole)
    assert len(places) >= 1
    kept = np.setdiff1d(np.arange(len(pieces)), places)
    assert (changed[kept] == np.asarray(pieces)[kept]).all()
    if not whole:
        assert len(places) == max(1, round(0.15 * len(pieces)))
        return
    words = np.cumsum(begins)
    drawn = set(words[places].tolist())
    assert len(drawn) == max(1, round(0.15 * words.max()))
    assert set(np.flatnonzero(np.isin(words, list(drawn)))) == set(places.tolist())
    for word in drawn:
        own = changed[words == word]
        # All masked, all exchanged, or all as they were.
        masked, before = own == 4, own == np.asarray(pieces)[words == word]
        assert masked.all() or before.all() or not (masked.any() or before.any())


def test_eight_of_ten_are_masked_one_exchanged_one_left() -> None:
    fates: Counter[str] = Counter()
    for seed in range(4000):
        changed, (place,) = hide(seed, [2000, 2001, 2002], [True] * 3, whole_words=False)
        found = changed[place]
        fates["masked" if found == 4 else "left" if found == 2000 + place else "exchanged"] += 1
        assert found == 4 or found >= 5
    assert fates["masked"] / 4000 == pytest.approx(0.8, abs=0.03)
    assert fates["exchanged"] / 4000 == pytest.approx(0.1, abs=0.025)
    assert fates["left"] / 4000 == pytest.approx(0.1, abs=0.025)
