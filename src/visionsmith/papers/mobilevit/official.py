"""The ways in for weights of MobileViT made elsewhere, or by this project.

| source                                                   | function            |
|----------------------------------------------------------|---------------------|
| a state dict under the published names (cvnets)          | `from_official`     |
| a transformers folder (`MobileViTForImageClassification`) | `from_transformers` |
| any of these, a checkpoint, a bare `.safetensors`         | `load_any`          |

The published `.pt` files are pickles; `visionsmith convert official mobilevit` reads them without running them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.keys import reason_by_names
from visionsmith.nn.masters import load_masters
from visionsmith.papers.mobilevit.config import MobileViTConfig
from visionsmith.papers.mobilevit.model import MobileViT
from visionsmith.papers.mobilevit.transformers_layout import class_names, read_transformers
from visionsmith.vet import refuse_unsafe

__all__ = [
    "Shown",
    "companion_files",
    "config_from_state",
    "from_official",
    "from_transformers",
    "load_any",
    "shown_as",
]

CLASSES = "classes.json"
"""File of a converted checkpoint that holds the names of the classes, where its source had them."""


@dataclass(frozen=True)
class Shown:
    """How pictures are shown to a model, and what its answers are called; as published unless the source says more."""

    classes: tuple[str, ...]
    size: int = 256
    """Side, pixels."""
    resize: int | None = 288
    """Length of the shorter side before the centre is cut out, pixels; None: `size`."""


def config_from_state(state: Mapping[str, Tensor]) -> MobileViTConfig:
    """Sizes of a model from the shapes of its weights alone.

    Four heads and patches of 2 x 2, as in every published model: shapes do not show them.

    Raises:
        CheckpointError: a weight that shows a size is missing.
    """
    try:
        stem = len(state["conv_1.block.conv.weight"])
        one, two, three, four, five = (
            len(state[f"layer_{layer}.0.block.red_1x1.block.conv.weight"]) for layer in range(1, 6)
        )
        first, second, third = (
            len(state[f"layer_{layer}.1.local_rep.conv_1x1.block.conv.weight"]) for layer in (3, 4, 5)
        )
        two_deep, four_deep, three_deep = (_depth(state, layer) for layer in (3, 4, 5))
        hidden, inputs, *_ = state["layer_5.0.block.exp_1x1.block.conv.weight"].shape
        inner, width = state["layer_5.1.global_rep.0.pre_norm_ffn.1.weight"].shape
        return MobileViTConfig(
            stem=stem,
            channels=(one, two, three, four, five),
            expansion=round(hidden / inputs),
            widths=(first, second, third),
            depths=(two_deep, four_deep, three_deep),
            feedforward=inner // width,
            kernel=state["layer_5.1.fusion.block.conv.weight"].shape[-1],
            classes=len(state["classifier.fc.weight"]),
        )
    except KeyError as error:
        raise CheckpointError(
            f"the weights are not those of a MobileViT under the published names: there is no {error.args[0]}",
            do=_likely_reason(state),
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"the weights have not the dimensions of a MobileViT ({error})", do=_likely_reason(state)
        ) from error


def _depth(state: Mapping[str, Tensor], layer: int) -> int:
    pattern = re.compile(rf"layer_{layer}\.1\.global_rep\.(\d+)\.pre_norm_mha\.")
    found = {match[1] for key in state if (match := pattern.match(key))}
    if not found:
        raise KeyError(f"layer_{layer}.1.global_rep.0.pre_norm_mha.*")
    return len(found)


def from_official(state: Mapping[str, Tensor], config: MobileViTConfig | None = None) -> MobileViT:
    """A model with the weights of a state dict under the published names.

    Args:
        state: weights in any floating type; they become float32.
        config: sizes; None: those that the shapes show, with the published heads and patches.

    Raises:
        CheckpointError: names or shapes do not fit; says which and why that may be.
    """
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("the state dict holds more than tensors", do=_likely_reason(state))
    config = config_from_state(state) if config is None else config
    with torch.device("meta"):
        model = MobileViT(config)
    load_masters(model, state, otherwise=_likely_reason(state))
    return model


def from_transformers(folder: str | Path) -> MobileViT:
    """A model with the weights of a transformers folder (config.json, model.safetensors), read without that library.

    Raises:
        CheckpointError: there is no such model, or it is no classifier in safetensors.
    """
    config, state = read_transformers(Path(folder))
    return from_official(state, config)


def load_any(source: str | Path) -> MobileViT:
    """A model from whatever `source` is.

    Args:
        source: a checkpoint of this project, a transformers folder, or a `.safetensors` file under the published
            names.

    Raises:
        CheckpointError: it is none of these, is damaged, or is a pickle.
    """
    path = Path(source)
    if checkpoint.is_checkpoint(path):
        opened = checkpoint.read(path, paper="mobilevit")
        # A converted checkpoint holds the sizes alone, a trained one also how pictures are shown.
        sizes = opened.config.get("model", opened.config)
        config = decode(MobileViTConfig, sizes, where=path / "config.json")
        return from_official(opened.tensors(), config)
    if path.is_file():
        refuse_unsafe(path, paper="mobilevit")
        return from_official(checkpoint.read_tensors(path))
    if not path.is_dir():
        raise CheckpointError("no such checkpoint", where=path, do="give a checkpoint's folder")
    return from_transformers(path)


def shown_as(source: str | Path, classes: int) -> Shown:
    """How pictures are shown to the model of a source that `load_any` takes.

    Args:
        source: where the model came from.
        classes: how many it knows; where the source has no names they are "class 0", "class 1", ...

    Raises:
        CheckpointError: the source has another number of names.
    """
    path = Path(source)
    shown = Shown(classes=())
    if checkpoint.is_checkpoint(path):
        opened = checkpoint.read(path, paper="mobilevit", check=False)
        if "model" in opened.config:
            settings = {key: opened.config[key] for key in ("size", "resize") if key in opened.config}
            shown = Shown(classes=tuple(opened.config.get("classes", ())), **settings)
        elif (path / CLASSES).is_file():
            shown = Shown(classes=tuple(json.loads((path / CLASSES).read_text(encoding="utf-8"))))
    elif path.is_dir():
        shown = Shown(classes=tuple(class_names(path)))
    if not shown.classes:
        return Shown(classes=tuple(f"class {number}" for number in range(classes)))
    if len(shown.classes) != classes:
        raise CheckpointError(
            f"names {len(shown.classes)} classes, and its weights tell {classes} apart",
            where=path,
            do="copy it again from its source",
        )
    return shown


def companion_files(model: MobileViT, source: Path, tokenizer: Path | None) -> dict[str, bytes]:
    """What a converted checkpoint holds beside its weights: the names of the classes, where a folder has them.

    Raises:
        ConfigError: a tokenizer is given.
    """
    if tokenizer is not None:
        raise ConfigError("mobilevit reads no text", do="leave --tokenizer out")
    if not source.is_dir():
        return {}
    names = shown_as(source, model.config.classes).classes
    return {CLASSES: (json.dumps(names, ensure_ascii=False) + "\n").encode()}


def _likely_reason(state: Mapping[str, Tensor]) -> str:
    """What to do about a state dict that does not fit, judged by its names."""
    if (reason := reason_by_names(state)) is not None:
        return reason
    if any(name.startswith("mobilevit.") for name in state):
        return "these are transformers' names: give its folder instead, with config.json beside the weights"
    if any(name.startswith("stages.") for name in state):
        return "these are timm's names: give the published file, or a transformers folder"
    return "give the weights of a published MobileViT, or the config that they were made with"
