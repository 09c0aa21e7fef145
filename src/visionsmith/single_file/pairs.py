"""How one tensor of a single file becomes tensors of a diffusers folder, and back.

Every change but one is a choice of byte ranges, so that weights are copied without being understood:
bit-identical in any dtype. Only a transposition moves elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

from visionsmith.errors import CheckpointError
from visionsmith.single_file.header import Entry, Shape

__all__ = ["How", "Pair", "Planned", "both", "same", "to_folder", "to_single"]


class How(Enum):
    """What happens to the values."""

    SAME = "same"
    SQUEEZE = "1x1 convolution to linear layer"
    SPLIT = "rows split"
    TRANSPOSE = "transposed"
    SWAP = "halves swapped"


@dataclass(frozen=True)
class Pair:
    """The name of a tensor in a single file and its names in a folder's part."""

    single: str
    folder: tuple[str, ...]
    how: How = How.SAME
    sizes: Shape = ()
    """For SPLIT: rows of each piece."""
    optional: bool = False
    """Whether files of this layout exist without it."""


@dataclass(frozen=True)
class Planned:
    """A tensor to be written, as pieces of files."""

    name: str
    dtype: str
    shape: Shape
    sources: tuple[Entry, ...]
    """Byte ranges, in the order to be written."""
    turn: bool = False
    """Whether the one source is a matrix of shape[::-1], to be transposed."""

    @property
    def size(self) -> int:
        """Bytes of all elements."""
        return sum(source.size for source in self.sources)


def same(name: str, *, optional: bool = False) -> Pair:
    """A tensor with the same name on both sides."""
    return Pair(name, (name,), optional=optional)


def both(single: str, folder: str, how: How = How.SAME) -> list[Pair]:
    """The weight and the bias of a layer; only the weight is changed."""
    return [Pair(f"{single}.weight", (f"{folder}.weight",), how), Pair(f"{single}.bias", (f"{folder}.bias",))]


def to_folder(pair: Pair, entry: Entry) -> list[Planned]:
    """The tensors of a part that a tensor of the single file becomes.

    Raises:
        CheckpointError: its shape does not allow the change.
    """
    shape, names = entry.shape, pair.folder
    if pair.how is How.SPLIT:
        if not shape or sum(pair.sizes) != shape[0]:
            raise _misshapen(pair.single, entry, f"({'+'.join(map(str, pair.sizes))}, ...)")
        pieces = _rows(entry, pair.sizes)
        return [
            Planned(name, entry.dtype, piece.shape, (piece,))
            for name, piece in zip(names, pieces, strict=True)
        ]
    if pair.how is How.TRANSPOSE:
        return [_turned(names[0], pair.single, entry)]
    if pair.how is How.SWAP:
        return [_swapped(names[0], pair.single, entry)]
    if pair.how is How.SQUEEZE:
        if len(shape) != 2 and (len(shape) != 4 or shape[2:] != (1, 1)):
            raise _misshapen(pair.single, entry, "(out, in, 1, 1)")
        shape = shape[:2]
    return [Planned(names[0], entry.dtype, shape, (entry,))]


def to_single(pair: Pair, entries: Sequence[Entry]) -> Planned:
    """The tensor of the single file that tensors of a part become.

    Raises:
        CheckpointError: their shapes or dtypes do not allow the change.
    """
    first = entries[0]
    if pair.how is How.SPLIT:
        for name, entry, rows in zip(pair.folder, entries, pair.sizes, strict=True):
            if entry.shape != (rows, *first.shape[1:]):
                raise _misshapen(name, entry, str((rows, *first.shape[1:])))
            if entry.dtype != first.dtype:
                raise CheckpointError(
                    f"{name} is {entry.dtype} and {pair.folder[0]} is {first.dtype}: they form one tensor",
                    where=entry.file,
                    do="save the part in one dtype",
                )
        shape = (sum(pair.sizes), *first.shape[1:])
        return Planned(pair.single, first.dtype, shape, tuple(entries))
    if pair.how is How.TRANSPOSE:
        return _turned(pair.single, pair.folder[0], first)
    if pair.how is How.SWAP:
        return _swapped(pair.single, pair.folder[0], first)
    shape = first.shape
    if pair.how is How.SQUEEZE:
        if len(shape) not in (2, 4):
            raise _misshapen(pair.folder[0], first, "(out, in)")
        shape = (*shape[:2], 1, 1)
    return Planned(pair.single, first.dtype, shape, (first,))


def _turned(name: str, source: str, entry: Entry) -> Planned:
    if len(entry.shape) != 2:
        raise _misshapen(source, entry, "(rows, columns)")
    return Planned(name, entry.dtype, entry.shape[::-1], (entry,), turn=True)


def _swapped(name: str, source: str, entry: Entry) -> Planned:
    if not entry.shape or entry.shape[0] % 2:
        raise _misshapen(source, entry, "an even number of rows")
    first, second = _rows(entry, (entry.shape[0] // 2,) * 2)
    return Planned(name, entry.dtype, entry.shape, (second, first))


def _rows(entry: Entry, sizes: Shape) -> list[Entry]:
    """Pieces of a tensor along its first axis: each is one byte range."""
    row = entry.size // entry.shape[0] if math.prod(entry.shape) else 0
    ends = list(accumulate(sizes))
    return [
        Entry(
            entry.file,
            entry.dtype,
            (size, *entry.shape[1:]),
            entry.start + (end - size) * row,
            entry.start + end * row,
        )
        for size, end in zip(sizes, ends, strict=True)
    ]


def _misshapen(name: str, entry: Entry, expected: str) -> CheckpointError:
    return CheckpointError(
        f"{name} has the shape {entry.shape} instead of {expected}",
        where=entry.file,
        do="use the file as it was published",
    )
