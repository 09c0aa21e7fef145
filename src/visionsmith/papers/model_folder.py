"""Reading a folder that `save_pretrained` of transformers or diffusers wrote: its config and its weights.

The files are read directly, as data: no class that a folder names is imported, no pickle is opened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from visionsmith.checkpoint import read_tensors
from visionsmith.errors import CheckpointError

__all__ = ["find_folder", "find_pipeline", "pipeline_kind", "read_config", "read_weights"]

FILES = [
    "config.json",
    "*/config.json",
    "*.safetensors",
    "*.index.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
]
INDEX = "model_index.json"
"""What a pipeline's folder has, and a model's has not."""
PIPELINE_FILES = [INDEX, "*/*.json", "*/*.safetensors", "*/merges.txt", "*/*.model"]
"""Of a pipeline: not the same weights again in one file beside its folders."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def find_folder(source: str | Path, *, download: bool = False, files: Sequence[str] = tuple(FILES)) -> Path:
    """The folder that a path or hub id stands for; a hub id is looked up in the local cache.

    Args:
        source: a folder, or an id like "openai/clip-vit-base-patch32".
        download: whether what the cache lacks may be fetched.
        files: patterns of what is fetched.

    Raises:
        CheckpointError: there is none, or it cannot be fetched.
    """
    if (folder := Path(source)).is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), allow_patterns=[*files], local_files_only=not download))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise CheckpointError(
            "is neither a file nor a folder, nor a hub id in the local cache",
            where=str(source),
            do="check the path, or allow the download of a hub id (download=True)",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot be downloaded ({reason})", where=str(source), do="check the id"
        ) from error


def find_pipeline(source: str | Path, kind: str, parts: Sequence[str], *, download: bool = False) -> Path:
    """The folder of a pipeline of diffusers, its weights all safetensors; see `find_folder`.

    Args:
        source: a folder or a hub id.
        kind: class of the pipeline.
        parts: its subfolders that have weights.
        download: whether what the cache lacks may be fetched.

    Raises:
        CheckpointError: it is another kind of model, or a part has no weights, or has them as a pickle only.
    """
    folder = find_folder(source, download=download, files=PIPELINE_FILES)
    found = _class_name(folder)
    if found != kind:
        raise CheckpointError(f"holds a {found}, not a {kind}", where=folder, do=f"give a {kind}")
    for part in parts:
        if not any((folder / part).glob("*.safetensors")):
            pickled = any(file for pattern in PICKLES for file in (folder / part).glob(pattern))
            reason = (
                "holds its weights only as a pickle, which could run code" if pickled else "has no weights"
            )
            raise CheckpointError(
                f"its {part} {reason}", where=folder, do="give a folder of safetensors files"
            )
    return folder


def pipeline_kind(source: str | Path, *, download: bool = False) -> str | None:
    """The class of the pipeline that a folder or hub id holds, before its weights are fetched; None: it holds none.

    Raises:
        CheckpointError: there is no such folder, or it cannot be fetched.
    """
    folder = find_folder(source, download=download, files=[INDEX])
    return _class_name(folder) if (folder / INDEX).is_file() else None


def _class_name(folder: Path) -> str:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return str(index["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"is neither a checkpoint nor a folder of diffusers (its {INDEX}: {error})",
            where=folder,
            do="give the folder of a trained model, or one that a pipeline's `save_pretrained` wrote",
        ) from error


def read_config(folder: Path, *types: str) -> dict[str, Any]:
    """The values of a folder's `config.json`.

    Args:
        folder: as `save_pretrained` writes.
        types: what its `model_type` may be; none: anything.

    Raises:
        CheckpointError: there is none, it cannot be read, or it is another model's.
    """
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"is not a transformers folder: its config.json cannot be read ({error})",
            where=folder,
            do="give a folder that `save_pretrained` wrote",
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            "is not a transformers folder: its config.json holds no mapping",
            where=folder,
            do="give a folder that `save_pretrained` wrote",
        )
    if types and values.get("model_type") not in types:
        raise CheckpointError(
            f"holds a model of type '{values.get('model_type')}', not '{' or '.join(types)}'",
            where=folder,
            do=f"give a folder of that type: {', '.join(types)}",
        )
    return values


def read_weights(folder: Path, *, names: Sequence[str] = ("model",)) -> dict[str, Tensor]:
    """All tensors of a folder, from one file or from shards.

    Args:
        folder: as `save_pretrained` writes.
        names: what the file may be called, without ".safetensors"; diffusers says "diffusion_pytorch_model".

    Raises:
        CheckpointError: there are none, they are a pickle, or a file cannot be read.
    """
    for name in names:
        if (single := folder / f"{name}.safetensors").is_file():
            return read_tensors(single)
        if (index := folder / f"{name}.safetensors.index.json").is_file():
            return _read_shards(folder, index)
    pickles = sorted(file for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
    if pickles:
        command = f"visionsmith convert pickle {pickles[0]} {folder / names[0]}.safetensors"
        raise CheckpointError(
            "holds its weights only as a pickle, which could run code when it is loaded",
            where=folder,
            do=f"convert it once: {command}",
        )
    raise CheckpointError(
        f"has no {names[0]}.safetensors", where=folder, do="give a folder that `save_pretrained` wrote"
    )


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    try:
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError("is not an index of shards", where=index, do="copy it again") from error
    # A name from a file is not trusted to stay in the folder.
    return {key: tensor for file in files for key, tensor in read_tensors(folder / Path(file).name).items()}
