"""Pre-norm transformer as CLIP uses it in both towers (Radford et al. 2021, sec. 2.4).

Names of the parameters are those of the published CLIP weights (`resblocks.0.attn.in_proj_weight`,
`resblocks.0.mlp.c_fc.weight`, ...), so these load without renaming.

Axes: b sequences, n tokens, d width, h heads, k width of a head.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Activation", "QuickGELU", "ResidualAttentionBlock", "SelfAttention", "Transformer"]

Activation = Literal["quick_gelu", "gelu"]


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that the published CLIP weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        # The same function through SiLU: one fused backward kernel and one saved tensor instead of two.
        return F.silu(x * 1.702) * (1 / 1.702)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        assert width % heads == 0, f"width {width} is not a multiple of {heads} heads"
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, *, causal: bool = False, only: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: b n d.
            causal: whether a token sees only itself and those before it.
            only: b int64, the one position of each sequence whose result is wanted.

        Returns:
            b n d, or b 1 d with `only`.
        """
        if only is None:
            query, key, value = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
            seen = None
        else:
            width = x.shape[-1]
            query = F.linear(take(x, only), self.in_proj_weight[:width], self.in_proj_bias[:width])
            key, value = F.linear(x, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, dim=-1)
            positions = torch.arange(x.shape[1], device=x.device)
            seen = (positions <= only[:, None])[:, None, None] if causal else None  # b 1 1 n
        mixed = F.scaled_dot_product_attention(
            self._split(query),
            self._split(key),
            self._split(value),
            attn_mask=seen,
            is_causal=causal and only is None,
        )
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, x.shape[-1] // self.heads).transpose(1, 2)  # b h n k


class ResidualAttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); the hidden layer is four times as wide."""

    def __init__(self, width: int, heads: int, *, activation: Activation = "quick_gelu") -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=QuickGELU() if activation == "quick_gelu" else nn.GELU(),
                c_proj=nn.Linear(4 * width, width),
            )
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, *, causal: bool = False, only: Tensor | None = None) -> Tensor:
        """Tokens b n d -> b n d; with `only` (b int64) b 1 d, that row alone. See `SelfAttention.forward`."""
        attended = self.attn(self.ln_1(x), causal=causal, only=only)
        x = (x if only is None else take(x, only)) + attended
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    """A stack of residual attention blocks."""

    def __init__(self, width: int, heads: int, layers: int, *, activation: Activation = "quick_gelu") -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            ResidualAttentionBlock(width, heads, activation=activation) for _ in range(layers)
        )

    def forward(self, x: Tensor, *, causal: bool = False, only: Tensor | None = None) -> Tensor:
        """Run the stack.

        Args:
            x: b n d.
            causal: whether a token sees only itself and those before it.
            only: b int64, the one position of each sequence that is used afterwards. The last block then
                computes nothing else, which is exact and saves five sixths of it.

        Returns:
            b n d, or b d with `only`.
        """
        *first, last = self.resblocks
        for block in first:
            x = block(x, causal=causal)
        x = last(x, causal=causal, only=only)
        return x if only is None else x[:, 0]


def take(x: Tensor, positions: Tensor) -> Tensor:
    """One token of each sequence: b n d and b int64 -> b 1 d."""
    return x[torch.arange(len(x), device=x.device), positions][:, None]
