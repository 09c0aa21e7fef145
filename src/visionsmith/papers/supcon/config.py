"""Sizes of the encoders, projection heads and classifiers of supervised contrastive learning.

Khosla et al. 2020, arXiv:2004.11362, sec. 3.1 and 4. Imports no torch.
"""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError, nearest

__all__ = ["PUBLISHED", "ResNetConfig", "SupConConfig", "published"]


@config
class ResNetConfig:
    """The encoder; the defaults are those of the ResNet-50 for CIFAR."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Inner channels of each stage; a bottleneck puts out four times as many."""
    layers: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks in each stage."""
    stem: Literal["small", "large"] = "small"
    """"small": 3x3, keeps the size (for CIFAR). "large": 7x7 and a pool, a quarter of the sides (for ImageNet)."""
    zero_init: bool = False
    """Whether every block starts as the identity."""

    def __post_init__(self) -> None:
        for name in ("widths", "layers"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ConfigError(
                    f"encoder.{name} = {list(values)} is not a list of stages",
                    do="give a positive number for each stage, e.g. [16, 32, 64]",
                )
        if len(self.widths) != len(self.layers):
            raise ConfigError(
                f"encoder.widths has {len(self.widths)} stages and encoder.layers {len(self.layers)}",
                do="give one number a stage in both",
            )

    @property
    def features(self) -> int:
        """Features that the encoder puts out."""
        return self.widths[-1] * (4 if self.block == "bottleneck" else 1)

    @property
    def stride(self) -> int:
        """Input pixels a side of one position of the last feature map."""
        return (1 << (len(self.layers) - 1)) * (4 if self.stem == "large" else 1)


@config
class SupConConfig:
    """An encoder with what is put on it; the defaults are those of the public code."""

    image_size: int = 32
    """Side of the pictures that it was trained on, pixels."""
    encoder: ResNetConfig = ResNetConfig()
    head: Literal["mlp", "linear"] | None = "mlp"
    """The projection that the contrastive loss sees; null for a model that is trained with labels alone (SupCE)."""
    embed_dim: int = 128
    """Width of the projection."""
    classes: tuple[str, ...] = ()
    """Names of the linear classifier's classes; empty for a model without one."""
    mean: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)
    """Mean of R, G, B in the training data, of values 0 to 1."""
    std: tuple[float, float, float] = (0.2023, 0.1994, 0.2010)
    """Standard deviation of R, G, B."""

    def __post_init__(self) -> None:
        for name in ("image_size", "embed_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is not positive", do="choose at least 1")
        if self.image_size < self.encoder.stride:
            raise ConfigError(
                f"image_size = {self.image_size} px is below the encoder's stride of {self.encoder.stride} px",
                do=f"choose at least {self.encoder.stride} px, or fewer stages",
            )
        if min(self.std) <= 0:
            raise ConfigError(
                f"std = {list(self.std)} is not positive", do="give the deviation of each channel"
            )
        if len(set(self.classes)) != len(self.classes):
            raise ConfigError("two classes have one name", do="give each class a name of its own")


_PUBLISHED = {
    "resnet18": ResNetConfig(block="basic", layers=(2, 2, 2, 2)),
    "resnet34": ResNetConfig(block="basic", layers=(3, 4, 6, 3)),
    "resnet50": ResNetConfig(layers=(3, 4, 6, 3)),
    "resnet101": ResNetConfig(layers=(3, 4, 23, 3)),
}

PUBLISHED = tuple(_PUBLISHED)
"""Names of the public code's encoders."""


def published(name: str) -> ResNetConfig:
    """The config of an encoder of the public code, e.g. "resnet50".

    Raises:
        ConfigError: there is none of that name; names the nearest.
    """
    if name in _PUBLISHED:
        return _PUBLISHED[name]
    close = nearest(name, PUBLISHED)
    hint = f"did you mean '{close}'" if close else f"there are: {', '.join(PUBLISHED)}"
    raise ConfigError(f"there is no published encoder '{name}'", do=hint)
