"""The head of a safetensors file: names, dtypes, shapes and places, read without the weights.

The format: eight bytes with the length of a JSON text, the text, then the bytes of all tensors.
Source: the format's description in the safetensors repository.
"""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionsmith.errors import CheckpointError
from visionsmith.vet import is_pickle

__all__ = ["Entry", "Header", "Shape", "read_header"]

Shape = tuple[int, ...]

LONGEST = 100_000_000
"""Bytes of the longest head that the safetensors library reads."""

SIZES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of one element by dtype."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies."""

    file: Path
    dtype: str
    """As the format spells it, e.g. "F16"."""
    shape: Shape
    start: int
    """First byte, counted from the start of the file."""
    stop: int

    @property
    def size(self) -> int:
        """Bytes of all elements."""
        return self.stop - self.start


@dataclass(frozen=True)
class Header:
    """What a file says about its tensors."""

    path: Path
    entries: dict[str, Entry]
    metadata: dict[str, str]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes by name."""
        return {name: entry.shape for name, entry in self.entries.items()}


def read_header(path: Path) -> Header:
    """The head of a safetensors file; no tensor is read.

    Raises:
        CheckpointError: there is no such file, it is a pickle, a folder, no safetensors file or cut short.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            "is a folder, not a file",
            where=path,
            do="give one .safetensors file; `visionsmith convert to-file` makes one of a folder",
        )
    if not path.is_file():
        raise CheckpointError("no such file", where=path, do="check the path")
    if is_pickle(path):
        output = path.with_suffix(
            ".safetensors" if path.suffix != ".safetensors" else ".converted.safetensors"
        )
        command = f"visionsmith convert pickle {shlex.quote(str(path))} {shlex.quote(str(output))}"
        raise CheckpointError(
            "is a pickle, which could run code when it is loaded",
            where=path,
            do=f"convert it once: {command}",
        )
    content, base = _read_json(path)
    metadata = content.pop("__metadata__", None) or {}
    try:
        entries = {name: _entry(path, base, value) for name, value in content.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _not_safetensors(path) from error
    if not entries:
        raise CheckpointError("holds no tensors", where=path, do="give a checkpoint")
    described, found = max(entry.stop for entry in entries.values()), path.stat().st_size
    if described > found:
        raise CheckpointError(
            f"is cut short: {found:,} bytes where its head describes {described:,}",
            where=path,
            do="copy it again from its source",
        )
    return Header(path, entries, {str(key): str(value) for key, value in metadata.items()})


def _read_json(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON text of the head, and where the tensors begin."""
    with path.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= LONGEST:
            raise _not_safetensors(path)
        text = stream.read(length)
    if not text.startswith(b"{"):
        raise _not_safetensors(path)
    if len(text) < length:
        raise CheckpointError("is cut short within its head", where=path, do="copy it again from its source")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _not_safetensors(path) from error
    return content, 8 + length


def _entry(path: Path, base: int, value: dict[str, Any]) -> Entry:
    start, stop = (int(offset) for offset in value["data_offsets"])
    shape = tuple(int(size) for size in value["shape"])
    dtype = str(value["dtype"])
    if not 0 <= start <= stop or any(size < 0 for size in shape):
        raise ValueError(f"offsets {start} to {stop}")
    if dtype in SIZES and stop - start != math.prod(shape) * SIZES[dtype]:
        raise ValueError(f"{stop - start} bytes for {shape}")
    return Entry(path, dtype, shape, base + start, base + stop)


def _not_safetensors(path: Path) -> CheckpointError:
    return CheckpointError(
        "is not a safetensors file", where=path, do="give a .safetensors checkpoint, or copy it again"
    )
