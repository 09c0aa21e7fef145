"""Supervised contrastive learning: an encoder, a projection for the loss, a classifier for use (Khosla et al. 2020).

Sec. 3.1: the encoder `Enc` gives the features that are kept. The head `Proj` maps them to the unit sphere where the
loss is computed, and is discarded afterwards; a linear classifier is then trained on the frozen features.

The state dict has exactly the names and shapes of the public code: `encoder.*` and `head.*` (SupConResNet), `fc.*`
(its LinearClassifier); without a head it is SupCEResNet.

Axes: b pictures, h/w pixels, f features, e projection, k classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.nn.resnet import ResNet
from visionsmith.papers.supcon.config import SupConConfig

__all__ = ["SupConResNet", "make_head"]


class SupConResNet(nn.Module):
    """An encoder with a projection head, a linear classifier, or both, as the config says."""

    def __init__(self, config: SupConConfig) -> None:
        super().__init__()
        self.config = config
        encoder = config.encoder
        self.encoder = ResNet(
            encoder.block, encoder.widths, encoder.layers, stem=encoder.stem, zero_init=encoder.zero_init
        )
        self.head = make_head(config)
        self.fc = nn.Linear(encoder.features, len(config.classes)) if config.classes else None
        self.frozen = False

    def freeze_encoder(self) -> None:
        """Leave the encoder as it is from now on, running statistics included: the second stage trains `fc` alone."""
        self.frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> SupConResNet:
        """As `nn.Module.train`; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def project(self, images: Tensor) -> Tensor:
        """Where the loss is computed: b 3 h w, normalised -> b e float32, of unit norm."""
        assert self.head is not None, "this model has no projection head"
        return _unit(self.head(self.encoder(images)))

    def embed(self, images: Tensor) -> Tensor:
        """The features to compare pictures by: b 3 h w, normalised -> b f float32, of unit norm."""
        return _unit(self.encoder(images))

    def forward(self, images: Tensor) -> Tensor:
        """The classifier's scores: b 3 h w, normalised -> b k, before the softmax."""
        assert self.fc is not None, "this model has no classifier"
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.encoder(images)
        scores: Tensor = self.fc(features)
        return scores


def make_head(config: SupConConfig) -> nn.Module | None:
    """The projection b f -> b e, before its norm is taken."""
    features = config.encoder.features
    if config.head is None:
        return None
    if config.head == "linear":
        return nn.Linear(features, config.embed_dim)
    return nn.Sequential(
        nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, config.embed_dim)
    )


def _unit(x: Tensor) -> Tensor:
    # In bfloat16 the norm would be off by some thousandths.
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
