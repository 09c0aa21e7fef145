"""Names of the text encoders: CLIP and T5 as in transformers, OpenCLIP with its fused attention.

transformers 5 removed the level "text_model." from CLIPTextModel, so that folders exist with and without it.
Both are read; with it is written, because every release reads that and single files are published so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionsmith.single_file.pairs import How, Pair, both, same

__all__ = ["clip_pairs", "nested_text_name", "openclip_pairs", "t5_pairs"]

LEVEL = "text_model."


def nested_text_name(name: str) -> str:
    """A name of a CLIP text encoder with the inner level "text_model."."""
    return name if name.startswith((LEVEL, "text_projection.")) else LEVEL + name


def clip_pairs(config: Mapping[str, Any]) -> list[Pair]:
    """All names of transformers' CLIPTextModel; the single file has the same."""
    pairs = [
        same("text_model.embeddings.token_embedding.weight"),
        same("text_model.embeddings.position_embedding.weight"),
        # A constant (0, 1, 2, ...) that transformers kept as a weight before release 4.31.
        same("text_model.embeddings.position_ids", optional=True),
        *both("text_model.final_layer_norm", "text_model.final_layer_norm"),
    ]
    layers = [f"self_attn.{which}_proj" for which in ("q", "k", "v", "out")]
    layers += ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"]
    for index in range(config["num_hidden_layers"]):
        for layer in layers:
            name = f"text_model.encoder.layers.{index}.{layer}"
            pairs += both(name, name)
    return pairs


def openclip_pairs(config: Mapping[str, Any], *, projection: bool) -> list[Pair]:
    """All names of OpenCLIP's text tower.

    Args:
        config: of transformers' CLIPTextModel.
        projection: whether the output projection is kept (SDXL) or not used (SD 2).
    """
    pairs = [
        Pair("token_embedding.weight", ("text_model.embeddings.token_embedding.weight",)),
        Pair("positional_embedding", ("text_model.embeddings.position_embedding.weight",)),
        *both("ln_final", "text_model.final_layer_norm"),
    ]
    if projection:
        # x @ P there, a linear layer here.
        pairs.append(Pair("text_projection", ("text_projection.weight",), How.TRANSPOSE))
    width = config["hidden_size"]
    names = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    for index in range(config["num_hidden_layers"]):
        single, folder = f"transformer.resblocks.{index}", f"text_model.encoder.layers.{index}"
        for old, new in names.items():
            pairs += both(f"{single}.{old}", f"{folder}.{new}")
        for kind in ("weight", "bias"):
            pieces = tuple(f"{folder}.self_attn.{which}_proj.{kind}" for which in "qkv")
            pairs.append(Pair(f"{single}.attn.in_proj_{kind}", pieces, How.SPLIT, (width,) * 3))
    return pairs


def t5_pairs(config: Mapping[str, Any]) -> list[Pair]:
    """All names of transformers' T5EncoderModel with gated layers (version 1.1), the same in a file."""
    names = ["shared.weight", "encoder.final_layer_norm.weight"]
    names.append("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
    for index in range(config["num_layers"]):
        block = f"encoder.block.{index}.layer"
        names += [f"{block}.0.SelfAttention.{which}.weight" for which in "qkvo"]
        names += [f"{block}.1.DenseReluDense.{which}.weight" for which in ("wi_0", "wi_1", "wo")]
        names += [f"{block}.{layer}.layer_norm.weight" for layer in (0, 1)]
    # A second copy of shared.weight that some writers keep.
    return [*map(same, names), same("encoder.embed_tokens.weight", optional=True)]
