"""Attention pooling: one query, the mean token, reads a feature map (CLIP, Radford et al. 2021, sec. 2.4).

Axes: b images, d channels, h/w grid, n = h w + 1 tokens, k width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AttentionPool"]


class AttentionPool(nn.Module):
    """Multi-head attention whose only query is the mean of the tokens."""

    def __init__(self, grid: int, width: int, heads: int, output: int) -> None:
        """Make the pool.

        Args:
            grid: side of the feature map; the learned positions fix it.
            width: channels of the feature map, a multiple of `heads`.
            heads: attention heads.
            output: width of the pooled vector.
        """
        super().__init__()
        assert width % heads == 0, f"width {width} is not a multiple of {heads} heads"
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, width) * width**-0.5)
        self.k_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, output)
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(projection.weight, std=width**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Feature map b d h w -> b output."""
        tokens = features.flatten(2).mT  # b hw d
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.positional_embedding
        query, key, value = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        mixed = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value))
        pooled: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(1))
        return pooled

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, x.shape[-1] // self.heads).transpose(1, 2)  # b heads n k
