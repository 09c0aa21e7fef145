"""Reading a diffusers folder as data: its model, settings, and where its tensors lie."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from visionsmith.errors import CheckpointError
from visionsmith.single_file.config_unet import per_level
from visionsmith.single_file.header import Entry, read_header
from visionsmith.single_file.layouts import PIPELINES, Family, Kind, Task, pairs_of
from visionsmith.single_file.pairs import Pair

__all__ = ["find_family", "read_json", "read_pairs", "read_part"]


def find_family(folder: Path) -> tuple[Family, Task, list[str]]:
    """Which published model a folder is, and why.

    Raises:
        CheckpointError: it is no pipeline folder, or of no known model.
    """
    if not (folder / "model_index.json").is_file():
        raise CheckpointError(
            "is no folder of a diffusers pipeline: it has no model_index.json",
            where=folder,
            do="give a folder with model_index.json, unet/ or transformer/, vae/ and so on",
        )
    flux = (folder / "transformer" / "config.json").is_file()
    family, task, why = _flux(folder) if flux else _stable_diffusion(folder)
    if (family, task) not in PIPELINES:
        raise CheckpointError(f"is {family} for {task}, which no pipeline of diffusers runs", where=folder)
    return family, task, why


def _stable_diffusion(folder: Path) -> tuple[Family, Task, list[str]]:
    if not (folder / "unet" / "config.json").is_file():
        raise CheckpointError("has neither unet/config.json nor transformer/config.json", where=folder)
    config = read_json(folder / "unet" / "config.json")
    tasks = {4: Task.GENERATE, 9: Task.INPAINT, 8: Task.EDIT}
    task = tasks.get(config.get("in_channels", 4))
    if config.get("_class_name") != "UNet2DConditionModel" or task is None:
        raise CheckpointError(
            f"holds a {config.get('_class_name')} with {config.get('in_channels')} input channels",
            where=folder / "unet",
            do="give a folder of SD 1, SD 2, SDXL, its refiner or Flux 1",
        )
    why = [f"the UNet has {config.get('in_channels', 4)} input channels ({task})"]
    if config.get("addition_embed_type") == "text_time":
        if (folder / "text_encoder" / "config.json").is_file():
            return (
                Family.SDXL,
                task,
                [*why, "it takes sizes and pooled text, and there are two text encoders"],
            )
        refiner = (
            config.get("cross_attention_dim") == 1280 or (folder / "text_encoder_2" / "config.json").is_file()
        )
        which = "OpenCLIP is the only text encoder" if refiner else "there is no text encoder"
        return (
            (Family.REFINER if refiner else Family.SDXL),
            task,
            [*why, f"it takes sizes and pooled text; {which}"],
        )
    if config.get("use_linear_projection"):
        return Family.SD2, task, [*why, "the UNet's transformers lie between linear layers"]
    return Family.SD1, task, [*why, "the UNet's transformers lie between 1x1 convolutions"]


def read_part(folder: Path, kind: Kind, variant: str | None) -> tuple[dict[str, Any], dict[str, Entry]]:
    """A part's settings and its tensors by name.

    Args:
        folder: of the part.
        kind: what it must be.
        variant: of the weights; None: those without.

    Raises:
        CheckpointError: it is another kind of part, or its weights are missing or a pickle.
    """
    config = read_json(folder / "config.json")
    stated = config.get("_class_name") or next(iter(config.get("architectures") or [kind.class_name]))
    if stated != kind.class_name:
        raise CheckpointError(
            f"holds a {stated} where a {kind.class_name} was expected",
            where=folder,
            do="give a folder of one model",
        )
    return config, _weights(folder, kind.weights, variant)


def read_pairs(folder: Path, kind: Kind, config: dict[str, Any]) -> list[Pair]:
    """All names of a part with the settings of its config.json.

    Raises:
        CheckpointError: settings are missing, or single files have no names for such a part.
    """
    try:
        return pairs_of(kind, per_level(config) if kind is Kind.UNET else config)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=folder, do=error.do) from error
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"its config.json does not say what the names depend on ({error})",
            where=folder,
            do="copy it again",
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot be read ({error})", where=path, do="copy it again") from error
    if not isinstance(values, dict):
        raise CheckpointError("holds no mapping", where=path, do="copy it again")
    return values


def _flux(folder: Path) -> tuple[Family, Task, list[str]]:
    place = folder / "transformer"
    config = read_json(place / "config.json")
    if config.get("_class_name") != "FluxTransformer2DModel":
        raise CheckpointError(
            f"holds a {config.get('_class_name')}",
            where=place,
            do="give a folder of SD 1, SD 2, SDXL, its refiner or Flux 1",
        )
    dev = bool(config.get("guidance_embeds"))
    inputs = config.get("in_channels", 64)
    task = {1: Task.GENERATE, 2: Task.CONTROL, 6: Task.INPAINT}.get(
        inputs // (config.get("out_channels") or inputs)
    )
    why = [f"its transformer is Flux's and takes {'the' if dev else 'no'} guidance as input"]
    return (Family.FLUX_DEV if dev else Family.FLUX_SCHNELL), task or Task.GENERATE, why


def _weights(folder: Path, stem: str, variant: str | None) -> dict[str, Entry]:
    ending = f".{variant}" if variant else ""
    if (single := folder / f"{stem}{ending}.safetensors").is_file():
        return read_header(single).entries
    if (index := folder / f"{stem}.safetensors.index{ending}.json").is_file():
        table = read_json(index).get("weight_map")
        if not isinstance(table, dict):
            raise CheckpointError("is not an index of shards", where=index, do="copy it again")
        # A name from a file is not trusted to stay in the folder.
        files = sorted({Path(str(file)).name for file in table.values()})
        return {name: entry for file in files for name, entry in read_header(folder / file).entries.items()}
    if found := sorted(folder.glob(f"{stem}.*.safetensors")):
        other = found[0].name.removeprefix(f"{stem}.").removesuffix(".safetensors")
        raise CheckpointError(
            f"has no {stem}{ending}.safetensors but {found[0].name}",
            where=folder,
            do=f"give --variant {other}",
        )
    if pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.ckpt"), *folder.glob("*.pt")]):
        target = shlex.quote(str(folder / f"{stem}.safetensors"))
        raise CheckpointError(
            "holds its weights only as a pickle, which could run code when it is loaded",
            where=folder,
            do=f"convert it once: visionsmith convert pickle {shlex.quote(str(pickles[0]))} {target}",
        )
    raise CheckpointError(f"has no {stem}{ending}.safetensors", where=folder, do="copy the part's weights")
