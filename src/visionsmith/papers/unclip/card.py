"""The metric card of a prior alone: what its users ask for and no paper gives.

Axes: n texts, m pictures, e embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visionsmith.evaluate.frechet import frechet_distance
from visionsmith.evaluate.zero_shot import first_true_ranks

__all__ = ["metric_card"]


def metric_card(
    found: Tensor, real: Tensor, pictures: Tensor, truth: Sequence[frozenset[int]]
) -> dict[str, float]:
    """Figures of image embeddings that were made from texts.

    Args:
        found: unit norm `n e`, one a text.
        real: embeddings of the pictures that belong to the texts, unit norm `n e`.
        pictures: embeddings of all pictures, unit norm `m e`.
        truth: for each text, the pictures that it is true for.

    Returns:
        "cosine" with the true embedding, mean; "top1", "top5": share of texts whose picture is nearest among all, or
        within five; "frechet": distance between the made and the real embeddings; "spread": mean cosine between two
        made embeddings, beside "spread_real" of the real ones (made ones that are nearer to each other have lost
        variety).
    """
    ranks = first_true_ranks(found, pictures, truth)
    return {
        "cosine": float((found * real).sum(dim=1).mean()),
        "top1": float((ranks <= 1).double().mean()),
        "top5": float((ranks <= 5).double().mean()),
        "frechet": frechet_distance(found.numpy(), real.numpy()),
        "spread": _between(found),
        "spread_real": _between(real),
    }


def _between(embeddings: Tensor) -> float:
    """Mean cosine of two different rows."""
    count = len(embeddings)
    total = embeddings.sum(dim=0).square().sum() - embeddings.square().sum()
    return float(total / (count * (count - 1))) if count > 1 else float(torch.nan)
