"""Attention in bfloat16 that goes backward as fast on a processor as its products do.

The backward pass of torch's fused attention takes a processor up to four times as long in bfloat16 as in float32: a
third of the step of ICEdit's small filler. Here the forward pass is torch's own, to the bit; the backward pass is
five plain products (Dao et al. 2022, arXiv:2205.14135, appendix B.2), which run in the processor's bfloat16 units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["quick_backward"]

LONGEST = 256
"""Queries times keys beyond the square of it go torch's way, where it is as fast."""
CACHED = 2**18
"""Probabilities that are held at a time, in float32: as many as stay in a core's own cache."""


TORCHS = F.scaled_dot_product_attention


@contextmanager
def quick_backward() -> Iterator[None]:
    """While it is on, `F.scaled_dot_product_attention` in bfloat16 on a processor goes backward by plain products.

    Calls that have dropout, grouped heads, a learned mask, or are longer than `LONGEST` stay as they are. It is to be
    on in the backward pass too, in which checkpoints run blocks forward again. The function is replaced for that time:
    a mode of torch's would be off in backward passes.
    """
    before = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As `F.scaled_dot_product_attention`, whose names these are: `b h m d`, `b h n d`, `b h n d` to `b h m d`."""
    half = _half(query)
    quick = (
        half
        and query.device.type == "cpu"
        and torch.is_grad_enabled()
        and any(part.requires_grad for part in (query, key, value))
        and dropout_p == 0
        and query.ndim == key.ndim == value.ndim == 4
        and query.shape[:2] == key.shape[:2] == value.shape[:2]
        and query.shape[3] == value.shape[3]
        and not (attn_mask is not None and attn_mask.requires_grad)
        and query.shape[2] * key.shape[2] <= LONGEST**2
    )
    if not quick:
        found: Tensor = TORCHS(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
        return found
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=torch.bfloat16).masked_fill_(~attn_mask, -math.inf)
    parts = (part.to(torch.bfloat16) for part in (query, key, value))
    found = _Attention.apply(*parts, attn_mask, is_causal, query.shape[3] ** -0.5 if scale is None else scale)  # type: ignore[no-untyped-call]
    return found


def _half(query: Tensor) -> bool:
    """Whether torch would attend in bfloat16."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return query.dtype == torch.bfloat16


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float
    ) -> Tensor:
        if mask is not None:
            mask = mask.to(torch.bfloat16).expand(*query.shape[:3], key.shape[2])
        out, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=mask, scale=scale
        )
        ctx.save_for_backward(query, key, value, mask, out, total)
        ctx.causal, ctx.scale, ctx.lead = causal, scale, query.shape[:2]
        found: Tensor = out
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, out, total = ctx.saved_tensors
        (given,) = gradients
        parts = [part.flatten(0, 1) for part in (query, key, value, out, given, total.unsqueeze(-1))]
        query, key, value, out, given, total = parts
        masks = None if mask is None else mask.flatten(0, 1)
        found = [torch.empty_like(part) for part in (query, key, value)]
        held = max(1, CACHED // (query.shape[1] * key.shape[1]))
        for begin in range(0, len(query), held):
            some = slice(begin, begin + held)
            slopes = _slopes(
                *(query[some], key[some], value[some], out[some], given[some], total[some]),
                None if masks is None else masks[some],
                causal=ctx.causal,
                scale=ctx.scale,
            )
            for whole, part in zip(found, slopes, strict=True):
                whole[some] = part
        return *(part.unflatten(0, ctx.lead) for part in found), None, None, None  # type: ignore[no-untyped-call]


def _slopes(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    given: Tensor,
    total: Tensor,
    mask: Tensor | None,
    *,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value of some heads.

    Args:
        query: `g m d`.
        key: `g n d`.
        value: likewise.
        out: of the forward pass, `g m d`.
        given: the gradient of it.
        total: logarithm of the sum of exponentials, `g m 1` float32.
        mask: added to the scores, `g m n`.
        causal: whether a query sees no later key.
        scale: of the scores.
    """
    # In float32: what is rounded here would be rounded before an exponential.
    scores = (query.float() @ key.float().transpose(1, 2)).mul_(scale)
    if mask is not None:
        scores += mask
    if causal:
        ahead = torch.ones(scores.shape[1:], dtype=torch.bool).triu_(1)
        scores.masked_fill_(ahead, -math.inf)
    # A row that sees nothing has no finite total, and no probabilities.
    shares = scores.sub_(torch.where(total.isfinite(), total, 0.0)).exp_()
    by_value = shares.to(query.dtype).transpose(1, 2) @ given
    own = (given.float() * out.float()).sum(dim=2, keepdim=True)
    slopes = shares.mul_((given @ value.transpose(1, 2)).float().sub_(own)).mul_(scale).to(query.dtype)
    return slopes @ key, slopes.transpose(1, 2) @ query, by_value
