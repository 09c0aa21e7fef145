"""What is hidden: blocks of patches (BEiT's masking) and word pieces, whole words where asked.

Everything is drawn from the stream that is given, so that a sample's mask is a function of (seed, epoch, index).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from visionsmith.errors import ConfigError

__all__ = ["block_mask", "mask_words"]

DRAWN = 16
"""Blocks that are drawn at a time; one is nearly always enough."""


def block_mask(
    rng: np.random.Generator,
    grid: int,
    count: int,
    *,
    smallest: int = 16,
    aspect: float = 0.3,
) -> np.ndarray:
    """Hide exactly `count` patches of a grid, in blocks.

    Blocks of random size, shape and place are laid on top of each other until `count` patches are hidden; of the block
    that would hide too many, a random part is used. DIFFERS: the published generator gives up after ten misfits and
    hides what it has, so that its masks are of several sizes, and a batch of them cannot be gathered at once.

    Args:
        rng: random stream.
        grid: patches a side.
        count: how many to hide.
        smallest: least area of a block, patches; no block is larger than what is left to hide, or this.
        aspect: least ratio of a block's sides; the largest is its inverse.

    Returns:
        int64 (count,): places in the grid, row by row, ascending.

    Raises:
        ConfigError: there are not so many patches, or none is to be hidden.
    """
    if not 1 <= count <= grid * grid:
        raise ConfigError(
            f"{count} of {grid * grid} patches cannot be hidden", do=f"choose 1 to {grid * grid} patches"
        )
    hidden = np.zeros((grid, grid), dtype=bool)
    while (left := count - int(hidden.sum())) > 0:
        area = rng.uniform(min(smallest, left), max(smallest, left), DRAWN)
        shape = np.exp(rng.uniform(math.log(aspect), -math.log(aspect), DRAWN))
        heights = np.clip(np.rint(np.sqrt(area * shape)), 1, grid).astype(np.int64)
        widths = np.clip(np.rint(np.sqrt(area / shape)), 1, grid).astype(np.int64)
        tops = (rng.random(DRAWN) * (grid - heights + 1)).astype(np.int64)
        lefts = (rng.random(DRAWN) * (grid - widths + 1)).astype(np.int64)
        for top, start, height, width in zip(tops, lefts, heights, widths, strict=True):
            block = np.zeros_like(hidden)
            block[top : top + height, start : start + width] = True
            fresh = np.flatnonzero(block & ~hidden)
            if len(fresh) > left:
                fresh = rng.choice(fresh, left, replace=False)
            hidden.flat[fresh] = True
            left -= len(fresh)
            if left == 0:
                break
    return np.flatnonzero(hidden)


def mask_words(
    rng: np.random.Generator,
    pieces: Sequence[int],
    *,
    first_of_word: Sequence[bool],
    share: float,
    mask: int,
    ordinary: tuple[int, int],
    whole_words: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Hide word pieces as BERT does: of those drawn 80 % become the mask, 10 % another piece, 10 % stay.

    At least one is drawn. Of whole words all pieces are drawn together, and treated alike.

    Args:
        rng: random stream.
        pieces: ids of a text's word pieces, without "[CLS]" and "[SEP]"; at least one.
        first_of_word: whether a piece begins a word.
        share: of the words (or pieces) that are drawn.
        mask: id of the mask token.
        ordinary: the first id that may replace a piece, and the one after the last.
        whole_words: whether the pieces of a word are hidden together.

    Returns:
        The masked pieces, int64, and the places that were drawn, int64, ascending.
    """
    assert len(pieces) == len(first_of_word) > 0, f"{len(pieces)} pieces, {len(first_of_word)} marks"
    changed = np.asarray(pieces, dtype=np.int64).copy()
    units = np.cumsum(first_of_word) if whole_words else np.arange(len(pieces))
    # Pieces before the first beginning of a word would be a unit 0 of their own: also right.
    kinds = np.unique(units)
    drawn = rng.choice(kinds, max(1, round(share * len(kinds))), replace=False)
    for unit in np.sort(drawn):
        own = np.flatnonzero(units == unit)
        fate = rng.random()
        if fate < 0.8:
            changed[own] = mask
        elif fate < 0.9:
            changed[own] = rng.integers(*ordinary, len(own))
    return changed, np.flatnonzero(np.isin(units, drawn))
