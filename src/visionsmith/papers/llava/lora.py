"""Low-rank updates of the language model (Hu et al. 2021), by peft; and adapters of the public code, merged on reading.

A trained model is exported merged: nothing of the adapter is left, and it loads like any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionsmith.checkpoint import read_tensors
from visionsmith.errors import CheckpointError
from visionsmith.papers.llava.layouts import ours
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.llava.recipes import LoraConfig

__all__ = ["add_lora", "is_adapter", "merge_adapter", "merged"]

CONFIG, WEIGHTS, OTHERS = "adapter_config.json", "adapter_model", "non_lora_trainables"
_FACTOR = re.compile(r"\.lora_([AB])(?:\.default)?\.weight$")
_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def add_lora(llava: Llava, config: LoraConfig) -> None:
    """Give every linear layer of the language model but the head a low-rank update, which alone is to learn there."""
    from peft import LoraConfig as Settings
    from peft import inject_adapter_in_model

    settings = Settings(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(_LINEAR)
    )
    inject_adapter_in_model(settings, llava.language)


def merged(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A state dict with its low-rank updates added to the weights.

    Args:
        state: of a model that `add_lora` has changed.
        scale: alpha / rank.
    """
    factors = {name: value for name, value in state.items() if _FACTOR.search(name)}
    whole = {name.replace(".base_layer.", "."): value for name, value in state.items() if name not in factors}
    return _added(whole, factors, scale)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter as peft writes it."""
    return (folder / CONFIG).is_file()


def merge_adapter(llava: Llava, folder: Path) -> None:
    """Add the adapter of a folder to a model: low-rank updates of the language model, and the projector beside them.

    Args:
        llava: the model that the adapter was trained on.
        folder: adapter_config.json, adapter_model.safetensors, and non_lora_trainables.safetensors where the projector
            was trained.

    Raises:
        CheckpointError: a file is missing, is a pickle, or does not fit the model.
    """
    try:
        settings: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        scale = float(settings["lora_alpha"]) / int(settings["r"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"its {CONFIG} has no r and lora_alpha", where=folder, do="give the folder that peft wrote"
        ) from error
    if settings.get("use_rslora") or settings.get("use_dora") or settings.get("fan_in_fan_out"):
        raise CheckpointError(
            "its adapter is of another kind than LoRA",
            where=folder,
            do="merge it with peft, and give the whole model",
        )
    factors = {
        f"language.{name.removeprefix('base_model.model.')}": value
        for name, value in _read(folder, WEIGHTS).items()
    }
    others = ours(_read(folder, OTHERS)) if _has(folder, OTHERS) else {}
    state = _added({**llava.state_dict(), **_fitting(llava, others, folder)}, factors, scale, where=folder)
    llava.load_state_dict(state)


def _added(
    whole: dict[str, Tensor], factors: Mapping[str, Tensor], scale: float, *, where: Path | None = None
) -> dict[str, Tensor]:
    for name, first in factors.items():
        if (match := _FACTOR.search(name)) is None or match[1] != "A":
            continue
        stem = name[: match.start()]
        second = factors.get(name.replace(".lora_A.", ".lora_B."))
        weight = whole.get(f"{stem}.weight")
        if second is None or weight is None or weight.shape != (len(second), first.shape[1]):
            raise CheckpointError(
                f"its update of {stem} does not fit the model",
                where=where,
                do="give the model that it was trained on",
            )
        whole[f"{stem}.weight"] = (weight.float() + scale * second.float() @ first.float()).to(weight.dtype)
    return whole


def _fitting(llava: Llava, others: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    known = llava.state_dict()
    for name, value in others.items():
        if name not in known or known[name].shape != value.shape:
            raise CheckpointError(
                f"its {name} {tuple(value.shape)} does not fit the model",
                where=folder,
                do="give the model of its base",
            )
    return {name: value.to(known[name].dtype) for name, value in others.items()}


def _has(folder: Path, stem: str) -> bool:
    return any((folder / f"{stem}{ending}").is_file() for ending in (".safetensors", ".bin"))


def _read(folder: Path, stem: str) -> dict[str, Tensor]:
    if (file := folder / f"{stem}.safetensors").is_file():
        tensors: dict[str, torch.Tensor] = read_tensors(file)
        return tensors
    if (pickle := folder / f"{stem}.bin").is_file():
        raise CheckpointError(
            "is a pickle, which could run code when it is loaded",
            where=pickle,
            do=f"convert it once: visionsmith convert pickle {pickle} {folder / stem}.safetensors",
        )
    raise CheckpointError(f"has no {stem}.safetensors", where=folder, do="give the folder that peft wrote")
