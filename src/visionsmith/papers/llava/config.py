"""Sizes of LLaVA: vision tower, projector and language model; and the published ones.

Liu et al. 2023, arXiv:2304.08485, sections 4.1 and 4.2. Imports no torch.
"""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["LanguageConfig", "LlavaConfig", "TowerConfig", "llava_7b", "llava_13b"]

Projector = Literal["linear", "mlp2x_gelu"]
Template = Literal["plain", "v0", "v1", "llama_2"]


def _positive(part: str, settings: object, *names: str) -> None:
    for name in names:
        if (value := getattr(settings, name)) < 1:
            raise ConfigError(f"{part}.{name} = {value} is not positive", do="choose at least 1")


def _multiple(part: str, name: str, value: int, of: str, unit: int) -> None:
    if value % unit:
        raise ConfigError(
            f"{part}.{name} = {value} is not a multiple of {of} {unit}", do=f"choose a multiple of {unit}"
        )


@config
class TowerConfig:
    """CLIP's vision transformer; the defaults are those of ViT-L/14 at 224 pixels."""

    image_size: int = 224
    """Side of the square input, pixels."""
    patch_size: int = 14
    """Side of a patch, pixels; divides image_size."""
    width: int = 1024
    hidden: int = 4096
    """Width inside the feed-forward layers."""
    layers: int = 24
    heads: int = 16
    """Attention heads; divides width."""
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"

    def __post_init__(self) -> None:
        _positive("vision", self, "image_size", "patch_size", "width", "hidden", "layers", "heads")
        _multiple("vision", "image_size", self.image_size, "patch_size", self.patch_size)
        _multiple("vision", "width", self.width, "heads", self.heads)

    @property
    def patches(self) -> int:
        """Patches of a picture: as many tokens as it takes in the language model."""
        return (self.image_size // self.patch_size) ** 2


@config
class LanguageConfig:
    """A Llama; the defaults are those of Vicuna 7B."""

    vocab_size: int = 32_000
    width: int = 4096
    hidden: int = 11_008
    """Width inside the feed-forward layers."""
    layers: int = 32
    heads: int = 32
    """Attention heads; divides width."""
    key_value_heads: int | None = None
    """Heads of keys and values; divides heads. None: as many as heads."""
    context: int = 2048
    """Most tokens of a conversation, those of its pictures included."""
    rope_theta: float = 10_000.0
    """Base of the rotary position embedding."""
    norm_eps: float = 1e-6
    tied: bool = False
    """Whether the head is the transposed embedding."""
    initial_std: float = 0.02
    """Standard deviation of new weights."""

    def __post_init__(self) -> None:
        _positive("language", self, "vocab_size", "width", "hidden", "layers", "heads", "context")
        _multiple("language", "width", self.width, "twice the heads", 2 * self.heads)
        _positive("language", self, *(("key_value_heads",) if self.key_value_heads is not None else ()))
        _multiple("language", "heads", self.heads, "key_value_heads", self.key_value_heads or self.heads)


@config
class LlavaConfig:
    """A vision tower whose patches a projector turns into words of a language model."""

    vision: TowerConfig = TowerConfig()
    language: LanguageConfig = LanguageConfig()
    projector: Projector = "linear"
    """One linear layer as in the paper, or two with GELU between them as in its successor."""
    select_layer: int = -2
    """The tower's state that is used: -1 is the last block's, -2 the one before (sec. 4.1)."""
    template: Template = "v1"
    """How a conversation is written."""
    image_token: int = 32_000
    """Id that stands for a picture; may lie outside of the vocabulary."""
    start_token: int | None = 1
    """Id of the token that a conversation begins with; None: there is none."""
    end_token: int = 2
    """Id of the token that ends an answer."""
    system: str | None = None
    """Words before the first turn; None: those of the template."""

    def __post_init__(self) -> None:
        least = -self.vision.layers - 1
        if not least <= self.select_layer <= -1:
            raise ConfigError(
                f"select_layer = {self.select_layer} is not a state of a tower of {self.vision.layers} blocks",
                do=f"choose {least} to -1",
            )
        if not 0 <= self.end_token < self.language.vocab_size:
            raise ConfigError(
                f"end_token = {self.end_token} is not in the vocabulary of {self.language.vocab_size} tokens",
                do="give the id of the tokenizer's end token",
            )
        if self.image_token < 0 or self.image_token == self.end_token:
            raise ConfigError(
                f"image_token = {self.image_token} cannot stand for a picture", do="give an id of its own"
            )


def llava_7b() -> LlavaConfig:
    """LLaVA 7B: CLIP ViT-L/14 and Vicuna 7B; 4,198,400 parameters between them."""
    return LlavaConfig()


def llava_13b() -> LlavaConfig:
    """LLaVA 13B: CLIP ViT-L/14 and Vicuna 13B; 5,248,000 parameters between them."""
    return LlavaConfig(language=LanguageConfig(width=5120, hidden=13_824, layers=40, heads=40))
