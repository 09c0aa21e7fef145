"""The parts of one branch of CrossViT: patches to tokens, and the pre-norm transformer block.

Chen, Fan and Panda 2021, arXiv:2103.14899, sec. 3.1. Reference: IBM/CrossViT, models/crossvit.py (Apache-2.0), whose
parameter names these are.

Axes: b images, h/w pixels or grid, n tokens with the class token first, d width, k width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.papers.crossvit.config import STEM_STRIDES

__all__ = ["NORM_EPSILON", "Block", "DropPath", "PatchEmbedding", "split_heads"]

NORM_EPSILON = 1e-6


class DropPath(nn.Module):
    """Leaves a residual branch out for a share of the samples in training, and scales the others up."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, samples along the first axis."""
        if self.share == 0 or not self.training:
            return x
        kept = x.new_empty((len(x), *(1,) * (x.ndim - 1))).bernoulli_(1 - self.share)
        return x * (kept / (1 - self.share))


class PatchEmbedding(nn.Module):
    """Patches to tokens: one linear map, or three convolutions of the same total stride."""

    def __init__(self, patch_size: int, width: int, *, convolutions: bool) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj: nn.Module
        if not convolutions:
            self.proj = nn.Conv2d(3, width, patch_size, patch_size)
            return
        strides = STEM_STRIDES[patch_size]
        self.proj = nn.Sequential(
            nn.Conv2d(3, width // 4, 7, strides[0], padding=3),
            nn.ReLU(inplace=True),
            _three_by_three(width // 4, width // 2, strides[1]),
            nn.ReLU(inplace=True),
            _three_by_three(width // 2, width, strides[2]),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images b 3 h w, sides multiples of the patch, to tokens b (h/p w/p) d in rows from the top left."""
        tokens: Tensor = self.proj(images).flatten(2).mT
        return tokens


def _three_by_three(channels: int, output: int, stride: int) -> nn.Conv2d:
    # At stride 3 the windows tile the picture, and the published stem pads nothing.
    return nn.Conv2d(channels, output, 3, stride, padding=0 if stride == 3 else 1)


class Attention(nn.Module):
    """Multi-head self-attention with one projection for query, key and value."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens b n d -> b n d."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(query, key, value)
        output: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return output

    def class_weights(self, x: Tensor) -> Tensor:
        """How much the class token attends to each token: b n, the mean over heads, sums to one."""
        query, key, _ = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        scores = query[:, :, :1] @ key.mT * key.shape[-1] ** -0.5  # b heads 1 n
        weights: Tensor = scores.softmax(dim=-1)[:, :, 0].mean(dim=1)
        return weights


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Tokens b n d -> b heads n k, a view."""
    return x.view(*x.shape[:2], heads, x.shape[-1] // heads).transpose(1, 2)


class MLP(nn.Module):
    """Two linear maps with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens b n d -> b n d."""
        output: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return output


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, hidden: int, *, qkv_bias: bool, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, NORM_EPSILON)
        self.attn = Attention(width, heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, NORM_EPSILON)
        self.mlp = MLP(width, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens b n d -> b n d."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        output: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return output

    @torch.no_grad()
    def class_weights(self, x: Tensor) -> Tensor:
        """How much the class token attends to each token of the block's input b n d: b n."""
        return self.attn.class_weights(self.norm1(x))
