"""The three projectors of image features to tokens, under the published names.

They are modules of our own. Those of diffusers have other names, and keep keys and values apart that are published as
one weight, so that neither reading nor writing the published layout would be a plain `load_state_dict`. The tests
compare the outputs of both.

Axes: b pictures, s states of the encoder, t image tokens, i image width, d text width, w width of the resampler.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.papers.ip_adapter.config import IPAdapterConfig, ResamplerConfig

__all__ = ["Full", "Linear", "Resampler", "make_projector"]


class Linear(nn.Module):
    """One linear layer to all tokens, then LayerNorm (sec. 3.2.1): the base variant."""

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.tokens = config.tokens
        self.proj = nn.Linear(config.image_width, config.tokens * config.text_width)
        self.norm = nn.LayerNorm(config.text_width)

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings `b i` to tokens `b t d`."""
        found: Tensor = self.norm(self.proj(features).unflatten(-1, (self.tokens, -1)))
        return found


class Full(nn.Module):
    """Two layers that turn each state into a token: the "full" variant."""

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Linear(config.image_width, config.image_width),
            nn.GELU(),
            nn.Linear(config.image_width, config.text_width),
            nn.LayerNorm(config.text_width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """States `b t i` to tokens `b t d`."""
        found: Tensor = self.proj(features)
        return found


class PerceiverAttention(nn.Module):
    """Attention of latents to features and to themselves."""

    def __init__(self, sizes: ResamplerConfig) -> None:
        super().__init__()
        inner = sizes.heads * sizes.head_width
        self.heads = sizes.heads
        self.norm1 = nn.LayerNorm(sizes.width)
        self.norm2 = nn.LayerNorm(sizes.width)
        self.to_q = nn.Linear(sizes.width, inner, bias=False)
        self.to_kv = nn.Linear(sizes.width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, sizes.width, bias=False)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """Features `b s w` and latents `b t w` to what is added to the latents, `b t w`."""
        latents = self.norm2(latents)
        context = torch.cat((self.norm1(features), latents), dim=1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(latents), *self.to_kv(context).chunk(2, dim=-1))
        )
        found = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(found.transpose(1, 2).flatten(2))
        return out


def _feed_forward(sizes: ResamplerConfig) -> nn.Sequential:
    hidden = sizes.ratio * sizes.width
    return nn.Sequential(
        nn.LayerNorm(sizes.width),
        nn.Linear(sizes.width, hidden, bias=False),
        nn.GELU(),
        nn.Linear(hidden, sizes.width, bias=False),
    )


class Resampler(nn.Module):
    """Learned queries that draw an encoder's states together (sec. 4.4.2): the "plus" variant.

    Reference: tencent-ailab/IP-Adapter, ip_adapter/resampler.py.
    """

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        sizes = config.resampler
        self.latents = nn.Parameter(torch.randn(1, config.tokens, sizes.width) / sizes.width**0.5)
        self.proj_in = nn.Linear(config.image_width, sizes.width)
        self.proj_out = nn.Linear(sizes.width, config.text_width)
        self.norm_out = nn.LayerNorm(config.text_width)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(sizes), _feed_forward(sizes)]) for _ in range(sizes.depth)
        )

    def forward(self, features: Tensor) -> Tensor:
        """States `b s i` to tokens `b t d`."""
        features = self.proj_in(features)
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            attend, feed_forward = layer
            latents = attend(features, latents) + latents
            latents = feed_forward(latents) + latents
        found: Tensor = self.norm_out(self.proj_out(latents))
        return found


def make_projector(config: IPAdapterConfig) -> nn.Module:
    """A new projector of the variant."""
    return {"base": Linear, "plus": Resampler, "full": Full}[config.variant](config)
