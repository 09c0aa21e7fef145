"""Batches of pictures at several sizes: small pictures in large batches, large ones in small batches.

The multi-scale sampler of Mehta and Rastegari 2022 (arXiv:2110.02178, sec. 3.2): each batch draws a size, and has as
many rows as make about as many pixels as the base batch. An epoch takes fewer steps, and the model learns to work at
any size. The learning rate is not corrected for the rows of a batch; the paper does not either.

    scales = MultiScale(size=256)                                   # {160: 327, 192: 227, 256: 128, 288: 101, 320: 81}
    plan = MultiScaleBatches(indices, batch_size=128, seed=0, scales=scales)
    dataset = SizedDataset(lambda size: PictureDataset(data, partial(view, size=size)), scales.sizes)
    loader(dataset, RankBatches(plan, start_step=step), collate)    # keys: (epoch, index, size)

Sizes and rows are functions of (seed, epoch), so processes stay in step without a word, and a run goes on from its step
alone, also from the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from visionsmith.config import config
from visionsmith.data.sampler import Key
from visionsmith.errors import ConfigError

__all__ = ["MultiScale", "MultiScaleBatches", "SizedDataset", "SizedKey"]

SizedKey = tuple[int, int, int]
"""(epoch, index, size): a `Key` and the side in pixels at which the sample is wanted."""


@config
class MultiScale:
    """The sizes that batches may have; the defaults are the paper's."""

    size: int = 256
    """Side at which a batch has its ordinary number of rows, pixels."""
    lowest: int = 160
    """Smallest side, pixels."""
    highest: int = 320
    """Largest side, pixels."""
    count: int = 5
    """Sides, evenly from the smallest to the largest, before they are rounded; those that fall together count once."""
    multiple: int = 32
    """Sides are rounded to multiples of this."""
    divisor: int = 1
    """Rows are a multiple of this: processes x micro-batches divide it. The paper's eight processes: 8."""

    def __post_init__(self) -> None:
        for name in ("size", "count", "multiple", "divisor"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is not positive", do="choose at least 1")
        if not self.multiple <= self.lowest <= self.highest:
            raise ConfigError(
                f"lowest = {self.lowest} to highest = {self.highest} px holds no side for multiple = {self.multiple}",
                do="choose multiple <= lowest <= highest",
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sides, pixels, ascending."""
        even = np.linspace(self.lowest, self.highest, self.count)
        rounded = (even + self.multiple / 2) // self.multiple * self.multiple
        return tuple(int(side) for side in np.unique(rounded))

    def rows(self, batch_size: int) -> dict[int, int]:
        """Rows of a batch by its side, for `batch_size` rows at the base side; cut off to the next multiple.

        Raises:
            ConfigError: `batch_size` is not a positive multiple of the divisor.
        """
        if batch_size < 1 or batch_size % self.divisor:
            raise ConfigError(
                f"batch_size = {batch_size} is not a multiple of the scales' divisor {self.divisor}",
                do=f"choose a multiple of {self.divisor}",
            )
        share = batch_size // self.divisor
        return {side: self.divisor * max(1, share * self.size**2 // side**2) for side in self.sizes}


class MultiScaleBatches:
    """Every record at least once an epoch, in a new order each epoch, in batches of random sizes: a `VaryingPlan`.

    The last batch is filled with the first records of the epoch, as published. No record occurs twice in a batch.
    """

    def __init__(self, indices: Sequence[int], batch_size: int, seed: int, *, scales: MultiScale) -> None:
        """Make the plan.

        Args:
            indices: the records.
            batch_size: rows of a batch at the base size.
            seed: of order and sizes.
            scales: the sizes.

        Raises:
            ConfigError: the largest batch has more rows than there are records, or `MultiScale.rows` refuses.
        """
        self.indices = np.asarray(indices, dtype=np.int64)
        self.batch_size, self.seed = batch_size, seed
        by_side = scales.rows(batch_size)
        self.batch_sizes = tuple(by_side.values())
        if (largest := max(self.batch_sizes)) > len(self.indices):
            raise ConfigError(
                f"batch_size = {batch_size} at {scales.size} px makes batches of {largest} at {min(by_side)} px, "
                f"more than the {len(self.indices)} records",
                do=f"set batch_size to at most {batch_size * len(self.indices) // largest}",
            )
        self._sides = np.array([*by_side])

    def __len__(self) -> int:
        """Batches of an epoch if all were of the base size."""
        return max(1, len(self.indices) // self.batch_size)

    def lengths(self, epoch: int) -> list[int]:
        """See `VaryingPlan.lengths`."""
        return [self.batch_sizes[place] for place in self._drawn(epoch)]

    def marks(self, epoch: int) -> list[tuple[int]]:
        """The side of each batch, pixels; see `VaryingPlan.marks`."""
        return [(int(self._sides[place]),) for place in self._drawn(epoch)]

    def epoch(self, epoch: int) -> np.ndarray:
        """See `VaryingPlan.epoch`."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.indices)
        return np.concatenate((order, order[: sum(self.lengths(epoch)) - len(order)]))

    def _drawn(self, epoch: int) -> np.ndarray:
        """Which side each batch of an epoch has: places in the list of sides."""
        # Four numbers, so that the stream is no sample's: those have three.
        rng = np.random.default_rng((self.seed, epoch, 0, 1))
        enough = -(-len(self.indices) // min(self.batch_sizes))
        drawn = rng.integers(len(self.batch_sizes), size=enough)
        filled = np.cumsum(np.array(self.batch_sizes)[drawn])
        return drawn[: int(np.searchsorted(filled, len(self.indices))) + 1]


class SizedDataset(Dataset[Any]):
    """Any data set at several sizes: `dataset[(epoch, index, size)]` is `at(size)[(epoch, index)]`."""

    def __init__(self, at: Callable[[int], Dataset[Any]], sizes: Iterable[int]) -> None:
        """Make the data sets.

        Args:
            at: makes the data set whose samples have the given side in pixels.
            sizes: the sides that occur.
        """
        self.by_size = {size: at(size) for size in sizes}

    def __getitem__(self, key: SizedKey) -> Any:
        *own, size = key
        plain: Key = (own[0], own[1])
        return self.by_size[size][plain]
