"""Pictures with classes: which record has which label, what is trained on and what is tested on, and batches of them.

Axes: b samples, h/w pixels, k classes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.mix import Mix, mix_batch
from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.errors import DataError
from visionsmith.image.io import decode

__all__ = [
    "LABEL_FIELDS",
    "Labelled",
    "PictureCollate",
    "PictureDataset",
    "View",
    "open_labelled",
    "read_pictures",
]

LABEL_FIELDS = ("label", "class", "category")
"""Entries of a record's metadata that may hold its class, in the order in which they are looked for."""
_TRAIN = frozenset({"train", "training"})
_TEST = frozenset({"val", "valid", "validation", "test", "testing"})
HELD_OUT_SHARE = 0.2
"""Of each class, kept from training where the data set itself does not say what is for testing."""

View = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A picture (RGB HWC uint8) and a random stream -> what the model is shown: RGB uint8 of one size, `h w 3`, or
`v h w 3` for several views of a picture."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A record store whose pictures have classes."""

    store: RecordStore
    classes: tuple[str, ...]
    labels: np.ndarray
    """int64, one a record: place in `classes`, or -1 where a record has no label."""
    train: tuple[int, ...]
    """Records to learn from."""
    test: tuple[int, ...]
    """Records to measure on; none of their pictures is also in `train`."""
    name: str
    """What the data are, for reports."""

    def __len__(self) -> int:
        return len(self.train) + len(self.test)

    def some_test(self, count: int) -> tuple[int, ...]:
        """Test records to show: `count` at most, drawn at random but always the same, in their order.

        Not every n-th: where the classes come in turn, that would show a few of them only.
        """
        drawn = np.random.default_rng(0).permutation(len(self.test))[:count]
        return tuple(self.test[place] for place in sorted(drawn.tolist()))

    def about(self) -> dict[str, Any]:
        """What the card of a checkpoint says of the data."""
        attributes = self.store.info().get("attributes", {})
        kept = {key: value for key, value in attributes.items() if key != "classes"}
        return {"records": len(self.train), "held_out": len(self.test), "classes": len(self.classes), **kept}


def open_labelled(
    data: Path | None,
    *,
    size: int = 64,
    into: Path | None = None,
    classes: Sequence[str] | None = None,
    progress: bool = False,
) -> Labelled:
    """Open a data set of pictures with classes.

    Args:
        data: a folder with a folder for each class (`CLASS/x.png`, or `train/CLASS/x.png` and `val/CLASS/x.png`), or
            any other form that `data pack` reads whose records name a label; None: the built-in scenes.
        size: side of the built-in pictures, pixels.
        into: where a folder is packed; None: the cache.
        classes: the classes that a model knows. Labels get its places, and records of other classes are left out.
        progress: whether to show a bar.

    Raises:
        DataError: no labels, or a single class where several are needed, or nothing of the model's classes.
    """
    from visionsmith.data.cache import cached_store
    from visionsmith.data.scenes import scenes_store
    from visionsmith.data.sources import open_or_pack

    if data is None:
        store = scenes_store(size, progress=progress)
    else:
        store = cached_store(data) if into is None else open_or_pack(data, into, progress=progress)
    names, sides, content = _read_labels(store)
    known = sorted({name for name in names if name is not None})
    if len(known) < 2:
        found = f"only the class '{known[0]}'" if known else "no classes"
        raise DataError(
            f"has {found}; at least two are needed",
            where=data,
            do="put the pictures into one folder a class (cat/1.jpg, dog/2.jpg), or give each record a label",
        )
    order = tuple(known if classes is None else classes)
    places = {name: place for place, name in enumerate(order)}
    labels = np.array([places.get(name, -1) if name is not None else -1 for name in names], dtype=np.int64)
    if not (labels >= 0).any():
        raise DataError(
            f"has none of the model's {len(order)} classes (it has '{known[0]}', '{known[1]}', ...)",
            where=data,
            do=f"the model knows '{order[0]}', '{order[1]}', ...; train one on this data, or name the folders so",
        )
    train, test = _split(labels, sides, content)
    name = "built-in scenes" if data is None else str(data)
    return Labelled(store=store, classes=order, labels=labels, train=train, test=test, name=name)


def _read_labels(store: RecordStore) -> tuple[list[str | None], list[str | None], list[int]]:
    """For each record: its class, its side ("train" or "test") where the data say so, and a number for its content."""
    names: list[str | None] = []
    sides: list[str | None] = []
    content = []
    for record in store:
        side, label = _from_key(record.key)
        label = next((str(record.meta[key]) for key in LABEL_FIELDS if _is_name(record.meta.get(key))), label)
        side = _side_of(str(record.meta.get("split", ""))) or side
        names.append(label if record.image else None)
        sides.append(side)
        content.append(hash(record.image))
    return names, sides, content


def _is_name(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _from_key(key: str) -> tuple[str | None, str | None]:
    """Side and class as the folders name them: "train/cat/1" or "cat/1"; a class may have folders inside."""
    parts = key.split("/")[:-1]
    side = _side_of(parts[0]) if parts else None
    if side is not None:
        parts = parts[1:]
    return side, parts[0] if parts else None


def _side_of(name: str) -> str | None:
    return "train" if name.lower() in _TRAIN else "test" if name.lower() in _TEST else None


def _split(
    labels: np.ndarray, sides: Sequence[str | None], content: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The data's own split, else a share of each class by content, so that copies of a picture stay together."""
    labelled = [index for index in range(len(labels)) if labels[index] >= 0]
    if {sides[index] for index in labelled} >= {"train", "test"}:
        parts = {
            side: tuple(index for index in labelled if sides[index] == side) for side in ("train", "test")
        }
        return parts["train"], parts["test"]
    groups: dict[int, dict[int, list[int]]] = defaultdict(dict)
    for index in labelled:
        groups[int(labels[index])].setdefault(content[index], []).append(index)
    train: list[int] = []
    test: list[int] = []
    for label in sorted(groups):
        pictures = list(groups[label].values())
        order = np.random.default_rng((0, label)).permutation(len(pictures))
        held_out = max(1, round(HELD_OUT_SHARE * len(pictures))) if len(pictures) > 1 else 0
        for rank, place in enumerate(order):
            (test if rank < held_out else train).extend(pictures[place])
    return tuple(sorted(train)), tuple(sorted(test))


@dataclass(frozen=True, slots=True)
class Item:
    """One sample on its way to a batch."""

    image: np.ndarray
    """`h w 3` or `v h w 3` uint8."""
    label: int
    key: Key


class PictureDataset(Dataset[Item]):
    """`dataset[(epoch, index)]`: one picture as `view` shows it, with its label."""

    def __init__(
        self, data: Labelled, view: View, seed: int = 0, *, labels: np.ndarray | None = None
    ) -> None:
        """Make the data set.

        Args:
            data: the pictures.
            view: how a picture is shown; its random stream comes from (seed, epoch, index).
            seed: of every random choice.
            labels: one a record, in place of the true ones, e.g. with planted errors.
        """
        self.store, self.view, self.seed = data.store, view, seed
        self.labels = data.labels if labels is None else labels

    def __getitem__(self, key: Key) -> Item:
        epoch, index = key
        image = decode(self.store[index].image, where=f"{self.store.path}[{index}]")
        return Item(
            self.view(image, generator(self.seed, epoch, index)), int(self.labels[index]), (epoch, index)
        )


class PictureCollate:
    """A list of items -> {"images", "labels"}, or with a `Mix` {"images", "targets"}.

    "images" is uint8 `b h w 3` (`b v h w 3` for several views), "labels" int64 `b`; with a mix "images" is float32 in
    [0, 255] and "targets" float32 `b k`.
    """

    def __init__(self, mix: Mix | None = None, *, classes: int = 0, seed: int = 0) -> None:
        """Make it.

        Args:
            mix: mixup, cutmix and smoothing of a batch, or none.
            classes: number of classes; needed with `mix`.
            seed: of the mix, whose stream comes from (seed, epoch, index of the batch's first sample).
        """
        assert mix is None or classes >= 2, "a mix needs the number of classes"
        self.mix, self.classes, self.seed = mix, classes, seed

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """See the class."""
        images = torch.from_numpy(np.stack([item.image for item in items]))
        labels = torch.tensor([item.label for item in items])
        if self.mix is None:
            return {"images": images, "labels": labels}
        epoch, index = items[0].key
        images, targets = mix_batch(
            images, labels, self.mix, self.classes, generator(self.seed, epoch, index)
        )
        return {"images": images, "targets": targets}


def read_pictures(data: Labelled, indices: Sequence[int], show: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Pictures as `show` makes them (a resize and crop without chance), stacked: uint8 `b h w 3`."""
    return torch.from_numpy(np.stack([show(decode(data.store[index].image)) for index in indices]))


def class_counts(data: Labelled, indices: Sequence[int]) -> Mapping[str, int]:
    """How many of some records each class has, in the order of the classes."""
    counts = Counter(data.labels[list(indices)].tolist())
    return {name: counts.get(place, 0) for place, name in enumerate(data.classes)}
