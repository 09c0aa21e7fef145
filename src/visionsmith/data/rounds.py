"""Batches from several data sets in turn: each batch of one kind, the kinds by a fixed cycle or by chance.

    images, texts, pairs = (ShuffledBatches(...) for ...)
    plan = RoundBatches([images, texts, pairs], cycle=(2, 0, 2, 1))        # or weights=(1.0, 1.0, 2.0)
    dataset = RoundDataset([image_dataset, text_dataset, pair_dataset])
    loader(dataset, RankBatches(plan, start_step=step), collate)           # keys: (epoch of the part, index, part)

Round-robin sampling as FLAVA (Singh et al. 2021, arXiv:2112.04482, section 3.3) trains with. The order is a function of
(seed, epoch), so all processes agree without a word, and a run goes on from its step alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from visionsmith.data.sampler import BatchPlan, VaryingPlan
from visionsmith.errors import ConfigError

__all__ = ["RoundBatches", "RoundDataset", "RoundKey"]

RoundKey = tuple[int, int, int, int]
"""(epoch of the rounds, index, epoch of the part, part): the part is asked for its own (epoch, index)."""


class RoundBatches:
    """The batches of several plans in turn: a `VaryingPlan`.

    Each part keeps its own epochs: after its last batch it begins its next epoch, whatever the others do. An epoch of
    the rounds is as many batches as it takes, on average, until each part has been seen once.
    """

    def __init__(
        self,
        parts: Sequence[BatchPlan],
        *,
        seed: int = 0,
        cycle: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Make the plan.

        Args:
            parts: one plan a data set; plans of a fixed batch size.
            seed: of the draws, when `weights` are given.
            cycle: parts in the order of their turns, over and over.
            weights: instead: how often each part is drawn, relative to the others; 0 leaves it out.

        Raises:
            ConfigError: no parts or turns, both or neither of `cycle` and `weights`, a turn of a part that there is
                not, or weights that are negative or all zero.
        """
        if not parts:
            raise ConfigError("there are no data sets to take turns", do="give at least one")
        if any(isinstance(part, VaryingPlan) for part in parts):
            raise ConfigError(
                "a plan of varying batches cannot take turns with others", do="give plans of one batch size"
            )
        if (cycle is None) == (weights is None):
            raise ConfigError("either a cycle or weights say whose turn it is", do="give one of them")
        self.parts, self.seed = list(parts), seed
        self.cycle = None if cycle is None else np.asarray(_checked_cycle(cycle, len(parts)), dtype=np.int64)
        self.weights = None if weights is None else _checked_weights(weights, len(parts))
        shares = self._shares()
        self.batch_sizes = tuple(part.batch_size for part, share in zip(parts, shares, strict=True) if share)
        self.batch_size = max(self.batch_sizes)
        # Enough turns that a part of average luck is through once; whole cycles, so that no turn is cut.
        enough = max(
            int(np.ceil(len(part) / share)) for part, share in zip(parts, shares, strict=True) if share
        )
        self._turns = enough if self.cycle is None else -(-enough // len(self.cycle)) * len(self.cycle)

    def __len__(self) -> int:
        return self._turns

    def turns(self, epoch: int) -> np.ndarray:
        """Which part each batch of an epoch comes from: int64 (batches,)."""
        if self.cycle is not None:
            return np.tile(self.cycle, self._turns // len(self.cycle))
        # Four numbers, so that the stream is no sample's: those have three.
        rng = np.random.default_rng((self.seed, epoch, 0, 2))
        return rng.choice(len(self.parts), size=self._turns, p=self.weights)

    def lengths(self, epoch: int) -> list[int]:
        """See `VaryingPlan.lengths`."""
        return [self.parts[part].batch_size for part in self.turns(epoch)]

    def marks(self, epoch: int) -> list[tuple[int, int]]:
        """(epoch of the part, part) of each batch; see `VaryingPlan.marks`."""
        return [(own_epoch, part) for own_epoch, _, part in self._places(epoch)]

    def epoch(self, epoch: int) -> np.ndarray:
        """See `VaryingPlan.epoch`."""
        plans: dict[tuple[int, int], np.ndarray] = {}
        rows = []
        for own_epoch, place, part in self._places(epoch):
            if (own_epoch, part) not in plans:
                plans[own_epoch, part] = self.parts[part].epoch(own_epoch)
            rows.append(plans[own_epoch, part][place])
        return np.concatenate(rows)

    def _places(self, epoch: int) -> list[tuple[int, int, int]]:
        """(the part's own epoch, the batch in it, the part) of each batch of an epoch of the rounds."""
        turns = self.turns(epoch)
        done = self._done_before(epoch)
        found = []
        for part in turns.tolist():
            found.append((*divmod(done[part], len(self.parts[part])), part))
            done[part] += 1
        return found

    def _done_before(self, epoch: int) -> list[int]:
        """Batches of each part in all epochs before this one."""
        parts = range(len(self.parts))
        if self.cycle is not None:
            return [epoch * int((self.turns(0) == part).sum()) for part in parts]
        counts = np.zeros(len(self.parts), dtype=np.int64)
        for before in range(epoch):
            counts += np.bincount(self.turns(before), minlength=len(self.parts))
        return [int(count) for count in counts]

    def _shares(self) -> np.ndarray:
        if self.weights is not None:
            return self.weights
        assert self.cycle is not None, "a plan has a cycle or weights"
        shares: np.ndarray = np.bincount(self.cycle, minlength=len(self.parts)) / len(self.cycle)
        return shares


class RoundDataset(Dataset[Any]):
    """Several data sets behind the keys of a `RoundBatches`: a sample is the part's at (the part's epoch, index)."""

    def __init__(self, parts: Sequence[Dataset[Any]]) -> None:
        self.parts = list(parts)

    def __getitem__(self, key: RoundKey) -> Any:
        _, index, own_epoch, part = key
        return self.parts[part][own_epoch, index]


def _checked_cycle(cycle: Sequence[int], parts: int) -> Sequence[int]:
    if not len(cycle):
        raise ConfigError("the cycle has no turns", do="name at least one part")
    if wrong := [part for part in cycle if not 0 <= part < parts]:
        raise ConfigError(f"the cycle names part {wrong[0]} of {parts}", do=f"choose 0 to {parts - 1}")
    return cycle


def _checked_weights(weights: Sequence[float], parts: int) -> np.ndarray:
    found = np.asarray(weights, dtype=float)
    if found.shape != (parts,):
        raise ConfigError(f"{len(weights)} weights are given for {parts} data sets", do="give one for each")
    if not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise ConfigError(
            f"the weights {', '.join(f'{weight:g}' for weight in weights)} cannot be drawn by",
            do="give numbers of 0 or more, at least one above 0",
        )
    shares: np.ndarray = found / found.sum()
    return shares
