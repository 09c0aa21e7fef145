"""One checkpoint format: a folder of safetensors and JSON with a manifest of SHA-256 sums.

    CHECKPOINT/
      config.json         {"paper": "clip", "config": {...}}: what rebuilds the model
      model.safetensors   the weights
      tokenizer.json, card.json, ...   whatever else the paper needs
      manifest.json       size and SHA-256 of every other file; written last

A folder appears whole or not at all: it is written under a temporary name, synced to disk and renamed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionsmith.durable import replace_folder, sync_folder, write_synced
from visionsmith.errors import CheckpointError, OutputError

__all__ = ["Checkpoint", "is_checkpoint", "read", "read_tensors", "verify", "write", "write_folder"]

MANIFEST = "manifest.json"
CONFIG = "config.json"
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: its folder, the paper it belongs to and that paper's plain config."""

    path: Path
    paper: str
    config: dict[str, Any]

    def tensors(self, name: str = MODEL) -> dict[str, Any]:
        """The tensors of one file of the checkpoint, on the CPU."""
        return read_tensors(self.path / name)


def write(
    path: Path,
    *,
    paper: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model checkpoint.

    Args:
        path: the folder to make; an existing checkpoint there is replaced only once the new one is whole.
        paper: name of the paper's folder, e.g. "clip".
        config: plain values that rebuild the model.
        tensors: state dict; stored contiguous, in the dtype given.
        files: further files by name.
    """
    from safetensors.torch import save

    payload = {CONFIG: _json({"paper": paper, "config": dict(config)}), **(files or {})}
    payload[MODEL] = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    write_folder(path, payload)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` and their manifest as one folder that appears whole or not at all.

    Raises:
        OutputError: the place cannot be written, is full, or holds something that is not a checkpoint.
    """
    path = Path(path)
    if path.exists() and not (path / MANIFEST).exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError("exists and is not a checkpoint", where=path, do="choose another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            manifest = {}
            for name, content in files.items():
                write_synced(temporary / name, content)
                manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            write_synced(temporary / MANIFEST, _json({"format": 1, "files": manifest}))
            temporary.chmod(0o755)
            sync_folder(temporary)
            replace_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            do="free some space or choose another folder",
        ) from error


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a folder in this format (complete or damaged)."""
    return (path / MANIFEST).is_file()


def read(path: Path, *, paper: str | None = None, check: bool = True) -> Checkpoint:
    """Open a checkpoint.

    Args:
        path: its folder.
        paper: refuse a checkpoint of any other paper.
        check: compare every file with the manifest first.

    Raises:
        CheckpointError: it is missing, damaged, or belongs to another paper.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError("no such checkpoint", where=path, do="give the folder of a trained model")
    if not is_checkpoint(path):
        raise CheckpointError(
            f"is not a checkpoint (it has no {MANIFEST})",
            where=path,
            do="give a folder that `visionsmith train` or `visionsmith convert` wrote",
        )
    if check and (damage := verify(path)):
        raise CheckpointError(
            f"is damaged: {damage}", where=path, do="use an older checkpoint or copy it again"
        )
    try:
        content = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        checkpoint = Checkpoint(path=path, paper=content["paper"], config=content["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"its {CONFIG} cannot be read ({error})", where=path) from error
    if paper is not None and checkpoint.paper != paper:
        raise CheckpointError(
            f"holds a model of '{checkpoint.paper}', not of '{paper}'",
            where=path,
            do=f"give a '{paper}' checkpoint",
        )
    return checkpoint


def verify(path: Path) -> str | None:
    """The first damage found in a checkpoint folder, in words, or None when every file is as written."""
    try:
        entries = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, entry in entries.items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes where {entry['bytes']} were written"
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
                    return f"{name} has changed since it was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None


def read_tensors(path: Path) -> dict[str, Any]:
    """All tensors of a safetensors file, on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError("no such file", where=path) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"is not a readable safetensors file ({error})", where=path, do="copy it again from its source"
        ) from error
    return tensors


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
