"""Sizes of an adapter; the defaults are those published for Stable Diffusion 1.5 with CLIP ViT-H/14."""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = [
    "FLUX1_WIDTHS",
    "SD15_WIDTHS",
    "SDXL_WIDTHS",
    "Denoiser",
    "DropConfig",
    "Form",
    "IPAdapterConfig",
    "ResamplerConfig",
    "Variant",
    "odd",
]

Variant = Literal["base", "plus", "full"]
Form = Literal["decoupled", "concatenated"]
Denoiser = Literal["unet", "flux"]
"""A `UNet2DConditionModel` with cross-attention, or a `FluxTransformer2DModel`."""

SD15_WIDTHS = (320, 320, 640, 640) + 5 * (1280,) + 3 * (640,) + 3 * (320,) + (1280,)
"""Of the 16 cross-attention layers of Stable Diffusion 1.5: down, up, middle."""
SDXL_WIDTHS = 4 * (640,) + 50 * (1280,) + 6 * (640,) + 10 * (1280,)
"""Of the 70 of Stable Diffusion XL."""
FLUX1_WIDTHS = 19 * (3072,)
"""Of the 19 double blocks of FLUX.1."""


def odd(count: int) -> tuple[int, ...]:
    """The first odd numbers: where the cross-attention layers stand when each follows a self-attention layer."""
    return tuple(range(1, 2 * count, 2))


@config
class ResamplerConfig:
    """The projector of "plus" (sec. 4.4.2 of the paper; sizes of the published weights)."""

    width: int = 768
    depth: int = 4
    """Blocks of attention and a feed-forward layer."""
    heads: int = 12
    head_width: int = 64
    ratio: int = 4
    """Hidden width of a feed-forward layer, as a multiple of `width`."""


@config
class IPAdapterConfig:
    """A projector of image features, and keys and values for the cross-attention layers of a denoiser.

    Of a Flux transformer the double blocks take the place of these layers, counted from 0, and their keys and values
    have a bias.
    """

    denoiser: Denoiser = "unet"
    """What it is for."""
    variant: Variant = "base"
    """"base": one embedding of a picture; "plus": an encoder's last hidden states but one, drawn together by learned
    queries; "full": the same states, each of which becomes a token."""
    form: Form = "decoupled"
    """"concatenated": the paper's ablation (sec. 4.4.1). The image tokens follow the text tokens into the layers' own
    keys and values, and only the projector learns."""
    tokens: int = 4
    """Image tokens of a picture. Of "full" there are as many as the encoder has states, whatever is said here."""
    image_width: int = 1024
    """Of the encoder's features."""
    text_width: int = 768
    """Of the text that the denoiser reads."""
    positions: tuple[int, ...] = odd(len(SD15_WIDTHS))
    """Of the cross-attention layers among `unet.attn_processors`; the numbers in the published names."""
    widths: tuple[int, ...] = SD15_WIDTHS
    """Of these layers."""
    resampler: ResamplerConfig = ResamplerConfig()
    """Of "plus" alone."""
    base: str | None = None
    """Checkpoint or hub id of the denoiser that it was trained on; none: the one that ships."""
    encoder: str | None = None
    """Checkpoint or hub id of the image encoder that it was trained with; none: the CLIP that ships."""

    def __post_init__(self) -> None:
        for name in ("tokens", "image_width", "text_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is out of range", do="choose at least 1")
        if len(self.positions) != len(self.widths):
            raise ConfigError(
                f"{len(self.positions)} positions and {len(self.widths)} widths",
                do="name both for each cross-attention layer",
            )
        if self.denoiser == "flux" and self.form == "concatenated":
            # Its blocks read the text that the one before wrote, and have none of their own that tokens could follow.
            raise ConfigError(
                "an adapter of the concatenated form has no place in a Flux transformer",
                do="choose the decoupled form",
            )
        if not self.positions:
            raise ConfigError("there is no cross-attention layer", do="choose a denoiser that reads text")

    @property
    def features(self) -> tuple[int | None, ...]:
        """Shape of a picture's features; None: any number of states."""
        if self.variant == "base":
            return (self.image_width,)
        return (None, self.image_width)


@config
class DropConfig:
    """Chances that a sample is trained without a condition, for guidance; at most one case a sample (sec. 4.1.2)."""

    image: float = 0.05
    """Without its picture alone."""
    text: float = 0.05
    """Without its text alone."""
    both: float = 0.05

    def __post_init__(self) -> None:
        rates = (self.image, self.text, self.both)
        if min(rates) < 0 or not sum(rates) <= 1:
            raise ConfigError(
                f"drop rates {rates} are out of range", do="choose three of 0 or more, 1 at most in all"
            )
