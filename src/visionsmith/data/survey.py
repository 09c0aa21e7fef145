"""What a data set holds: counts, formats, sizes, captions, and what is wrong with it."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from visionsmith.data.progress import DelayedBar
from visionsmith.data.sample import Sample
from visionsmith.errors import DataError
from visionsmith.image.io import decode, read_header

__all__ = ["Survey", "survey"]


@dataclass
class Survey:
    """Figures of a data set."""

    count: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    """Pictures by format."""
    widths: array[int] = field(default_factory=lambda: array("q"))
    """Pixels, one entry a sound picture; likewise below."""
    heights: array[int] = field(default_factory=lambda: array("q"))
    picture_bytes: array[int] = field(default_factory=lambda: array("q"))
    caption_characters: array[int] = field(default_factory=lambda: array("q"))
    """One entry a caption that is there."""
    without_picture: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    """Pictures that cannot be decoded: key and reason."""

    @property
    def without_caption(self) -> int:
        """Records whose caption is missing."""
        return self.count - len(self.caption_characters)

    def plain(self) -> dict[str, Any]:
        """The figures for JSON; "min", "median" and "max" are absent where nothing was counted."""
        return {
            "count": self.count,
            "formats": dict(self.formats.most_common()),
            "width": _spread(self.widths),
            "height": _spread(self.heights),
            "picture_bytes": {"total": sum(self.picture_bytes), **_spread(self.picture_bytes)},
            "caption_characters": _spread(self.caption_characters),
            "without_caption": self.without_caption,
            "without_picture": self.without_picture,
            "broken": [{"key": key, "reason": reason} for key, reason in self.broken],
        }


def survey(samples: Iterable[Sample], *, total: int | None = None, progress: bool = False) -> Survey:
    """Look at every sample; each picture is decoded once, to find the broken ones.

    Args:
        samples: a store, or what `read_samples` gives.
        total: their number, for the bar.
        progress: whether to show a bar if it takes more than two seconds.
    """
    result = Survey()
    with DelayedBar("inspecting", total, show=progress) as bar:
        for sample in samples:
            result.count += 1
            if sample.caption.strip():
                result.caption_characters.append(len(sample.caption))
            if sample.image:
                _look_at_picture(sample, result)
            else:
                result.without_picture += 1
            bar.advance()
    return result


def _look_at_picture(sample: Sample, result: Survey) -> None:
    try:
        header = read_header(sample.image)
        decode(sample.image)
    except DataError as error:
        result.broken.append((sample.key, error.what))
        return
    result.formats[header.format] += 1
    result.widths.append(header.width)
    result.heights.append(header.height)
    result.picture_bytes.append(len(sample.image))


def _spread(values: array[int]) -> dict[str, float]:
    if not values:
        return {}
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}
