"""Writing a safetensors file piece by piece: memory for one block, or for one tensor to be transposed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

from visionsmith.errors import CheckpointError
from visionsmith.single_file.header import Entry
from visionsmith.single_file.pairs import Planned

__all__ = ["write_tensors"]

BLOCK = 8 * 2**20


def write_tensors(path: Path, tensors: Iterable[Planned], metadata: Mapping[str, str]) -> None:
    """Write tensors that lie in other files, and wait until they are on disk.

    Args:
        path: the file to make.
        tensors: what to write; sorted as the safetensors library does, so that every element is aligned.
        metadata: texts to keep in the head.
    """
    ordered = sorted(tensors, key=lambda one: (-_width(one), one.name))
    head: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for one in ordered:
        head[one.name] = {
            "dtype": one.dtype,
            "shape": list(one.shape),
            "data_offsets": [place, place + one.size],
        }
        place += one.size
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream, ExitStack() as opened:
        stream.write(len(text).to_bytes(8, "little") + text)
        handles: dict[Path, BinaryIO] = {}
        for one in ordered:
            for source in one.sources:
                if source.file not in handles:
                    handles[source.file] = opened.enter_context(source.file.open("rb"))
                _copy(handles[source.file], source, stream, turn=one.turn)
        stream.flush()
        os.fsync(stream.fileno())


def _width(tensor: Planned) -> int:
    """Bytes of one element."""
    return tensor.size // max(math.prod(tensor.shape), 1)


def _copy(source: BinaryIO, entry: Entry, target: BinaryIO, *, turn: bool) -> None:
    source.seek(entry.start)
    if turn:
        width = entry.size // max(math.prod(entry.shape), 1)
        # Elements without a meaning (V2 is any two bytes): numpy has no bfloat16.
        matrix = np.frombuffer(_read(source, entry.size, entry.file), dtype=f"V{width}").reshape(entry.shape)
        target.write(np.ascontiguousarray(matrix.T).tobytes())
        return
    left = entry.size
    while left:
        block = _read(source, min(left, BLOCK), entry.file)
        target.write(block)
        left -= len(block)


def _read(source: BinaryIO, size: int, path: Path) -> bytes:
    block = source.read(size)
    if len(block) != size:
        raise CheckpointError("changed while it was read", where=path, do="start the conversion again")
    return block
