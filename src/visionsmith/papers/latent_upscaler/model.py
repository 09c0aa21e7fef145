"""The denoiser, its preconditioning and its sampler.

Axes: b pictures, c latent channels, i/j positions of the enlarged latents, n tokens, d text width.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F

from visionsmith.memory.locks import library_load
from visionsmith.papers.latent_upscaler.config import NOISE_LEVEL_WIDTH, UpscalerConfig

__all__ = [
    "condition_vector",
    "enlarged",
    "make_scheduler",
    "make_upscaler",
    "network_target",
    "predict",
    "read_text",
]


def make_upscaler(config: UpscalerConfig) -> UNet2DConditionModel:
    """A new denoiser of these sizes: convolutions of 1 x 1 at both ends, no middle, Fourier features of the time."""
    down = ["KCrossAttnDownBlock2D" if attends else "KDownBlock2D" for attends in config.attends]
    up = ["KCrossAttnUpBlock2D" if attends else "KUpBlock2D" for attends in reversed(config.attends)]
    with library_load():
        return UNet2DConditionModel(
            sample_size=config.sample_size,
            in_channels=2 * config.latent_channels,
            # One more than the latents: of the published network's variance, which nothing reads.
            out_channels=config.latent_channels + 1,
            down_block_types=tuple(down),
            mid_block_type=None,
            up_block_types=tuple(up),
            block_out_channels=config.widths,
            layers_per_block=config.layers,
            act_fn="gelu",
            attention_head_dim=config.head_width,
            cross_attention_dim=config.text_width,
            norm_num_groups=None,
            conv_in_kernel=1,
            conv_out_kernel=1,
            resnet_time_scale_shift="scale_shift",
            time_embedding_type="fourier",
            time_embedding_dim=config.widths[-1],
            timestep_post_act="gelu",
            time_cond_proj_dim=NOISE_LEVEL_WIDTH + config.text_width,
        )


def make_scheduler() -> EulerDiscreteScheduler:
    """The published sampler: Euler steps over Stable Diffusion's noise levels, from 14.6 down."""
    return EulerDiscreteScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        # The pipeline turns the network's output into a clean estimate before the scheduler sees it.
        prediction_type="sample",
    )


def enlarged(latents: Tensor) -> Tensor:
    """Latents of twice the sides, each value repeated, as the pipeline does."""
    return F.interpolate(latents, scale_factor=2, mode="nearest")


def condition_vector(pooled: Tensor) -> Tensor:
    """What is added to the time: 64 ones, 64 zeros (the condition has no noise), and the pooled text: `b 128 + d`."""
    half = NOISE_LEVEL_WIDTH // 2
    return torch.cat((pooled.new_ones(len(pooled), half), pooled.new_zeros(len(pooled), half), pooled), dim=1)


def read_text(encoder: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """States `b n d` and pooled state `b d` of a `CLIPTextModel`, those that the pipeline reads."""
    found = encoder(tokens, output_hidden_states=True)
    return found.hidden_states[-1], found.pooler_output


def predict(
    unet: UNet2DConditionModel, noisy: Tensor, sigma: Tensor, low: Tensor, text: tuple[Tensor, Tensor]
) -> Tensor:
    """The network's output `b c i j`, preconditioned on the way in (Karras et al. 2022, table 1).

    The clean estimate of it is `noisy / (sigma^2 + 1) + sigma / sqrt(sigma^2 + 1) * output`.

    Args:
        unet: of `make_upscaler`.
        noisy: clean latents plus noise of standard deviation sigma, `b c i j`.
        sigma: `b`.
        low: small latents, already enlarged, `b c i j`; not scaled.
        text: of `read_text`.
    """
    scaled = noisy / (sigma.square() + 1).sqrt()[:, None, None, None]
    states, pooled = text
    found: Tensor = unet(
        torch.cat((scaled, low), dim=1),
        sigma.log() / 4,
        encoder_hidden_states=states,
        timestep_cond=condition_vector(pooled),
    ).sample
    return found[:, :-1]


def network_target(clean: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
    """What the network should say, `b c i j`, so that the clean estimate (see `predict`) is right."""
    sigma = sigma[:, None, None, None]
    return (clean - noisy / (sigma.square() + 1)) * (sigma.square() + 1).sqrt() / sigma
