"""Config, class names and weights of a transformers `MobileViTForImageClassification` folder, by the published names.

The files are read directly: no model of that library is built. There, query, key and value are three projections (here
one), and every part has another name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionsmith.errors import CheckpointError
from visionsmith.papers.mobilevit.config import MobileViTConfig
from visionsmith.papers.model_folder import read_config, read_weights

__all__ = ["class_names", "config_from_transformers", "read_transformers", "state_from_transformers"]

FIXED = {
    "model_type": "mobilevit",
    "num_channels": 3,
    "hidden_act": "silu",
    "output_stride": 32,
    "attention_probs_dropout_prob": 0.0,
    "layer_norm_eps": 1e-5,
    "qkv_bias": True,
}
"""Settings that have one value in every published classifier, and that library's default for it."""

KINDS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

Names = Iterator[tuple[str, str]]
"""Pairs: the name of a part here, and there."""


def read_transformers(folder: Path) -> tuple[MobileViTConfig, dict[str, Tensor]]:
    """Config and weights of a folder, under the published names.

    Raises:
        CheckpointError: there is no such model, it is no classifier, or its weights are a pickle.
    """
    values = read_config(folder)
    theirs = read_weights(folder)
    if "classifier.weight" not in theirs:
        raise CheckpointError(
            "holds no classifier", where=folder, do="give a MobileViTForImageClassification"
        )
    config = config_from_transformers(values, len(theirs["classifier.weight"]), where=folder)
    return config, state_from_transformers(theirs, config, where=folder)


def class_names(folder: Path) -> list[str]:
    """The names in a folder's config.json, in the order of the outputs; empty where it has none.

    Raises:
        CheckpointError: as `read_transformers`.
    """
    names = read_config(folder).get("id2label") or {}
    return [str(names[key]) for key in sorted(names, key=int)]


def config_from_transformers(values: Mapping[str, Any], classes: int, *, where: Path) -> MobileViTConfig:
    """The sizes in a `config.json`; what it leaves out has that library's defaults, the sizes of MobileViT-S.

    Raises:
        CheckpointError: a setting that this project's MobileViT does not have.
    """
    for key, needed in FIXED.items():
        if (found := values.get(key, needed)) != needed:
            raise CheckpointError(
                f"{key} is {found!r}, and a published MobileViT has {needed!r}",
                where=where,
                do="use the transformers library for this model",
            )
    try:
        stem, *channels, _ = values.get("neck_hidden_sizes", (16, 32, 64, 96, 128, 160, 640))
        one, two, three, four, five = channels
        first, second, third = values.get("hidden_sizes", (144, 192, 240))
        patch = int(values.get("patch_size", 2))
        return MobileViTConfig(
            stem=stem,
            channels=(one, two, three, four, five),
            expansion=_whole(values.get("expand_ratio", 4.0)),
            widths=(first, second, third),
            heads=values.get("num_attention_heads", 4),
            feedforward=_whole(values.get("mlp_ratio", 2.0)),
            patches=(patch, patch, patch),
            kernel=values.get("conv_kernel_size", 3),
            dropout=values.get("hidden_dropout_prob", 0.1),
            classes=classes,
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"its config.json has not the sizes of a MobileViT ({error})",
            where=where,
            do="give a folder that `save_pretrained` wrote",
        ) from error


def state_from_transformers(
    theirs: Mapping[str, Tensor], config: MobileViTConfig, *, where: Path | None = None
) -> dict[str, Tensor]:
    """A transformers state dict under the published names.

    Raises:
        CheckpointError: a weight is missing or left over.
    """
    remaining = dict(theirs)
    ours: dict[str, Tensor] = {}
    absent: list[str] = []

    def pick(name: str) -> Tensor:
        if name not in remaining:
            absent.append(name)
            return torch.empty(0)
        return remaining.pop(name)

    for here, there in _parts(config):
        kinds = [kind for kind in KINDS if f"{there}.{kind}" in theirs] or ["weight"]
        ours |= {f"{here}.{kind}": pick(f"{there}.{kind}") for kind in kinds}
    for here, there in _attentions(config):
        for kind in ("weight", "bias"):
            pieces = [pick(f"{there}.attention.{part}.{kind}") for part in ("query", "key", "value")]
            ours[f"{here}.qkv_proj.{kind}"] = torch.cat(pieces)
            ours[f"{here}.out_proj.{kind}"] = pick(f"{there}.output.dense.{kind}")
    if absent or remaining:
        some = ", ".join([*absent, *remaining][:3])
        raise CheckpointError(
            f"{len(absent)} weights are missing and {len(remaining)} are left over ({some}, ...)",
            where=where,
            do="give a complete MobileViTForImageClassification",
        )
    return ours


def _parts(config: MobileViTConfig) -> Names:
    """Every convolution, norm and linear layer but those of the attention."""
    yield from _convolution("conv_1", "mobilevit.conv_stem")
    encoder = "mobilevit.encoder.layer"
    yield from _residual("layer_1.0", f"{encoder}.0.layer.0")
    for number in range(3):
        yield from _residual(f"layer_2.{number}", f"{encoder}.1.layer.{number}")
    for stage in range(3):
        here, there = f"layer_{stage + 3}", f"{encoder}.{stage + 2}"
        yield from _residual(f"{here}.0", f"{there}.downsampling_layer")
        yield from _convolution(f"{here}.1.local_rep.conv_3x3", f"{there}.conv_kxk")
        yield f"{here}.1.local_rep.conv_1x1.block.conv", f"{there}.conv_1x1.convolution"
        yield from _convolution(f"{here}.1.conv_proj", f"{there}.conv_projection")
        yield from _convolution(f"{here}.1.fusion", f"{there}.fusion")
        yield f"{here}.1.global_rep.{config.depths[stage]}", f"{there}.layernorm"
        for layer in range(config.depths[stage]):
            ours, theirs = f"{here}.1.global_rep.{layer}", f"{there}.transformer.layer.{layer}"
            yield f"{ours}.pre_norm_mha.0", f"{theirs}.layernorm_before"
            yield f"{ours}.pre_norm_ffn.0", f"{theirs}.layernorm_after"
            yield f"{ours}.pre_norm_ffn.1", f"{theirs}.intermediate.dense"
            yield f"{ours}.pre_norm_ffn.4", f"{theirs}.output.dense"
    yield from _convolution("conv_1x1_exp", "mobilevit.conv_1x1_exp")
    yield "classifier.fc", "classifier"


def _attentions(config: MobileViTConfig) -> Names:
    for stage in range(3):
        for layer in range(config.depths[stage]):
            yield (
                f"layer_{stage + 3}.1.global_rep.{layer}.pre_norm_mha.1",
                f"mobilevit.encoder.layer.{stage + 2}.transformer.layer.{layer}.attention",
            )


def _residual(here: str, there: str) -> Names:
    for ours, theirs in (("exp_1x1", "expand_1x1"), ("conv_3x3", "conv_3x3"), ("red_1x1", "reduce_1x1")):
        yield from _convolution(f"{here}.block.{ours}", f"{there}.{theirs}")


def _convolution(here: str, there: str) -> Names:
    yield f"{here}.block.conv", f"{there}.convolution"
    yield f"{here}.block.norm", f"{there}.normalization"


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError(f"a factor of {value}")
    return int(value)
