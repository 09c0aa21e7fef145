"""A small CrossViT for the tests."""

from __future__ import annotations

from typing import Any

from torch import nn

from visionsmith.config import override
from visionsmith.papers.crossvit import CrossViT, CrossViTConfig

__all__ = ["SMALL", "make"]

SMALL = CrossViTConfig(
    image_sizes=(24, 32),
    patch_sizes=(6, 8),
    widths=(12, 24),
    heads=(2, 4),
    mlp_ratios=(2.0, 3.0),
    depths=((1, 2, 1), (2, 1, 1)),
    classes=5,
)


def make(**changes: Any) -> CrossViT:
    """A small model whose weights are large enough for a mistake to show."""
    model = CrossViT(override(SMALL, changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 0.5)
    return model
