"""The pairs that are trained on, and those that are kept to measure with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionsmith.data.records import RecordStore

__all__ = ["HELD_OUT_SHARE", "World", "open_world"]

HELD_OUT_SHARE = 0.05
"""Of a user's data set: kept from training."""


@dataclass(frozen=True)
class World:
    """Pictures with captions."""

    store: RecordStore
    train: tuple[int, ...]
    """Records to train on."""
    held_out: tuple[int, ...]
    """One record of each different picture that is kept from training."""
    twins: Mapping[int, frozenset[int]]
    """Of a record that is not alone: all records with the same picture or the same caption, itself included."""
    about: Mapping[str, Any]
    """What a card says of the data."""

    def captions(self) -> list[str]:
        """Every record's, in order."""
        return [self.store[index].caption for index in range(len(self.store))]

    def truth(self, index: int) -> frozenset[int]:
        """The records whose caption is true for a record's picture."""
        return self.twins.get(index, frozenset({index}))


def open_world(
    data: Path | None, *, size: int, into: Path | None = None, seed: int = 0, progress: bool = False
) -> World:
    """Open the built-in pairs or a user's.

    Args:
        data: a folder of captioned pictures, a table, tars or a record store; None for OpenMoji.
        size: at which the built-in pictures are drawn, pixels.
        into: where a user's pairs are packed; None: beside them.
        seed: of which of a user's pairs are kept from training.
        progress: whether to show a bar.
    """
    import numpy as np

    from visionsmith.data.builtin import openmoji_store
    from visionsmith.data.split import identical, pictures, split_combinations

    if data is None:
        store = openmoji_store(size, progress=progress)
        split = split_combinations(store)
        train, held_out = split.train, split.pictures
        groups = identical(pictures(store))
    else:
        from visionsmith.data.sources import open_or_pack

        store = open_or_pack(data, into or data.with_suffix(".records"), progress=progress)
        order = np.random.default_rng(seed).permutation(len(store)).tolist()
        kept = max(1, round(HELD_OUT_SHARE * len(order)))
        held_out, train = tuple(sorted(order[:kept])), tuple(sorted(order[kept:]))
        same: dict[str, list[int]] = {}
        for index in range(len(store)):
            same.setdefault(store[index].caption, []).append(index)
        groups = [group for group in same.values() if len(group) > 1]
    twins = {index: frozenset(group) for group in groups for index in group}
    about = {"records": len(train), "held_out": len(held_out), **store.info().get("attributes", {})}
    return World(store=store, train=train, held_out=held_out, twins=twins, about=about)
