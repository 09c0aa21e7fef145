"""Child process of `vet.convert_pickle`: the tensors of one pickle, written as safetensors.

    python -I unpickle.py INPUT OUTPUT CPU_SECONDS

The last line of its output is JSON: {"tensors": n, "notes": [...]}, or {"error": why}, or {"unwritten": why}.

`torch.save` files go through torch's weights-only loader. TorchScript archives, which that loader refuses,
are read by an unpickler that knows tensors and nothing else: a module of the archive becomes a bag of
attributes, and its code is not looked at. An audit hook forbids the process what neither needs.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.system",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
    "pty.",
    "shutil.",
    "ctypes.dlopen",
    "pickle.find_class",
)
WRAPPERS = ("state_dict", "model_state_dict", "model")
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class RefusedError(Exception):
    """The file asks for more than tensors, or is not what it says."""


class Bag:
    """A module of the archive: its attributes, none of its behaviour."""

    attributes: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state) if isinstance(state, dict) else {}


class TensorUnpickler(pickle.Unpickler):
    """Unpickles a TorchScript archive's `data.pkl`; every name that is not listed here is refused."""

    def __init__(self, stream: IO[bytes], archive: zipfile.ZipFile, root: str, most: int) -> None:
        super().__init__(stream)
        self.archive, self.root, self.most = archive, root, most
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """The harmless stand-in for a name of the archive."""
        if module == "__torch__" or module.startswith("__torch__."):
            return type("Bag", (Bag,), {})
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return _first
        raise RefusedError(f"it asks for '{module}.{name}', and only tensors are read")

    def persistent_load(self, pid: Any, /) -> Tensor:
        """One storage, as a flat tensor."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int):
            raise RefusedError("its tensors are stored in an unknown way")
        if key not in self.storages:
            self.storages[key] = self._read(str(key), dtype, count)
        return self.storages[key]

    def _read(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        entry = self.archive.getinfo(f"{self.root}data/{key}")
        if entry.file_size > self.most or entry.file_size < count * dtype.itemsize:
            raise RefusedError(f"storage '{key}' has not the size that it should have")
        if count == 0:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(self.archive.read(entry)), dtype=dtype, count=count)


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    # as_strided refuses what lies outside of the storage.
    return storage.as_strided(size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    return value


def read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by name, and notes on what was done to the names."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.split("/")[-1] == "constants.pkl" for name in names):
                return dict(_attributes(_read_torchscript(archive, names, path.stat().st_size))), []
    try:
        # Training files keep their script's settings beside the weights, in a class that holds values and does nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise RefusedError(
            f"it asks for '{asked[1]}', and only tensors are read"
            if asked
            else "it is not a file of torch.save"
        ) from error
    return _flatten(content)


def _read_torchscript(archive: zipfile.ZipFile, names: list[str], most: int) -> Any:
    data = next((name for name in names if name.split("/")[-1] == "data.pkl" and name.count("/") <= 1), None)
    if data is None:
        raise RefusedError("it is an archive without data.pkl")
    root = data[: -len("data.pkl")]
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise RefusedError("its numbers are not little-endian")
    if archive.getinfo(data).file_size > most:
        raise RefusedError("its data.pkl is larger than the whole file")
    with archive.open(data) as stream:
        return TensorUnpickler(stream, archive, root, most).load()


def _attributes(
    module: Any, prefix: str = "", seen: frozenset[int] = frozenset()
) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a module and of the modules in it, by dotted name."""
    if not isinstance(module, Bag) or id(module) in seen:
        return
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        else:
            yield from _attributes(value, f"{prefix}{name}.", seen | {id(module)})


def _flatten(content: Any) -> tuple[dict[str, Tensor], list[str]]:
    notes = []
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            others = ", ".join(str(key) for key in content if key != wrapper) or "nothing"
            notes.append(f"took what lay under '{wrapper}' and left out {others}")
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise RefusedError(f"it holds a {type(content).__name__}, not tensors by name")
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    _walk(content, "", tensors, left_out)
    if left_out:
        notes.append(f"left out {len(left_out)} values that are no tensors ({', '.join(left_out[:5])})")
    if tensors and all(name.startswith("module.") for name in tensors):
        notes.append("removed 'module.' from the names")
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors, notes


def _walk(content: Mapping[Any, Any], prefix: str, tensors: dict[str, Tensor], left_out: list[str]) -> None:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, Mapping):
            _walk(value, f"{name}.", tensors, left_out)
        else:
            left_out.append(name)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "it unfolds to far more memory than its size allows"
    first = str(error).strip().split("\n")[0].split(". ")[0][:120]
    return f"it is damaged, or no file of torch.save ({type(error).__name__}: {first})"


def _limit(size: int, seconds: int) -> None:
    """Bound memory and processor time, where the system can."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in ((resource.RLIMIT_DATA, 4 * 2**30 + 5 * size), (resource.RLIMIT_CPU, seconds)):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))


def _forbid(event: str, arguments: tuple[Any, ...]) -> None:
    writes = (
        event == "open"
        and isinstance(arguments[2], int)
        and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if writes or event.startswith(FORBIDDEN):
        raise RefusedError(f"reading it tried '{event}'")


def main(path: Path, output: Path, seconds: int) -> dict[str, Any]:
    """Convert; the report for the parent."""
    _limit(path.stat().st_size, seconds)
    sys.addaudithook(_forbid)
    try:
        tensors, notes = read(path)
        if not tensors:
            return {"error": "it holds no tensors"}
        if odd := [
            name for name, tensor in tensors.items() if tensor.layout != torch.strided or tensor.is_quantized
        ]:
            return {"error": f"'{odd[0]}' is sparse or quantised, which safetensors does not hold"}
        # Tensors that share memory are stored apart.
        tensors = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
    except RefusedError as error:
        return {"error": str(error)}
    except Exception as error:  # whatever a damaged or hostile file makes the readers raise
        return {"error": _reason(error)}
    try:
        save_file(tensors, output)
    except Exception as error:  # the compiled library raises its own kinds
        return {"unwritten": str(error)}
    return {"tensors": len(tensors), "notes": notes}


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))) + "\n")
