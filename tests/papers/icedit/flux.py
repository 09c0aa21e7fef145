"""Small random pipelines in FLUX's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import T5Config, T5EncoderModel

from visionsmith.diffusion.library import FluxFillPipeline, FluxPipeline
from visionsmith.papers.latent_diffusion import TextConfig, make_text_encoder, make_tokenizer
from visionsmith.papers.paper import shipped_checkpoint

SIDE = 16
"""Of the pictures, pixels; 4 x 4 tokens each."""


def _random(model: Any) -> Any:
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return model.requires_grad_(False).eval()


def save_flux(
    folder: Path, *, fills: bool = False, distilled: bool = True, dtype: torch.dtype = torch.float32
) -> Path:
    """A FluxPipeline, or a FluxFillPipeline."""
    words = (shipped_checkpoint("clip") / "tokenizer.json").read_bytes()
    text = TextConfig(
        vocab_size=2048, context_length=12, width=16, heads=2, layers=1,
        start_token=2046, end_token=2047, pad_token=2047,
    )  # fmt: skip
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=SIDE,
        shift_factor=0.1,
    )
    transformer = FluxTransformer2DModel(
        # Of a filler: noisy latents, those that may be seen, and 2 x 2 mask values of each of the four positions.
        in_channels=48 if fills else 16,
        out_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=16,
        guidance_embeds=distilled,
        axes_dims_rope=(4, 6, 6),
    )
    t5 = T5Config(vocab_size=2048, d_model=12, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    (FluxFillPipeline if fills else FluxPipeline)(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_random(vae),
        text_encoder=_random(make_text_encoder(text)),
        tokenizer=make_tokenizer(words, text),
        text_encoder_2=_random(T5EncoderModel(t5)),
        tokenizer_2=make_tokenizer(words, text),
        transformer=_random(transformer),
    ).to(dtype).save_pretrained(folder)
    return folder
