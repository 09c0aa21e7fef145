"""What a data set holds: counts, formats, sizes, captions, classes, duplicates, and what is wrong with it."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from visionsmith.data.captions import CaptionFigures
from visionsmith.data.classes import ClassFigures
from visionsmith.data.duplicates import Fingerprints
from visionsmith.data.oddities import oddities
from visionsmith.data.progress import DelayedBar
from visionsmith.data.sample import Sample
from visionsmith.errors import DataError
from visionsmith.image.io import decode, read_header

__all__ = ["DUPLICATES", "Duplicates", "Survey", "pick", "survey"]

MOST_COMMON = 20
"""Words, repeated captions and classes that are named."""
MOST_ODD = 50
"""Records that are named for each oddity."""

DUPLICATES = {
    "same_file": "files equal byte for byte",
    "same_pixels": "pixels equal once decoded",
    "alike": "pictures that look the same",
}
"""The kinds of duplicates, from the strictest to the loosest."""


class Keys:
    """The keys of all records, in one block of text."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._ends = array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return self._content[start : self._ends[index]].decode("utf-8", "backslashreplace")

    def append(self, key: str) -> None:
        """Add the key of the next record."""
        self._content += key.encode("utf-8", "backslashreplace")
        self._ends.append(len(self._content))


@dataclass
class Duplicates:
    """Groups of records, the largest first, each in order."""

    same_file: list[list[int]] = field(default_factory=list)
    """Files equal byte for byte."""
    same_pixels: list[list[int]] = field(default_factory=list)
    """Pixels equal once decoded; `same_file` is part of it."""
    alike: list[list[int]] = field(default_factory=list)
    """Pictures that look the same (`duplicates`), but not groups that are equal to the pixel."""


@dataclass
class Survey:
    """Figures of a data set."""

    formats: Counter[str] = field(default_factory=Counter)
    """Pictures by format."""
    widths: array[int] = field(default_factory=lambda: array("q"))
    """Pixels, one entry a sound picture; likewise below."""
    heights: array[int] = field(default_factory=lambda: array("q"))
    picture_bytes: array[int] = field(default_factory=lambda: array("q"))
    sound: array[int] = field(default_factory=lambda: array("q"))
    """Numbers of the records whose picture is sound."""
    keys: Keys = field(default_factory=Keys)
    captions: CaptionFigures = field(default_factory=CaptionFigures)
    classes: ClassFigures = field(default_factory=ClassFigures)
    odd: dict[str, int] = field(default_factory=dict)
    """Pictures by oddity."""
    odd_first: dict[str, list[int]] = field(default_factory=dict)
    """The first records of each oddity."""
    duplicates: Duplicates = field(default_factory=Duplicates)
    without_picture: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    """Pictures that cannot be decoded: key and reason."""

    @property
    def count(self) -> int:
        """Records."""
        return len(self.keys)

    @property
    def without_caption(self) -> int:
        """Records whose caption is missing or empty."""
        return self.count - len(self.captions.characters)

    def plain(self) -> dict[str, Any]:
        """The figures for JSON; "min", "median" and "max" are absent where nothing was counted."""
        captions = self.captions
        return {
            "count": self.count,
            "formats": dict(self.formats.most_common()),
            "width": _spread(self.widths),
            "height": _spread(self.heights),
            "picture_bytes": {"total": sum(self.picture_bytes), **_spread(self.picture_bytes)},
            "caption_characters": _spread(captions.characters),
            "caption_words": _spread(captions.words),
            "different_words": len(captions.vocabulary),
            "frequent_words": dict(captions.vocabulary.most_common(MOST_COMMON)),
            "repeated_captions": len(captions.repeated),
            "most_repeated_captions": dict(captions.repeated.most_common(MOST_COMMON)),
            "without_caption": self.without_caption,
            "without_picture": self.without_picture,
            "classes": {name: _balance(counts) for name, counts in self.classes.fields.items()},
            "odd": {
                name: {"count": count, "first": [self.keys[index] for index in self.odd_first[name]]}
                for name, count in self.odd.items()
            },
            "duplicates": {name: self._plain_groups(name) for name in DUPLICATES},
            "broken": [{"key": key, "reason": reason} for key, reason in self.broken],
        }

    def groups(self, kind: str) -> list[list[int]]:
        """The groups of one of `DUPLICATES`."""
        found: list[list[int]] = getattr(self.duplicates, kind)
        return found

    def _plain_groups(self, kind: str) -> dict[str, Any]:
        groups = self.groups(kind)
        keys = [[self.keys[index] for index in group] for group in groups]
        return {"groups": len(groups), "records": sum(map(len, groups)), "keys": keys}


def survey(samples: Iterable[Sample], *, total: int | None = None, progress: bool = False) -> Survey:
    """Look at every sample; each picture is decoded once and none is kept.

    Memory: about 400 bytes a record, and the different words of the captions.

    Args:
        samples: a store, or what `read_samples` gives.
        total: their number, for the bar.
        progress: whether to show a bar if it takes more than two seconds.
    """
    result, fingerprints = Survey(), Fingerprints()
    with DelayedBar("inspecting", total, show=progress) as bar:
        for index, sample in enumerate(samples):
            result.keys.append(sample.key)
            result.classes.add(sample)
            if sample.caption.strip():
                result.captions.add(sample.caption)
            if sample.image:
                _look_at_picture(index, sample, result, fingerprints)
            else:
                result.without_picture += 1
            bar.advance()
    if result.sound:
        result.duplicates = Duplicates(
            fingerprints.same_file(), fingerprints.same_pixels(), fingerprints.alike()
        )
    return result


def pick(samples: Iterable[Sample], wanted: Collection[int]) -> dict[int, Sample]:
    """The samples of some numbers, read in order up to the last of them."""
    last = max(wanted, default=-1)
    found: dict[int, Sample] = {}
    for index, sample in enumerate(samples):
        if index > last:
            break
        if index in wanted:
            found[index] = sample
    return found


def _look_at_picture(index: int, sample: Sample, result: Survey, fingerprints: Fingerprints) -> None:
    try:
        header = read_header(sample.image)
        image = decode(sample.image)
    except DataError as error:
        result.broken.append((sample.key, error.what))
        return
    result.sound.append(index)
    result.formats[header.format] += 1
    result.widths.append(header.width)
    result.heights.append(header.height)
    result.picture_bytes.append(len(sample.image))
    found = oddities(sample.image, header, image)
    for name in found:
        result.odd[name] = result.odd.get(name, 0) + 1
        first = result.odd_first.setdefault(name, [])
        if len(first) < MOST_ODD:
            first.append(index)
    fingerprints.add(index, sample.image, image, flat="one colour" in found)


def _spread(values: array[int]) -> dict[str, float]:
    if not values:
        return {}
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _balance(counts: Counter[str]) -> dict[str, Any]:
    """How many classes there are, how the largest compares with the smallest, and the largest by name."""
    sizes = counts.values()
    return {
        "classes": len(counts),
        "largest": max(sizes),
        "smallest": min(sizes),
        "most_common": dict(counts.most_common(MOST_COMMON)),
    }
