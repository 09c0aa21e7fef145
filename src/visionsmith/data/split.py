"""A fixed split of OpenMoji that holds out combinations: their parts were seen, their pictures were not.

Many emoji are drawn alike ("man farmer" is "farmer"), so the split works on pictures: captions of one
picture stay on one side, and each of them counts as true for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionsmith.data.records import RecordStore
from visionsmith.errors import DataError
from visionsmith.image.io import decode

__all__ = ["Split", "alike", "identical", "pictures", "split_combinations"]

MAX_DIFFERENCE = 3
"""Largest difference of any pixel, gray levels, between pictures that one side of the split must hold."""
LARGEST_FAMILY = 4
"""Families of more pictures drawn alike than this are not held out: they would be one picture, asked often."""


@dataclass(frozen=True)
class Split:
    """Indices into a store."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    """Every held-out record."""
    pictures: tuple[int, ...]
    """One record a distinct held-out picture."""
    truth: tuple[frozenset[int], ...]
    """For each of `pictures`: the records whose caption is true for it (itself and its identical twins)."""


def pictures(store: RecordStore) -> np.ndarray:
    """All pictures of a store of equal sizes: uint8 (records, height, width, 3), RGB."""
    first = decode(store[0].image)
    stacked = np.empty((len(store), *first.shape), dtype=np.uint8)
    for index in range(len(store)):
        image = decode(store[index].image)
        if image.shape != first.shape:
            raise DataError(
                f"record {index} is {image.shape[1]}x{image.shape[0]} px, the first {first.shape[1]}x{first.shape[0]}",
                where=store.path,
                do="pack the pictures at one size",
            )
        stacked[index] = image
    return stacked


def identical(images: np.ndarray) -> list[list[int]]:
    """Groups (two or more) of pixel-identical pictures. `images`: uint8 (records, height, width, 3)."""
    groups: dict[bytes, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.tobytes(), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def alike(images: np.ndarray, max_difference: int = MAX_DIFFERENCE) -> list[list[int]]:
    """A partition into families: pictures that no pixel tells apart by more than `max_difference` gray levels.

    The relation is closed: a picture like two others joins their families.
    """
    records, height, width, channels = images.shape
    grid = images[:, : height - height % 8, : width - width % 8].astype(np.float32)
    coarse = (
        grid.reshape(records, 8, height // 8, 8, width // 8, channels).mean(axis=(2, 4)).reshape(records, -1)
    )
    family = list(range(records))

    def root(index: int) -> int:
        while family[index] != index:
            family[index] = family[family[index]]
            index = family[index]
        return index

    # A mean cannot differ by more than its pixels do, so the coarse pictures rule out nearly every pair.
    order = np.argsort(coarse.sum(axis=1), kind="stable")
    sums = coarse.sum(axis=1)[order]
    reach = max_difference * coarse.shape[1]
    ends = np.searchsorted(sums, sums + reach, side="right")
    for place, index in enumerate(order):
        others = order[place + 1 : ends[place]]
        near = others[(np.abs(coarse[others] - coarse[index]) <= max_difference).all(axis=1)]
        for other in near:
            difference = np.abs(images[other].astype(np.int16) - images[index])
            if difference.max() <= max_difference:
                family[root(int(other))] = root(int(index))
    families: dict[int, list[int]] = {}
    for index in range(records):
        families.setdefault(root(index), []).append(index)
    return list(families.values())


def split_combinations(store: RecordStore, *, pictures_held_out: int = 300, seed: int = 0) -> Split:
    """Hold out pictures of people and hands whose parts are seen in other combinations.

    Every held-out caption has a skin tone. Its subject, gender, hair and each of its skin tones occur in the training
    part; its subject with its gender keeps at least three other pictures there.

    Args:
        store: OpenMoji as `openmoji.samples` yields it, in that order.
        pictures_held_out: how many distinct pictures.
        seed: of the choice.
    """
    images = pictures(store)
    meta = [dict(store[index].meta) for index in range(len(store))]
    twin = {index: frozenset(group) for group in identical(images) for index in group}
    base = [(values["subject"], values["gender"], values["hair"]) for values in meta]
    families = [
        family
        for family in alike(images)
        if len(family) <= LARGEST_FAMILY
        and any(meta[i]["skin"] and meta[i]["group"] in ("person", "several", "body") for i in family)
    ]
    remaining = Counter(base)
    held: set[int] = set()
    chosen: list[int] = []
    for pick in np.random.default_rng(seed).permutation(len(families)):
        family = families[pick]
        if len(chosen) >= pictures_held_out:
            break
        loss = Counter(base[index] for index in family)
        if any(remaining[key] - lost < 4 for key, lost in loss.items()):
            continue
        remaining -= loss
        held.update(family)
        seen = {min(twin.get(index, frozenset({index}))) for index in family if meta[index]["skin"]}
        chosen.extend(sorted(seen))
    train = tuple(index for index in range(len(store)) if index not in held)
    _require_parts_seen(meta, train, held)
    asked = tuple(sorted(chosen))
    return Split(
        train=train,
        held_out=tuple(sorted(held)),
        pictures=asked,
        truth=tuple(twin.get(index, frozenset({index})) for index in asked),
    )


def _require_parts_seen(meta: Sequence[dict[str, object]], train: Sequence[int], held: set[int]) -> None:
    def parts(index: int) -> set[tuple[str, object]]:
        values = meta[index]
        skin = values["skin"]
        assert isinstance(skin, list)
        return {(key, values[key]) for key in ("subject", "gender", "hair")} | {
            ("skin", tone) for tone in skin
        }

    seen = set().union(*(parts(index) for index in train))
    unseen = set().union(*(parts(index) for index in held)) - seen
    if unseen:
        raise DataError(f"held-out parts were never seen in training: {sorted(map(str, unseen))[:5]}")
