"""Names of the Flux transformer: Black Forest Labs' and diffusers'.

Query, key and value are one matrix there; the single-stream blocks have the MLP's first layer in it too.
The last modulation gives (shift, scale) there and (scale, shift) here.
Source: flux/model.py and flux/modules/layers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionsmith.single_file.pairs import How, Pair, both

__all__ = ["flux_pairs"]

OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
GUIDANCE = {
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
}
DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
DOUBLE_FUSED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
DOUBLE_NORMS = {
    "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
    "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
}
SINGLE = {"modulation.lin": "norm.linear", "linear2": "proj_out"}
SINGLE_FUSED = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
SINGLE_NORMS = {
    "norm.query_norm.scale": "attn.norm_q.weight",
    "norm.key_norm.scale": "attn.norm_k.weight",
}
MLP_RATIO = 4


def flux_pairs(config: Mapping[str, Any]) -> list[Pair]:
    """All names of a Flux transformer with these settings (of diffusers' FluxTransformer2DModel)."""
    width = config["num_attention_heads"] * config["attention_head_dim"]
    outside = {**OUTSIDE, **GUIDANCE} if config["guidance_embeds"] else OUTSIDE
    pairs = [pair for single, folder in outside.items() for pair in both(single, folder)]
    for kind in ("weight", "bias"):
        last = f"final_layer.adaLN_modulation.1.{kind}"
        pairs.append(Pair(last, (f"norm_out.linear.{kind}",), How.SWAP))
    for index in range(config["num_layers"]):
        pairs += _double(f"double_blocks.{index}.", f"transformer_blocks.{index}.", width)
    for index in range(config["num_single_layers"]):
        pairs += _single(f"single_blocks.{index}.", f"single_transformer_blocks.{index}.", width)
    return pairs


def _double(single: str, folder: str, width: int) -> list[Pair]:
    pairs = [pair for old, new in DOUBLE.items() for pair in both(single + old, folder + new)]
    pairs += [Pair(single + old, (folder + new,)) for old, new in DOUBLE_NORMS.items()]
    for old, pieces in DOUBLE_FUSED.items():
        pairs += _fused(single + old, [folder + piece for piece in pieces], (width,) * 3)
    return pairs


def _single(single: str, folder: str, width: int) -> list[Pair]:
    pairs = [pair for old, new in SINGLE.items() for pair in both(single + old, folder + new)]
    pairs += [Pair(single + old, (folder + new,)) for old, new in SINGLE_NORMS.items()]
    sizes = (width, width, width, MLP_RATIO * width)
    return pairs + _fused(f"{single}linear1", [folder + piece for piece in SINGLE_FUSED], sizes)


def _fused(single: str, pieces: list[str], sizes: tuple[int, ...]) -> list[Pair]:
    return [
        Pair(f"{single}.{kind}", tuple(f"{piece}.{kind}" for piece in pieces), How.SPLIT, sizes)
        for kind in ("weight", "bias")
    ]
