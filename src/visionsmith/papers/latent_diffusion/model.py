"""The parts of a latent diffusion model (figure 3): autoencoder, text encoder, denoiser, noise schedule."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from visionsmith.memory.locks import library_load
from visionsmith.papers.latent_diffusion.autoencoder import make_autoencoder
from visionsmith.papers.latent_diffusion.config import DenoiserConfig, LatentDiffusionConfig, NoiseConfig
from visionsmith.papers.latent_diffusion.text import make_text_encoder

__all__ = ["LatentDiffusion", "make_denoiser", "make_noise", "make_sampler"]


class LatentDiffusion(nn.Module):
    """All parts that have weights, under the names of a diffusers folder."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel

    def __init__(self, config: LatentDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = make_autoencoder(config.autoencoder)
        self.text_encoder = make_text_encoder(config.text)
        self.unet = make_denoiser(config)


def make_denoiser(
    config: LatentDiffusionConfig, *, in_channels: int | None = None, **options: Any
) -> UNet2DConditionModel:
    """A new `UNet2DConditionModel` of these sizes.

    Args:
        config: of the whole.
        in_channels: of its input, where something stands beside the latents; None: the latents alone.
        options: further arguments of the class.
    """
    sizes: DenoiserConfig = config.denoiser
    channels = config.autoencoder.latent_channels
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in sizes.attends]
    up = ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(sizes.attends)]
    with library_load():
        return UNet2DConditionModel(
            sample_size=config.autoencoder.image_size // config.autoencoder.factor,
            in_channels=in_channels or channels,
            out_channels=channels,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            block_out_channels=sizes.widths,
            layers_per_block=sizes.layers,
            # The library's name says the dimension of a head, and its first models took it for their number.
            attention_head_dim=sizes.heads,
            cross_attention_dim=config.text.width,
            norm_num_groups=sizes.groups,
            **options,
        )


def _settings(config: NoiseConfig) -> dict[str, Any]:
    return {
        "num_train_timesteps": config.steps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "beta_schedule": "scaled_linear",
        "prediction_type": config.prediction,
        "rescale_betas_zero_snr": config.zero_snr,
        "clip_sample": False,
    }


def make_noise(config: NoiseConfig) -> DDPMScheduler:
    """The forward process that is trained on."""
    return DDPMScheduler(**_settings(config))


def make_sampler(config: NoiseConfig) -> DDIMScheduler:
    """The sampler of the way back."""
    spacing = "trailing" if config.zero_snr else "leading"
    return DDIMScheduler(
        **_settings(config), timestep_spacing=spacing, steps_offset=1, set_alpha_to_one=config.zero_snr
    )
