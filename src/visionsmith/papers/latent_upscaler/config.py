"""Sizes of an upscaler, from which diffusers' class is made."""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["NOISE_LEVEL_WIDTH", "UpscalerConfig"]

NOISE_LEVEL_WIDTH = 128
"""Of what the condition vector says of the noise on the condition: the pipeline holds it at 64 ones and 64 zeros."""


@config
class UpscalerConfig:
    """A `UNet2DConditionModel` of K blocks; the defaults are those of the published upscaler."""

    widths: tuple[int, ...] = (384, 384, 768, 768)
    """Channels at each resolution; the last two are equal, as the library's K blocks ask."""
    attends: tuple[bool, ...] = (False, True, True, True)
    """At which resolutions the text is attended to."""
    layers: int = 4
    """Residual blocks at each resolution, down and up."""
    head_width: int = 64
    latent_channels: int = 4
    text_width: int = 768
    """Of the text's states and of its pooled state."""
    sample_size: int = 128
    """Side of the enlarged latents that it is trained on."""
    base: str | None = None
    """Whose autoencoder and text encoder go with it: a checkpoint of latent diffusion, a folder of diffusers or a hub
    id; None: the one that ships."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.attends) or len(self.widths) < 2:
            raise ConfigError(
                f"{len(self.widths)} widths and {len(self.attends)} attends",
                do="name both for each of at least two resolutions",
            )
        if any(width % 32 or width % self.head_width for width in self.widths):
            raise ConfigError(
                f"widths = {self.widths} are no multiples of 32 and of head_width = {self.head_width}",
                do="choose ones that are",
            )
        if self.widths[-1] != self.widths[-2]:
            raise ConfigError(
                f"the last two of widths = {self.widths} differ", do="make them equal, as the K blocks ask"
            )

    @property
    def unit(self) -> int:
        """Sides of the small latents are multiples of this."""
        return int(2 ** (len(self.widths) - 2))
