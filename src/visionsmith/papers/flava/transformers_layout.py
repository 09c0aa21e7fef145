"""Config and weights of transformers' FLAVA folders, `facebook/flava-full` among them; its names are the names here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from visionsmith.errors import CheckpointError
from visionsmith.papers.flava.config import (
    CodebookConfig,
    FlavaConfig,
    ImageConfig,
    MultimodalConfig,
    TextConfig,
)

__all__ = ["codebook_config", "config_from_transformers", "plain_names"]

HEADS = ("mim_head", "mlm_head", "mmm_image_head", "mmm_text_head")


def config_from_transformers(values: Mapping[str, Any], *, where: Path | None = None) -> FlavaConfig:
    """The sizes in a `config.json` of type "flava"; what it leaves out has the published size.

    Raises:
        CheckpointError: a setting that this project's FLAVA does not have.
    """
    image, text, multimodal = (
        dict(values.get(f"{name}_config") or {}) for name in ("image", "text", "multimodal")
    )
    for name, part in (("image_config", image), ("text_config", text), ("multimodal_config", multimodal)):
        for key, needed in (("hidden_act", "gelu"), ("qkv_bias", True), ("use_cls_token", True)):
            if (found := part.get(key, needed)) != needed:
                raise CheckpointError(
                    f"{name}.{key} is {found}, and a published FLAVA has {needed}",
                    where=where,
                    do="use the transformers library for this model",
                )
    width = image.get("hidden_size", 768)
    if len({width, text.get("hidden_size", 768), multimodal.get("hidden_size", 768)}) > 1:
        raise CheckpointError(
            "its encoders differ in width, which the heads do not allow",
            where=where,
            do="give a published FLAVA",
        )
    codebook = codebook_config(dict(values.get("image_codebook_config") or {}))
    if codebook.codes != image.get("vocab_size", 8192):
        raise CheckpointError(
            f"its codebook has {codebook.codes} codes and its image heads {image.get('vocab_size', 8192)}",
            where=where,
            do="give a folder whose two agree",
        )
    return FlavaConfig(
        image=ImageConfig(
            image_size=_side(image.get("image_size", 224), where),
            patch_size=_side(image.get("patch_size", 16), where),
            **_layers(image, 12),
        ),
        text=TextConfig(
            vocab_size=text.get("vocab_size", 30522),
            context_length=text.get("max_position_embeddings", 512),
            **_layers(text, 12),
        ),
        multimodal=MultimodalConfig(**_layers(multimodal, 6)),
        codebook=codebook,
        embed_dim=values.get("projection_dim", 768),
    )


def codebook_config(values: Mapping[str, Any]) -> CodebookConfig:
    """The sizes in a `config.json` of type "flava_image_codebook", or in that part of a FLAVA's."""
    return CodebookConfig(
        codes=values.get("vocab_size", 8192),
        width=values.get("hidden_size", 256),
        blocks=values.get("num_blocks_per_group", 2),
    )


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without what is there twice, or is no weight: second names of biases, and numbers of positions."""
    second = {f"{head}.bias": f"{head}.decoder.bias" for head in HEADS}
    kept = {
        name: tensor
        for name, tensor in state.items()
        if name not in second and not name.endswith(("position_ids", "token_type_ids"))
    }
    # A file may hold the one name or the other.
    for name, plain in second.items():
        if name in state and plain not in state:
            kept[plain] = state[name]
    return kept


def _layers(part: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return {
        "width": part.get("hidden_size", 768),
        "layers": part.get("num_hidden_layers", layers),
        "heads": part.get("num_attention_heads", 12),
        "hidden": part.get("intermediate_size", 3072),
        "norm_eps": part.get("layer_norm_eps", 1e-12),
    }


def _side(value: int | list[int], where: Path | None) -> int:
    sides = {value} if isinstance(value, int) else set(value)
    if len(sides) != 1:
        raise CheckpointError(
            f"pictures or patches of {value} are not square", where=where, do="give a published FLAVA"
        )
    return sides.pop()
