"""Sizes of a latent diffusion model, from which diffusers' and transformers' classes are made."""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["AutoencoderConfig", "DenoiserConfig", "LatentDiffusionConfig", "NoiseConfig", "TextConfig"]

Prediction = Literal["epsilon", "v_prediction", "sample"]


@config
class AutoencoderConfig:
    """An `AutoencoderKL`; the defaults are Stable Diffusion's."""

    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Channels at each resolution; between two the side halves."""
    layers: int = 2
    """Residual blocks at each resolution; the decoder has one more."""
    latent_channels: int = 4
    groups: int = 32
    """Of group normalisation."""
    attention: bool = True
    """Whether the smallest resolution has self-attention."""
    image_size: int = 512
    """Side of the pictures that it was trained on, pixels."""
    scale: float = 0.18215
    """Factor that makes latents of about unit variance."""

    def __post_init__(self) -> None:
        if any(width % self.groups for width in self.widths):
            raise ConfigError(
                f"widths = {self.widths} are no multiples of groups = {self.groups}",
                do="choose ones that are",
            )

    @property
    def factor(self) -> int:
        """Pixels a side that one latent position stands for."""
        return int(2 ** (len(self.widths) - 1))


@config
class TextConfig:
    """A `CLIPTextModel`; the defaults are those of CLIP ViT-L/14, which Stable Diffusion 1 reads with."""

    vocab_size: int = 49408
    context_length: int = 77
    width: int = 768
    heads: int = 12
    layers: int = 12
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    start_token: int = 49406
    end_token: int = 49407
    pad_token: int = 49407


@config
class DenoiserConfig:
    """A `UNet2DConditionModel`; the defaults are Stable Diffusion 1's."""

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    """Channels at each resolution."""
    attends: tuple[bool, ...] = (True, True, True, False)
    """At which resolutions the text is attended to."""
    layers: int = 2
    """Residual blocks at each resolution."""
    heads: int = 8
    groups: int = 32
    """Of group normalisation."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.attends):
            raise ConfigError(
                f"{len(self.widths)} widths and {len(self.attends)} attends",
                do="name both for each resolution",
            )


@config
class NoiseConfig:
    """The forward process and what the denoiser predicts; the defaults are Stable Diffusion 1's."""

    prediction: Prediction = "epsilon"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    steps: int = 1000
    zero_snr: bool = False
    """Whether the last step is pure noise (Lin et al. 2024, arXiv:2305.08891); not for a prediction of epsilon."""

    def __post_init__(self) -> None:
        if self.zero_snr and self.prediction == "epsilon":
            raise ConfigError(
                "of pure noise, epsilon says nothing about the picture",
                do="choose v_prediction with zero_snr",
            )


@config
class LatentDiffusionConfig:
    """All parts."""

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    text: TextConfig = TextConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    noise: NoiseConfig = NoiseConfig()
