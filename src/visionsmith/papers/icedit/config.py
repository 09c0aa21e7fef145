"""Sizes of an in-context editor: an inpainting transformer, and what is trained beside it for edits."""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.latent_diffusion import AutoencoderConfig, TextConfig

__all__ = ["AdapterConfig", "FillerConfig", "Router", "TransformerConfig"]

Router = Literal["switch", "published"]


@config
class AdapterConfig:
    """Low-rank updates beside the layers of a `FluxTransformer2DModel`; the defaults are the published ones."""

    rank: int = 32
    alpha: float = 32.0
    """An update is scaled by alpha / rank."""
    experts: int = 0
    """Updates of the last feed-forward layers, of which each token takes one; 0: a plain one there too."""
    router: Router = "switch"
    """How a token's expert is weighed. "switch": by its probability among all experts, so that the router learns.
    "published": by 1, as in the public code, whose router gets no gradient."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"rank = {self.rank} is out of range", do="choose 1 or more")
        if self.experts < 0 or self.experts == 1:
            raise ConfigError(f"experts = {self.experts} is out of range", do="choose 0 (none), or 2 or more")


@config
class TransformerConfig:
    """A `FluxTransformer2DModel` that fills; the defaults are FLUX.1 Fill's."""

    heads: int = 24
    head_width: int = 128
    rotary: tuple[int, int, int] = (16, 56, 56)
    """Of a head's width, the parts that are turned by kind of token, row and column."""
    dual: int = 19
    """Blocks in which text and picture have weights of their own."""
    single: int = 38
    """Blocks in which they share them."""
    text_width: int = 4096
    """Of the text's states."""
    pooled_width: int = 768
    """Of the text's one embedding."""
    guidance: bool = True
    """Whether the strength of guidance is an input (a model that was distilled from a guided one)."""

    def __post_init__(self) -> None:
        if sum(self.rotary) != self.head_width or any(part % 2 for part in self.rotary):
            raise ConfigError(
                f"rotary = {self.rotary} does not divide a head of width {self.head_width}",
                do="choose three even numbers whose sum it is",
            )


@config
class FillerConfig:
    """All parts of a model that fills a masked half of two pictures side by side."""

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    text: TextConfig = TextConfig()
    transformer: TransformerConfig = TransformerConfig()
