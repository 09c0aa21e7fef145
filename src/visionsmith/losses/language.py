"""Next-token cross-entropy that forms logits only where something is learned.

A language model's head is its largest product: 2,048 positions of 32,000 words are 262 MB in float32, three times over
with the softmax and the gradient. Instructions and pictures are most of a dialogue, and nothing is learned there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from visionsmith.losses.precision import at_least_float32

__all__ = ["IGNORED", "next_token_sums", "supervised"]

IGNORED = -100
"""Label of a position from which nothing is learned."""


def supervised(labels: Tensor) -> Tensor:
    """How many tokens of a batch are learned: the labels `b t` but those of the first place and the ignored ones."""
    return (labels[:, 1:] != IGNORED).sum()


def next_token_sums(
    hidden: Tensor,
    labels: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropies of the supervised tokens, and how many of them were the best guess.

    Args:
        hidden: `b t d`, the model's last states; the state at a position predicts the label at the next.
        labels: int64 `b t`, `IGNORED` where nothing is learned.
        head: states `n d` -> logits `n v`.
        chunk: most positions whose logits are held at once; they are computed again in the backward pass. None: all.

    Returns:
        Nats, and a count; both scalars of type float32 or wider. Without a supervised token both are 0, and the
        gradient is 0.
    """
    places = labels[:, 1:] != IGNORED
    states, targets = hidden[:, :-1][places], labels[:, 1:][places]

    def sums(some: Tensor, their: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(some)
        logits = logits.to(at_least_float32(logits))
        return F.cross_entropy(logits, their, reduction="sum"), (logits.argmax(dim=-1) == their).sum()

    if chunk is None or len(states) <= chunk:
        loss, right = sums(states, targets)
        return loss, right.to(loss.dtype)
    total, hits = [], []
    for some, their in zip(torch.split(states, chunk), torch.split(targets, chunk), strict=True):
        loss, right = checkpoint(sums, some, their, use_reentrant=False)
        total.append(loss)
        hits.append(right)
    loss = torch.stack(total).sum()
    return loss, torch.stack(hits).sum().to(loss.dtype)
