"""Sizes of CLIP: the two image towers, the text tower, and the nine published models.

Radford et al. 2021, arXiv:2103.00020, tables 19 and 20. Imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from visionsmith.config import config
from visionsmith.errors import ConfigError, nearest

__all__ = [
    "PUBLISHED",
    "CLIPConfig",
    "ModifiedResNetConfig",
    "TextConfig",
    "VisionTransformerConfig",
    "published",
]

Activation = Literal["quick_gelu", "gelu"]


def _positive(part: str, settings: object, *names: str) -> None:
    for name in names:
        if (value := getattr(settings, name)) < 1:
            raise ConfigError(f"{part}.{name} = {value} is not positive", do="choose at least 1")


def _multiple(part: str, name: str, value: int, of: str, unit: int) -> None:
    if unit < 1 or value % unit:
        raise ConfigError(
            f"{part}: {name} {value} is not a multiple of {of} {unit}",
            do=f"choose a multiple of {max(unit, 1)}",
        )


@config
class VisionTransformerConfig:
    """Vision transformer tower; the defaults are those of ViT-B/32."""

    kind: Literal["vit"] = "vit"
    image_size: int = 224
    """Side of the square input, pixels."""
    patch_size: int = 32
    """Side of a patch, pixels; divides image_size."""
    width: int = 768
    layers: int = 12
    heads: int = 12
    """Attention heads; divides width. The published models have one a 64 channels."""
    activation: Activation = "quick_gelu"

    def __post_init__(self) -> None:
        _positive("vision", self, "image_size", "patch_size", "width", "layers", "heads")
        _multiple("vision", "image_size", self.image_size, "patch_size", self.patch_size)
        _multiple("vision", "width", self.width, "heads", self.heads)

    @property
    def grid(self) -> int:
        """Patches a side."""
        return self.image_size // self.patch_size


@config
class ModifiedResNetConfig:
    """ResNet with a three-convolution stem, anti-aliased strides and attention pooling; defaults of RN50."""

    kind: Literal["resnet"] = "resnet"
    image_size: int = 224
    """Side of the square input, pixels; a multiple of `stride`."""
    width: int = 64
    """Channels of the stem; even. Stage i (from 0) works at width * 2**i and puts out four times as many."""
    layers: tuple[int, ...] = (3, 4, 6, 3)
    """Bottleneck blocks in each stage; the published models have four stages."""
    heads: int | None = None
    """Heads of the attention pool; None: one a 64 channels of the last stage, as published."""

    def __post_init__(self) -> None:
        _positive("vision", self, "image_size", "width")
        if not self.layers or min(self.layers) < 1:
            raise ConfigError(
                f"vision.layers = {list(self.layers)} is not a list of stages",
                do="give the number of blocks of each stage, e.g. [3, 4, 6, 3]",
            )
        _multiple("vision", "width", self.width, "the stem's factor", 2)
        _multiple("vision", "image_size", self.image_size, "the tower's stride", self.stride)
        _multiple("vision", "width of the last stage", self.last_width, "heads", self.pool_heads)

    @property
    def stride(self) -> int:
        """Input pixels a side of one position of the last feature map."""
        return 2 << len(self.layers)

    @property
    def grid(self) -> int:
        """Side of the last feature map."""
        return self.image_size // self.stride

    @property
    def last_width(self) -> int:
        """Channels of the last feature map."""
        return self.width * self.stride

    @property
    def pool_heads(self) -> int:
        """Heads of the attention pool."""
        return max(1, self.last_width // 64) if self.heads is None else self.heads


@config
class TextConfig:
    """Causal text transformer; the defaults are those of ViT-B/32."""

    vocab_size: int = 49408
    context_length: int = 77
    """Most tokens of a caption, start and end tokens included."""
    width: int = 512
    heads: int = 8
    """Attention heads; divides width."""
    layers: int = 12
    activation: Activation = "quick_gelu"
    end_token: int | None = None
    """Id of the token whose position is read out, at its first occurrence. None: the largest id of the
    caption, which is the published rule and holds only as long as no token with a larger id is added."""

    def __post_init__(self) -> None:
        _positive("text", self, "vocab_size", "context_length", "width", "heads", "layers")
        _multiple("text", "width", self.width, "heads", self.heads)
        if self.end_token is not None and not 0 <= self.end_token < self.vocab_size:
            raise ConfigError(
                f"text.end_token = {self.end_token} is not in the vocabulary of {self.vocab_size} tokens",
                do="give the id of the tokenizer's end token",
            )


@config
class CLIPConfig:
    """Two towers and the width of the embedding that they share; the defaults are those of ViT-B/32."""

    embed_dim: int = 512
    vision: Annotated[VisionTransformerConfig | ModifiedResNetConfig, Field(discriminator="kind")] = (
        VisionTransformerConfig()
    )
    text: TextConfig = TextConfig()

    def __post_init__(self) -> None:
        _positive("model", self, "embed_dim")


_TEXT = {
    512: TextConfig(width=512, heads=8),
    640: TextConfig(width=640, heads=10),
    768: TextConfig(width=768, heads=12),
    1024: TextConfig(width=1024, heads=16),
}


def _vit(image_size: int, patch_size: int, width: int, layers: int, embed_dim: int) -> CLIPConfig:
    vision = VisionTransformerConfig(
        image_size=image_size, patch_size=patch_size, width=width, layers=layers, heads=width // 64
    )
    return CLIPConfig(embed_dim=embed_dim, vision=vision, text=_TEXT[embed_dim])


def _resnet(image_size: int, width: int, layers: tuple[int, ...], embed_dim: int, text: int) -> CLIPConfig:
    vision = ModifiedResNetConfig(image_size=image_size, width=width, layers=layers)
    return CLIPConfig(embed_dim=embed_dim, vision=vision, text=_TEXT[text])


_PUBLISHED = {
    "RN50": _resnet(224, 64, (3, 4, 6, 3), 1024, 512),
    "RN101": _resnet(224, 64, (3, 4, 23, 3), 512, 512),
    "RN50x4": _resnet(288, 80, (4, 6, 10, 6), 640, 640),
    "RN50x16": _resnet(384, 96, (6, 8, 18, 8), 768, 768),
    "RN50x64": _resnet(448, 128, (3, 15, 36, 10), 1024, 1024),
    "ViT-B/32": _vit(224, 32, 768, 12, 512),
    "ViT-B/16": _vit(224, 16, 768, 12, 512),
    "ViT-L/14": _vit(224, 14, 1024, 24, 768),
    "ViT-L/14@336px": _vit(336, 14, 1024, 24, 768),
}

PUBLISHED = tuple(_PUBLISHED)
"""Names of the published models."""


def published(name: str) -> CLIPConfig:
    """The config of a published model, e.g. "ViT-B/32".

    Raises:
        ConfigError: there is no published model of that name; names the nearest.
    """
    if name in _PUBLISHED:
        return _PUBLISHED[name]
    close = nearest(name, PUBLISHED)
    hint = f"did you mean '{close}'" if close else f"there are: {', '.join(PUBLISHED)}"
    raise ConfigError(f"there is no published CLIP '{name}'", do=hint)
