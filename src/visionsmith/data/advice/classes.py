"""Classes of a data set, and how evenly its batches show them."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from visionsmith.data.progress import DelayedBar
from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import BatchPlan
from visionsmith.errors import DataError, nearest

__all__ = ["Balance", "ClassCount", "Pictures", "balance", "read_pictures"]

FIELDS = ("label", "class", "category")
"""Metadata that name a picture's class, in the order in which they are looked for."""
FOLDER = "folder of the key"
NO_CLASS = "(none)"


@dataclass(frozen=True)
class Pictures:
    """The records that have a picture, and their classes where there are any."""

    indices: list[int]
    without: int
    """Records that have none."""
    class_from: str | None
    """Where the classes come from: a field of the metadata, the key's folder, or nowhere."""
    names: list[str]
    """Of the classes, in the order in which they occur."""
    codes: npt.NDArray[np.int64] | None
    """Class of each picture, as a place in `names`."""


@dataclass(frozen=True)
class ClassCount:
    """One class in the batches."""

    name: str
    pictures: int
    expected: float
    """In a batch of the shuffled data."""
    fewest: int
    """In the measured batches; likewise below."""
    mean: float
    most: int


@dataclass(frozen=True)
class Balance:
    """How evenly batches show the classes."""

    class_from: str
    classes: int
    batches: int
    """How many were looked at."""
    missing_expected: float
    """Share of the classes that are not in a batch: for random batches without replacement."""
    missing_measured: float
    """The same, mean over the batches of the project's sampler."""
    largest: ClassCount
    smallest: ClassCount

    @property
    def ratio(self) -> float:
        """Pictures of the largest class for each of the smallest."""
        return self.largest.pictures / self.smallest.pictures


def read_pictures(store: RecordStore, label: str | None, *, name: str, progress: bool = False) -> Pictures:
    """Find the records with a picture, and their classes.

    The class is the field `label` of the metadata; without it the first of "label", "class" and "category" that every
    picture has; else the folder part of the key, where there are several.

    Args:
        store: to read.
        label: a field of the metadata; pictures without it make up a class "(none)".
        name: what to call the data in an error.
        progress: whether to show a bar if it takes more than two seconds.

    Raises:
        DataError: no record has a picture, or none has the field.
    """
    columns = {key: _Column() for key in ((label,) if label is not None else (*FIELDS, FOLDER))}
    indices, known = [], dict[str, None]()
    with DelayedBar("reading classes", len(store), show=progress) as bar:
        for index in range(len(store)):
            sample = store[index]
            bar.advance()
            if not sample.image:
                continue
            indices.append(index)
            known |= dict.fromkeys(sample.meta)
            for key, column in columns.items():
                folder = sample.key.rpartition("/")[0]
                column.add(folder if key == FOLDER else _text(sample.meta, key))
    if not indices:
        raise DataError("has no picture", where=name, do="give a data set with pictures")
    if label is not None and label not in known:
        close = nearest(label, known)
        fields = f"the fields are {', '.join(known)}" if known else "the records have no metadata"
        raise DataError(
            f"no picture has the field '{label}'",
            where=name,
            do=f"did you mean '{close}'" if close else fields,
        )
    for key, column in columns.items():
        names = [NO_CLASS if text is None else text for text in column.names]
        if label is not None or (None not in column.names and (key != FOLDER or len(names) > 1)):
            return Pictures(indices, len(store) - len(indices), key, names, np.array(column.codes))
    return Pictures(indices, len(store) - len(indices), None, [], None)


def balance(plan: BatchPlan, pictures: Pictures, epochs: int) -> Balance | None:
    """Look at the classes of every batch.

    Args:
        plan: batches of positions in `pictures`.
        pictures: with or without classes.
        epochs: how many to look at.

    Returns:
        None where there are no classes.
    """
    codes = pictures.codes
    if codes is None or pictures.class_from is None:
        return None
    counts = np.bincount(codes)
    largest, smallest = int(np.argmax(counts)), int(np.argmin(counts))
    missing, shown = [], []
    for epoch in range(epochs):
        for batch in codes[plan.epoch(epoch)]:
            missing.append(1 - len(np.unique(batch)) / len(counts))
            shown.append([int((batch == code).sum()) for code in (largest, smallest)])
    ends = [
        ClassCount(
            name=pictures.names[code],
            pictures=int(counts[code]),
            expected=float(counts[code] * plan.batch_size / len(codes)),
            fewest=int(column.min()),
            mean=float(column.mean()),
            most=int(column.max()),
        )
        for code, column in zip((largest, smallest), np.array(shown).T, strict=True)
    ]
    return Balance(
        class_from=pictures.class_from,
        classes=len(counts),
        batches=len(missing),
        missing_expected=_expected_missing(counts, plan.batch_size),
        missing_measured=float(np.mean(missing)),
        largest=ends[0],
        smallest=ends[1],
    )


@dataclass
class _Column:
    """Values of one field, each text kept once."""

    places: dict[str | None, int] = field(default_factory=dict)
    codes: array[int] = field(default_factory=lambda: array("q"))

    @property
    def names(self) -> list[str | None]:
        return list(self.places)

    def add(self, text: str | None) -> None:
        self.codes.append(self.places.setdefault(text, len(self.places)))


def _text(meta: Mapping[str, Any], name: str) -> str | None:
    """A metadata value as the name of a class."""
    value = meta.get(name)
    if value is None or isinstance(value, str):
        return value or None
    return json.dumps(value, ensure_ascii=False)


def _expected_missing(counts: npt.NDArray[np.int64], batch_size: int) -> float:
    """Mean over the classes of the hypergeometric chance that a batch without replacement has none of them."""
    total = int(counts.sum())
    chances = {}
    for count in map(int, np.unique(counts)):
        others = total - count
        chances[count] = (
            math.exp(_log_choose(others, batch_size) - _log_choose(total, batch_size))
            if others >= batch_size
            else 0.0
        )
    return sum(chances[int(count)] for count in counts) / len(counts)


def _log_choose(total: int, taken: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(taken + 1) - math.lgamma(total - taken + 1)
