"""Sizes of C3: a compressor, N queries, a projection and a decoder.

Liu et al. 2025, arXiv:2511.15244. Imports no torch.
"""

from __future__ import annotations

import math

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["C3Config", "LanguageConfig", "published"]

SYSTEM = "You should follow the instructions carefully and explain your answers in detail."
"""The published system message."""


@config
class LanguageConfig:
    """Sizes of one Qwen2 model; the defaults are those of Qwen2.5-1.5B, the published compressor."""

    width: int = 1536
    layers: int = 28
    heads: int = 12
    """Attention heads of the queries; divides width."""
    key_heads: int = 2
    """Attention heads of keys and values; divides heads."""
    hidden: int = 8960
    """Width inside the feed-forward part of a layer."""
    rope_theta: float = 1_000_000.0
    """Base of the rotary positions."""
    tied: bool = True
    """Whether the output layer is the embedding; the compressor has no output layer."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "key_heads", "hidden"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} = {value} is not positive", do="choose at least 1")
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"width {self.width} does not split into {self.heads} heads of an even width",
                do=f"choose a multiple of {2 * self.heads}",
            )
        if self.heads % self.key_heads:
            raise ConfigError(
                f"{self.heads} heads are not a multiple of {self.key_heads} key heads",
                do=f"choose a multiple of {self.key_heads}",
            )
        if self.rope_theta <= 1:
            raise ConfigError(f"rope_theta = {self.rope_theta} is out of range", do="choose more than 1")

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads


@config
class C3Config:
    """A C3; the defaults are the published model."""

    vocab_size: int = 151_936
    """Tokens, of both models."""
    latents: int = 32
    """Queries N of the compressor, and so the most latents of a text."""
    stride: int | None = None
    """Tokens that a latent stands for. Its rotary position is theirs, and a text has a latent for every `stride`
    tokens that it has. None: positions count on, and every text has N latents, as published."""
    chunk: int = 8192
    """Most tokens of a text; longer ones are cut into several."""
    compressor: LanguageConfig = LanguageConfig()
    decoder: LanguageConfig = LanguageConfig(width=2048, layers=36, heads=16, hidden=11_008)
    norm_eps: float = 1e-6
    """Of the root-mean-square norms."""
    image_start: int = 151_857
    """Token before the queries and before the latents; the names are those of GOT-OCR, from which C3 derives."""
    image_pad: int = 151_859
    """Token whose places the queries and the latents take."""
    image_end: int = 151_858
    """Token after them."""
    system: str = SYSTEM
    """The decoder's system message; empty: none."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "latents", "chunk"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"model.{name} = {value} is not positive", do="choose at least 1")
        for name in ("image_start", "image_pad", "image_end"):
            if not 0 <= (value := getattr(self, name)) < self.vocab_size:
                raise ConfigError(
                    f"model.{name} = {value} is not in the vocabulary of {self.vocab_size} tokens",
                    do="give the id of the tokenizer's token",
                )
        if self.stride is not None:
            if self.stride < 1:
                raise ConfigError(f"model.stride = {self.stride} is not positive", do="choose at least 1")
            if self.latents * self.stride < self.chunk:
                raise ConfigError(
                    f"model.chunk = {self.chunk}: {self.latents} latents of {self.stride} tokens do not reach so far",
                    do=f"choose at most {self.latents * self.stride}, or more latents",
                )

    def latents_of(self, tokens: int) -> int:
        """Latents of a text of so many tokens."""
        return self.latents if self.stride is None else math.ceil(tokens / self.stride)


def published(latents: int = 32) -> C3Config:
    """The published sizes, Qwen2.5-1.5B into Qwen2.5-3B.

    Args:
        latents: 32, of which weights were released; the paper also studies 64 and 100.
    """
    return C3Config(latents=latents)
