"""What an ONNX file says of itself, read in plain Python before a network library sees it.

The few fields that matter of ModelProto (onnx.proto, ONNX 1.x): names, types and shapes of the inputs and
outputs, and the files beside it that hold weights. Weights are stepped over, not read; but their lengths must
fit their shapes, and names must be text, because OpenCV crashes on what does not and does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from visionsmith.errors import CheckpointError

__all__ = ["OnnxHeader", "TensorInfo", "read_onnx_header"]

_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
"""TensorProto.DataType, those that NumPy or this project has a name for."""

_BYTES = {"bool": 1, "bfloat16": 2} | {
    f"{kind}{bits}": bits // 8 for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)
}
"""Width of a number of each type."""

Field = int | memoryview


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the file declares it."""

    name: str
    """Its name in the graph."""
    dtype: str
    """As NumPy spells it."""
    shape: tuple[int | None, ...] | None
    """Its dimensions, None where one is free; None when nothing is said."""

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else " x ".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.dtype} {sizes or 'scalar'}"


@dataclass(frozen=True)
class OnnxHeader:
    """Inputs and outputs of a network, and the files beside it that it reads."""

    inputs: tuple[TensorInfo, ...]
    """What it must be given; constants are not counted."""
    outputs: tuple[TensorInfo, ...]
    """What it gives."""
    files: frozenset[str]
    """Where weights lie outside the file itself, as written in it."""


def read_onnx_header(data: bytes, *, where: str | Path | None = None) -> OnnxHeader:
    """Inputs, outputs and outside files of an ONNX network.

    Args:
        data: the file's content.
        where: what to name in an error.

    Raises:
        CheckpointError: the content is no ONNX network.
    """
    try:
        graph = next((value for key, value in _fields(memoryview(data)) if key == 7), None)
        if not isinstance(graph, memoryview):
            raise ValueError("no graph in it")
        inputs, outputs = [], []
        constants: set[str] = set()
        files: set[str] = set()
        for key, value in _messages(graph):
            if key == 1:
                _check_node(value)
            elif key == 5:
                name, outside = _initializer(value)
                constants.add(name)
                files |= outside
            elif key == 11:
                inputs.append(_tensor(value))
            elif key == 12:
                outputs.append(_tensor(value))
    except ValueError as error:
        raise CheckpointError(f"is no ONNX network ({error})", where=where, do=_advice(data)) from error
    needed = tuple(tensor for tensor in inputs if tensor.name not in constants)
    return OnnxHeader(needed, tuple(outputs), frozenset(files))


def _advice(data: bytes) -> str:
    if data.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself with `git lfs pull`"
    return "copy it again, or export the network with torch.onnx.export"


def _tensor(message: memoryview) -> TensorInfo:
    """A ValueInfoProto."""
    name, dtype, shape = "", "unknown", None
    for key, value in _fields(message):
        if key == 1:
            name = _text(value)
        elif key == 2 and isinstance(value, memoryview):
            for kind, tensor in _messages(value):
                if kind != 1:
                    continue  # a sequence, map or sparse tensor
                for part, content in _fields(tensor):
                    if part == 1 and isinstance(content, int):
                        dtype = _TYPES.get(content, f"type {content}")
                    elif part == 2 and isinstance(content, memoryview):
                        shape = tuple(_dimension(one) for _, one in _messages(content))
    return TensorInfo(name, dtype, shape)


def _dimension(message: memoryview) -> int | None:
    sizes = [value for key, value in _fields(message) if key == 1 and isinstance(value, int)]
    # Some exporters write 0 or -1 for a dimension that is free.
    return sizes[0] if sizes and 0 < sizes[0] < 2**63 else None


def _check_node(message: memoryview) -> None:
    """A NodeProto: its inputs, outputs, name, operation and domain are text."""
    for key, value in _fields(message):
        if key in (1, 2, 3, 4, 7):
            _text(value)


def _initializer(message: memoryview) -> tuple[str, frozenset[str]]:
    """Name of a TensorProto, and the file outside that it lies in; its length must fit its shape."""
    name, files, kind, count, length = "", set[str](), 0, 1, None
    for key, value in _fields(message):
        if key == 1:
            # Dimensions come one by one, or packed into one field.
            for size in [value] if isinstance(value, int) else _packed(value):
                count *= size
        elif key == 2 and isinstance(value, int):
            kind = value
        elif key == 8:
            name = _text(value)
        elif key == 9 and isinstance(value, memoryview):
            length = len(value)
        elif key == 13 and isinstance(value, memoryview):
            entry = {part: _text(content) for part, content in _fields(value)}
            if entry.get(1) == "location":
                files.add(entry.get(2, ""))
    wide = _BYTES.get(_TYPES.get(kind, ""))
    if length is not None and not files and wide is not None and length != count * wide:
        raise ValueError(f"weights '{name}' hold {length:,} bytes where their shape has {count * wide:,}")
    return name, frozenset(files)


def _packed(message: memoryview) -> Iterator[int]:
    place = 0
    while place < len(message):
        number, place = _varint(message, place)
        yield number


def _text(value: Field) -> str:
    if not isinstance(value, memoryview):
        raise ValueError("a name that is a number")
    return bytes(value).decode("utf-8")


def _messages(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that have a length: texts, bytes and messages."""
    for key, value in _fields(message):
        if isinstance(value, memoryview):
            yield key, value


def _fields(message: memoryview) -> Iterator[tuple[int, Field]]:
    """Number and content of each field of a protocol-buffer message.

    Raises:
        ValueError: it ends too early, or is no such message.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        key, kind = tag >> 3, tag & 7
        if key == 0:
            raise ValueError(f"byte {place} begins no field")
        if kind == 0:
            number, place = _varint(message, place)
            yield key, number
            continue
        if kind == 2:
            length, place = _varint(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"byte {place} begins no field")
        if place + length > len(message):
            raise ValueError("it ends too early")
        yield key, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends too early")
        byte = message[place]
        number |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return number, place
    raise ValueError("a number without end")
