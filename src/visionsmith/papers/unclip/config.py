"""Sizes of the prior and of the decoder, from which diffusers' classes are made."""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["PriorConfig", "UnclipConfig"]


@config
class PriorConfig:
    """A `PriorTransformer`; the defaults are those of Karlo, an open reproduction of the paper's."""

    embedding: int = 768
    """Values of CLIP's embeddings."""
    text_width: int = 768
    """Of the text encoder's states."""
    text_tokens: int = 77
    heads: int = 32
    head_width: int = 64
    layers: int = 20
    steps: int = 1000
    """Of the forward process, whose schedule is the squared cosine."""
    most: float = 5.0
    """Standardised predictions are cut at this size when sampling."""
    diffusion: bool = True
    """Whether embeddings are drawn from noise; else their mean is predicted at once, an ablation."""
    causal: bool = True
    """Whether a token sees only those before it, and no padding; in training and in sampling alike."""

    def __post_init__(self) -> None:
        for name in ("embedding", "text_width", "text_tokens", "heads", "head_width", "layers", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is not positive", do="choose at least 1")


@config
class UnclipConfig:
    """A prior and, where there is one, the decoder of its embeddings."""

    prior: PriorConfig = PriorConfig()
    extra_tokens: int = 4
    """Tokens that the image embedding becomes beside the text's (section 2.1)."""
    base: str = ""
    """SHA-256 of the latent diffusion model whose autoencoder and text encoder are used; empty: there is no decoder."""
    clip: str = ""
    """SHA-256 of the CLIP whose embeddings these are."""
