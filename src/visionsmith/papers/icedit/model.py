"""The parts of a model that fills half of a diptych: autoencoder, text encoder, transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from visionsmith.diffusion.flux import offset, velocity
from visionsmith.memory.locks import library_load
from visionsmith.papers.icedit.config import FillerConfig
from visionsmith.papers.latent_diffusion import decode, encode, make_autoencoder, make_text_encoder

__all__ = ["Filler", "gray_half", "make_transformer", "predict", "to_latents", "to_pictures"]


class Filler(nn.Module):
    """All parts that have weights, under the names of a diffusers folder."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    transformer: FluxTransformer2DModel

    def __init__(self, config: FillerConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = make_autoencoder(config.autoencoder)
        self.text_encoder = make_text_encoder(config.text)
        self.transformer = make_transformer(config)


def make_transformer(config: FillerConfig) -> FluxTransformer2DModel:
    """A new `FluxTransformer2DModel` of these sizes, its layers that scale and gate at zero (as DiT's).

    A new model then answers 0 everywhere, and each block begins as the identity.
    """
    sizes = config.transformer
    packed = 4 * config.autoencoder.latent_channels
    with library_load():
        made = FluxTransformer2DModel(
            patch_size=1,
            in_channels=2 * packed + 4 * config.autoencoder.factor**2,
            out_channels=packed,
            num_layers=sizes.dual,
            num_single_layers=sizes.single,
            attention_head_dim=sizes.head_width,
            num_attention_heads=sizes.heads,
            joint_attention_dim=sizes.text_width,
            pooled_projection_dim=sizes.pooled_width,
            guidance_embeds=sizes.guidance,
            axes_dims_rope=sizes.rotary,
        )
    starts = [made.norm_out.linear, made.proj_out]
    starts += [
        layer
        for block in made.transformer_blocks
        for layer in (block.norm1.linear, block.norm1_context.linear)
    ]
    starts += [block.norm.linear for block in made.single_transformer_blocks]
    for layer in starts:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return made


def predict(
    transformer: Any,
    noisy: Tensor,
    told: Tensor,
    times: Tensor,
    text: tuple[Tensor, Tensor],
    grid: tuple[int, int],
    *,
    guidance: float = 1.0,
) -> Tensor:
    """The velocity (noise minus data) that the transformer predicts.

    Args:
        transformer: a `FluxTransformer2DModel`.
        noisy: tokens `b n 4c`.
        told: `b n ...` of `diptych.conditions`.
        times: `b`, 0 (data) to 1 (noise).
        text: states `b m d` and the one embedding `b p`.
        grid: latent rows and columns of the diptych.
        guidance: strength; only a distilled model is told it.

    Returns:
        `b n 4c`.
    """
    tokens = torch.cat((noisy, told), dim=2)
    return velocity(transformer, tokens, times, text, grid, distilled=guidance)


def gray_half(vae: AutoencoderKL, height: int, width: int) -> Tensor:
    """Scaled latents `c i j` of a half that is hidden: nothing but the middle gray."""
    # Half way between 127 and 128, which stand for -1/255 and 1/255.
    gray = torch.full((1, height, width, 3), 127, dtype=torch.uint8)
    return to_latents(vae, gray)[0]


def to_latents(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Latents `b c i j` of pictures uint8 `b h w 3`, shifted and scaled as the autoencoder says (FLUX's shifts)."""
    return encode(vae, images) - offset(vae)


def to_pictures(vae: AutoencoderKL, latents: Tensor) -> np.ndarray:
    """The inverse of `to_latents`, up to what the autoencoder loses."""
    return decode(vae, latents + offset(vae))
