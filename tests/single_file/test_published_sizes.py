"""The published sizes, without memory: numbers of tensors, and the settings that shapes alone give back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from visionsmith.single_file.config_unet import per_level
from visionsmith.single_file.header import Entry, Header, Shape
from visionsmith.single_file.layouts import PARTS, Family, Kind, folder_name, pairs_of
from visionsmith.single_file.pairs import to_single
from visionsmith.single_file.plan import plan_folder
from visionsmith.single_file.published import Assumed

PLAIN_DOWN, PLAIN_UP = "DownBlock2D", "UpBlock2D"
CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
ADDED = {"use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256}
UNETS: dict[Family, dict[str, Any]] = {
    Family.SD1: {"cross_attention_dim": 768, "attention_head_dim": 8},
    Family.SD2: {
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
    Family.SDXL: {
        **ADDED,
        "block_out_channels": [320, 640, 1280],
        "down_block_types": [PLAIN_DOWN, CROSS_DOWN, CROSS_DOWN],
        "up_block_types": [CROSS_UP, CROSS_UP, PLAIN_UP],
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "projection_class_embeddings_input_dim": 2816,
    },
    Family.REFINER: {
        **ADDED,
        "block_out_channels": [384, 768, 1536, 1536],
        "down_block_types": [PLAIN_DOWN, CROSS_DOWN, CROSS_DOWN, PLAIN_DOWN],
        "up_block_types": [PLAIN_UP, CROSS_UP, CROSS_UP, PLAIN_UP],
        "transformer_layers_per_block": [1, 4, 4, 4],
        "cross_attention_dim": 1280,
        "attention_head_dim": [6, 12, 24, 24],
        "projection_class_embeddings_input_dim": 2560,
    },
}
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
FLUX_VAE = {**VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
TEXTS = {768: (12, 12), 1024: (23, 16), 1280: (32, 20)}
"""Layers and heads of CLIP L, OpenCLIP H (without its unused last layer) and OpenCLIP G by width."""
T5 = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
TENSORS = {
    Family.SD1: 686 + 248 + 196,
    Family.SD2: 686 + 248 + 280,
    Family.SDXL: 1680 + 248 + 196 + 389,
    Family.REFINER: 1220 + 248 + 389,
    Family.FLUX_DEV: 780 + 244 + 196 + 219,
}


def build(family: Family, kind: Kind) -> nn.Module:
    """A part of the published size."""
    if kind is Kind.UNET:
        return UNet2DConditionModel(**UNETS[family])
    if kind is Kind.VAE:
        return AutoencoderKL(**(FLUX_VAE if family is Family.FLUX_DEV else VAE))
    if kind is Kind.FLUX:
        return FluxTransformer2DModel(guidance_embeds=True)
    if kind is Kind.T5:
        return T5EncoderModel(T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **T5))
    width = 768 if kind is Kind.CLIP else 1024 if kind is Kind.OPENCLIP else 1280
    layers, heads = TEXTS[width]
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
    )
    return (CLIPTextModelWithProjection if kind is Kind.OPENCLIP_PROJECTED else CLIPTextModel)(config)


def settings(model: nn.Module) -> dict[str, Any]:
    config = model.config
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)


def entry(shape: Shape) -> Entry:
    return Entry(Path("file"), "F16", shape, 0, 2 * math.prod(shape))


@pytest.mark.parametrize("family", list(TENSORS))
def test_published_sizes(family: Family) -> None:
    entries, configs = {}, {}
    for part in PARTS[family]:
        with torch.device("meta"):
            model = build(family, part.kind)
        config = per_level(settings(model)) if part.kind is Kind.UNET else settings(model)
        configs[part.folder] = config
        stored = {
            folder_name(part.kind, name): entry(tuple(tensor.shape))
            for name, tensor in model.state_dict().items()
        }
        for pair in pairs_of(part.kind, config):
            if not pair.optional:
                single = to_single(pair, [stored.pop(name) for name in pair.folder])
                prefix = part.prefixes[-1] if part.kind is Kind.FLUX else part.prefixes[0]
                entries[prefix + single.name] = entry(single.shape)
        assert not [name for name in stored if "embed_tokens" not in name]
    assert len(entries) == TENSORS[family]
    plan = plan_folder(Header(Path("file"), entries, {}), Assumed())
    assert plan.report.recognised.family is family
    assert (plan.report.missing, plan.report.unknown, plan.report.rest) == ((), (), ())
    compared = 0
    for one in plan.parts:
        published = configs[one.part.folder]
        # The libraries' default activation and tying are not what these models have.
        for name in one.config.keys() & published.keys() - {
            "hidden_act",
            "scaling_factor",
            "tie_word_embeddings",
        }:
            if name.startswith(("sample_size", "force_upcast", "shift_factor")) or name.endswith("_token_id"):
                continue
            found, expected = one.config[name], published[name]
            assert found == (list(expected) if isinstance(expected, tuple) else expected), name
            compared += 1
    assert compared > 20
