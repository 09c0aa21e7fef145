"""Names of the UNet: Latent Diffusion's numbered blocks and diffusers' levels.

Latent Diffusion counts one list of blocks from the image inwards and one outwards; a level is
`layers_per_block` resnets (one more on the way out) and, unless it is the last, a change of size. Inside a
transformer both use the same names. Source: ldm/modules/diffusionmodules/openaimodel.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visionsmith.single_file.pairs import Pair, both

__all__ = ["ema_name", "unet_pairs"]

OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
ADDED = {"label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2"}
RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
}
BLOCK_LAYERS = ("norm1", "norm2", "norm3", "attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2")
BLOCK_WEIGHTS = tuple(f"attn{n}.to_{which}.weight" for n in (1, 2) for which in "qkv")


def unet_pairs(config: Mapping[str, Any]) -> list[Pair]:
    """All names of a UNet with these settings.

    Args:
        config: of diffusers' UNet2DConditionModel, `transformer_layers_per_block` being one number per level.
    """
    pairs = [pair for single, folder in OUTSIDE.items() for pair in both(single, folder)]
    if config.get("addition_embed_type") == "text_time":
        pairs += [pair for single, folder in ADDED.items() for pair in both(single, folder)]
    depths: Sequence[int] = config["transformer_layers_per_block"]
    pairs += _resnet("middle_block.0", "mid_block.resnets.0", shortcut=False)
    pairs += _transformer("middle_block.1", "mid_block.attentions.0", depths[-1])
    pairs += _resnet("middle_block.2", "mid_block.resnets.1", shortcut=False)
    return pairs + _down(config) + _up(config)


def ema_name(single: str) -> str:
    """The name of a UNet weight's moving average: Latent Diffusion removes the dots."""
    return "model_ema." + single.removeprefix("model.").replace(".", "")


def _down(config: Mapping[str, Any]) -> list[Pair]:
    channels, layers = config["block_out_channels"], config["layers_per_block"]
    pairs, count = [], 1
    for level, kind in enumerate(config["down_block_types"]):
        for layer in range(layers):
            wider = layer == 0 and level > 0 and channels[level] != channels[level - 1]
            single, folder = f"input_blocks.{count}", f"down_blocks.{level}"
            pairs += _resnet(f"{single}.0", f"{folder}.resnets.{layer}", shortcut=wider)
            if kind.startswith("CrossAttn"):
                depth = config["transformer_layers_per_block"][level]
                pairs += _transformer(f"{single}.1", f"{folder}.attentions.{layer}", depth)
            count += 1
        if level < len(channels) - 1:
            pairs += both(f"input_blocks.{count}.0.op", f"down_blocks.{level}.downsamplers.0.conv")
            count += 1
    return pairs


def _up(config: Mapping[str, Any]) -> list[Pair]:
    layers, levels = config["layers_per_block"] + 1, len(config["block_out_channels"])
    pairs = []
    for level, kind in enumerate(config["up_block_types"]):
        attends = kind.startswith("CrossAttn")
        for layer in range(layers):
            single, folder = f"output_blocks.{level * layers + layer}", f"up_blocks.{level}"
            # What comes from the way in is joined to the input, so that it is wider than the output.
            pairs += _resnet(f"{single}.0", f"{folder}.resnets.{layer}", shortcut=True)
            if attends:
                depth = config["transformer_layers_per_block"][levels - 1 - level]
                pairs += _transformer(f"{single}.1", f"{folder}.attentions.{layer}", depth)
            if layer == layers - 1 and level < levels - 1:
                pairs += both(f"{single}.{2 if attends else 1}.conv", f"{folder}.upsamplers.0.conv")
    return pairs


def _resnet(single: str, folder: str, *, shortcut: bool) -> list[Pair]:
    names = {**RESNET, "skip_connection": "conv_shortcut"} if shortcut else RESNET
    return [pair for old, new in names.items() for pair in both(f"{single}.{old}", f"{folder}.{new}")]


def _transformer(single: str, folder: str, depth: int) -> list[Pair]:
    pairs = [
        p for name in ("norm", "proj_in", "proj_out") for p in both(f"{single}.{name}", f"{folder}.{name}")
    ]
    for block in range(depth):
        inside = f"transformer_blocks.{block}"
        for name in BLOCK_LAYERS:
            pairs += both(f"{single}.{inside}.{name}", f"{folder}.{inside}.{name}")
        pairs += [Pair(f"{single}.{inside}.{name}", (f"{folder}.{inside}.{name}",)) for name in BLOCK_WEIGHTS]
    return pairs
