"""Config and weights of a transformers `CLIPModel` folder, put under OpenAI's names.

The files are read directly: no model of that library is built. There, query, key and value are three
projections (here one), projections are stored transposed, and `hidden_act` says which GELU the weights were
trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionsmith.errors import CheckpointError
from visionsmith.papers.clip.config import Activation, CLIPConfig, TextConfig, VisionTransformerConfig
from visionsmith.papers.model_folder import find_folder, read_config, read_weights

__all__ = ["config_from_transformers", "read_transformers", "state_from_transformers"]

# Left: the name here. Right: there.
TOWERS = {"transformer": "text_model.encoder.layers", "visual.transformer": "vision_model.encoder.layers"}
BLOCK = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
NORMS = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # spelt so there
    "visual.ln_post": "vision_model.post_layernorm",
}
PLAIN = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}


def read_transformers(source: str | Path, *, download: bool = False) -> tuple[CLIPConfig, dict[str, Tensor]]:
    """Config and weights, under OpenAI's names, of a folder or hub id. See `official.from_transformers`."""
    folder = find_folder(source, download=download)
    values = read_config(folder, "clip")
    config = config_from_transformers(values, where=folder / "config.json")
    return config, state_from_transformers(read_weights(folder), config, where=folder)


def config_from_transformers(values: Mapping[str, Any], *, where: Path) -> CLIPConfig:
    """The sizes in a `config.json`; what it leaves out has that library's defaults, the sizes of ViT-B/32.

    Raises:
        CheckpointError: a setting that this project's CLIP does not have.
    """
    text, vision = values.get("text_config") or {}, values.get("vision_config") or {}
    for name, part, width in (("text_config", text, 512), ("vision_config", vision, 768)):
        width = part.get("hidden_size", width)
        for key, needed, default in (
            ("intermediate_size", 4 * width, 2048 if part is text else 3072),
            ("layer_norm_eps", 1e-5, 1e-5),
            ("num_channels", 3, 3),
        ):
            if (found := part.get(key, default)) != needed:
                raise CheckpointError(
                    f"{name}.{key} is {found}, and a published CLIP has {needed}",
                    where=where,
                    do="use the transformers library for this model",
                )
    vocab_size = text.get("vocab_size", 49408)
    return CLIPConfig(
        embed_dim=values.get("projection_dim", 512),
        text=TextConfig(
            vocab_size=vocab_size,
            context_length=text.get("max_position_embeddings", 77),
            width=text.get("hidden_size", 512),
            heads=text.get("num_attention_heads", 8),
            layers=text.get("num_hidden_layers", 12),
            activation=_activation(text, where),
            end_token=_end_token(text.get("eos_token_id", 49407), vocab_size),
        ),
        vision=VisionTransformerConfig(
            image_size=_side(vision.get("image_size", 224), where),
            patch_size=_side(vision.get("patch_size", 32), where),
            width=vision.get("hidden_size", 768),
            heads=vision.get("num_attention_heads", 12),
            layers=vision.get("num_hidden_layers", 12),
            activation=_activation(vision, where),
        ),
    )


def state_from_transformers(
    theirs: Mapping[str, Tensor], config: CLIPConfig, *, where: Path | None = None
) -> dict[str, Tensor]:
    """A transformers state dict under OpenAI's names.

    Raises:
        CheckpointError: a weight is missing or left over.
    """
    remaining = {name: tensor for name, tensor in theirs.items() if not name.endswith("position_ids")}
    absent: list[str] = []

    def pick(name: str) -> Tensor:
        if name not in remaining:
            absent.append(name)
            return torch.empty(0)
        return remaining.pop(name)

    ours = {here: pick(there) for here, there in PLAIN.items()}
    ours |= {here: pick(there).T for here, there in TRANSPOSED.items()}
    for here, there in NORMS.items():
        ours |= {f"{here}.{kind}": pick(f"{there}.{kind}") for kind in ("weight", "bias")}
    for (tower, their_tower), layers in zip(
        TOWERS.items(), (config.text.layers, config.vision.layers), strict=True
    ):
        assert isinstance(layers, int), "transformers' CLIP has no ResNet tower"
        for layer in range(layers):
            block, their_block = f"{tower}.resblocks.{layer}", f"{their_tower}.{layer}"
            for kind in ("weight", "bias"):
                ours[f"{block}.attn.in_proj_{kind}"] = torch.cat(
                    [pick(f"{their_block}.self_attn.{part}_proj.{kind}") for part in "qkv"]
                )
                ours |= {f"{block}.{a}.{kind}": pick(f"{their_block}.{b}.{kind}") for a, b in BLOCK.items()}
    if absent or remaining:
        some = ", ".join([*absent, *remaining][:3])
        raise CheckpointError(
            f"{len(absent)} weights are missing and {len(remaining)} are left over ({some}, ...)",
            where=where,
            do="give a complete CLIPModel, with both towers and both projections",
        )
    return ours


def _activation(part: Mapping[str, Any], where: Path) -> Activation:
    name = part.get("hidden_act", "quick_gelu")
    if name not in ("quick_gelu", "gelu"):
        raise CheckpointError(
            f"hidden_act is '{name}', and CLIP knows quick_gelu and gelu",
            where=where,
            do="use the transformers library",
        )
    activation: Activation = name
    return activation


def _end_token(eos: int | list[int] | None, vocab_size: int) -> int | None:
    # 2 was written by old releases for every model; that library reads it as the published rule, and so it is
    # here. An id outside the vocabulary can not occur.
    eos = eos[0] if isinstance(eos, list) else eos
    return None if eos is None or eos == 2 or eos >= vocab_size else eos


def _side(value: int | list[int], where: Path) -> int:
    sides = {value} if isinstance(value, int) else set(value)
    if len(sides) != 1:
        raise CheckpointError(
            f"images or patches of {value} are not square", where=where, do="give a published CLIP"
        )
    return sides.pop()
