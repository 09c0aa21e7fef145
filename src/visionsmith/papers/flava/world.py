"""What FLAVA is trained and measured on: pairs, pictures alone, texts alone.

Built in: the pairs are OpenMoji with its held-out combinations, the texts their captions in other words, the pictures
those of the built-in scenes, without their labels. A user's data set gives what it has: records with both are pairs,
and where none has only a picture or only a text, the pairs' own are taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionsmith.data.records import RecordStore
from visionsmith.errors import DataError

__all__ = ["World", "open_world", "subject_of"]

HELD_OUT_SHARE = 0.05
"""Of a user's pairs: kept from training, to measure on."""
_DETAIL = re.compile(r",.*|^(a|an|the|man|woman|person|men|women|people) (?=\S)")


@dataclass(frozen=True, kw_only=True)
class World:
    """Three data sets and the pairs to measure on."""

    pairs: RecordStore
    train: tuple[int, ...]
    """Pairs to learn from."""
    held_out: tuple[int, ...]
    """Pairs to measure on; none of their pictures is in `train`."""
    candidates: tuple[str, ...]
    """Captions that compete for a held-out picture."""
    truth: tuple[frozenset[int], ...]
    """For each held-out pair: places in `candidates` that are true for its picture."""
    twins: Mapping[int, frozenset[int]]
    """Records of the same pixels, where known."""
    images: RecordStore
    image_train: tuple[int, ...]
    """Pictures to learn from alone."""
    image_test: tuple[int, ...]
    """Pictures of the same kind to measure on."""
    texts: RecordStore
    text_train: tuple[int, ...]
    """Records whose captions are learned from alone."""
    about: Mapping[str, Any]
    """For the card of a checkpoint."""


def open_world(
    data: Path | None,
    *,
    size: int,
    into: Path | None = None,
    seed: int = 0,
    held_out: float = HELD_OUT_SHARE,
    progress: bool = False,
) -> World:
    """Open the data.

    Args:
        data: folder of captioned pictures, CSV / TSV / JSONL, WebDataset tar or record store; None for the built-in.
        size: side of the built-in pictures, pixels.
        into: where a folder is packed; None: the cache.
        seed: of the choice of the pairs to measure on, of a user's data.
        held_out: share of a user's pairs to measure on; 1: all, for a measurement.
        progress: whether to show bars.

    Raises:
        DataError: fewer than two pairs.
    """
    return (
        _built_in(size, progress=progress)
        if data is None
        else _of_user(data, into, seed, held_out, progress=progress)
    )


def subject_of(store: RecordStore) -> Callable[[int], str]:
    """What a record shows, in a word: the factor "subject" where records have it, else the caption's head."""

    def subject(index: int) -> str:
        record = store[index]
        named = record.meta.get("subject")
        return str(named or _DETAIL.sub("", record.caption).strip() or record.caption)

    return subject


def _built_in(size: int, *, progress: bool) -> World:
    from visionsmith.data.builtin import openmoji_store
    from visionsmith.data.scenes import scenes_store
    from visionsmith.data.split import identical, pictures, split_combinations

    store = openmoji_store(size, progress=progress)
    scenes = scenes_store(size, progress=progress)
    split = split_combinations(store)
    twins = {index: frozenset(group) for group in identical(pictures(store)) for index in group}
    sides: dict[str, list[int]] = {"train": [], "test": []}
    for index in range(len(scenes)):
        sides[scenes[index].meta["split"]].append(index)
    shown = tuple(sides["train"])
    return World(
        pairs=store,
        train=split.train,
        held_out=split.pictures,
        candidates=tuple(store[index].caption for index in range(len(store))),
        truth=split.truth,
        twins=twins,
        images=scenes,
        image_train=shown,
        image_test=tuple(sides["test"]),
        texts=store,
        text_train=split.train,
        about={
            "pairs": len(split.train),
            "held_out": len(split.pictures),
            "pictures_alone": len(shown),
            **store.info().get("attributes", {}),
        },
    )


def _of_user(data: Path, into: Path | None, seed: int, held_out: float, *, progress: bool) -> World:
    from visionsmith.data.cache import cached_store
    from visionsmith.data.sources import open_or_pack

    store = cached_store(data) if into is None else open_or_pack(data, into, progress=progress)
    pairs, alone, said = [], [], []
    for index in range(len(store)):
        record = store[index]
        if record.image and record.caption:
            pairs.append(index)
        elif record.image:
            alone.append(index)
        elif record.caption:
            said.append(index)
    if len(pairs) < 2:
        raise DataError(
            f"has {len(pairs)} pictures with captions",
            where=data,
            do="give at least two pairs, better thousands",
        )
    order = np.random.default_rng(seed).permutation(pairs)
    kept = max(1, int(len(order) * held_out))
    asked, train = (tuple(sorted(part.tolist())) for part in (order[:kept], order[kept:]))
    candidates = tuple(dict.fromkeys(store[index].caption for index in asked))
    place = {caption: number for number, caption in enumerate(candidates)}
    return World(
        pairs=store,
        train=train,
        held_out=asked,
        candidates=candidates,
        truth=tuple(frozenset({place[store[index].caption]}) for index in asked),
        twins={},
        images=store,
        image_train=tuple(alone) or train,
        image_test=asked,
        texts=store,
        text_train=tuple(said) or train,
        about={
            "pairs": len(train),
            "held_out": len(asked),
            "pictures_alone": len(alone),
            "texts_alone": len(said),
            **store.info().get("attributes", {}),
        },
    )
