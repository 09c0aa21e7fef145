"""Names of the VAE: Latent Diffusion's AutoencoderKL and diffusers'.

Latent Diffusion counts the decoder's levels from the image, diffusers from the latent; attention is made of
1x1 convolutions there and of linear layers here. Source: ldm/modules/diffusionmodules/model.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionsmith.single_file.pairs import How, Pair, both

__all__ = ["modern_vae_name", "vae_pairs"]

ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names that diffusers wrote before release 0.17; published SD 1 folders have them."""


def vae_pairs(config: Mapping[str, Any]) -> list[Pair]:
    """All names of a VAE with these settings (of diffusers' AutoencoderKL)."""
    pairs = []
    for side in ("encoder", "decoder"):
        pairs += both(f"{side}.conv_in", f"{side}.conv_in") + both(f"{side}.conv_out", f"{side}.conv_out")
        pairs += both(f"{side}.norm_out", f"{side}.conv_norm_out") + _middle(side)
    if config.get("use_quant_conv", True):
        pairs += both("quant_conv", "quant_conv")
    if config.get("use_post_quant_conv", True):
        pairs += both("post_quant_conv", "post_quant_conv")
    return pairs + _encoder(config) + _decoder(config)


def modern_vae_name(name: str) -> str:
    """A name of a folder's VAE as diffusers writes it today."""
    head, _, last = name.rpartition(".")
    before, _, layer = head.rpartition(".")
    if ".attentions." in name and layer in OLD_ATTENTION:
        return f"{before}.{OLD_ATTENTION[layer]}.{last}"
    return name


def _middle(side: str) -> list[Pair]:
    single, folder = f"{side}.mid", f"{side}.mid_block"
    pairs = [
        *_resnet(f"{single}.block_1", f"{folder}.resnets.0", shortcut=False),
        *_resnet(f"{single}.block_2", f"{folder}.resnets.1", shortcut=False),
        *both(f"{single}.attn_1.norm", f"{folder}.attentions.0.group_norm"),
    ]
    for old, new in ATTENTION.items():
        pairs += both(f"{single}.attn_1.{old}", f"{folder}.attentions.0.{new}", How.SQUEEZE)
    return pairs


def _encoder(config: Mapping[str, Any]) -> list[Pair]:
    channels = config["block_out_channels"]
    pairs = []
    for level in range(len(channels)):
        single, folder = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        for layer in range(config["layers_per_block"]):
            wider = layer == 0 and level > 0 and channels[level] != channels[level - 1]
            pairs += _resnet(f"{single}.block.{layer}", f"{folder}.resnets.{layer}", shortcut=wider)
        if level < len(channels) - 1:
            pairs += both(f"{single}.downsample.conv", f"{folder}.downsamplers.0.conv")
    return pairs


def _decoder(config: Mapping[str, Any]) -> list[Pair]:
    channels = config["block_out_channels"]
    last = len(channels) - 1
    pairs = []
    for level in range(len(channels)):
        single, folder = f"decoder.up.{level}", f"decoder.up_blocks.{last - level}"
        for layer in range(config["layers_per_block"] + 1):
            narrower = layer == 0 and level < last and channels[level] != channels[level + 1]
            pairs += _resnet(f"{single}.block.{layer}", f"{folder}.resnets.{layer}", shortcut=narrower)
        if level > 0:
            pairs += both(f"{single}.upsample.conv", f"{folder}.upsamplers.0.conv")
    return pairs


def _resnet(single: str, folder: str, *, shortcut: bool) -> list[Pair]:
    pairs = [
        pair
        for name in ("norm1", "conv1", "norm2", "conv2")
        for pair in both(f"{single}.{name}", f"{folder}.{name}")
    ]
    return pairs + (both(f"{single}.nin_shortcut", f"{folder}.conv_shortcut") if shortcut else [])
