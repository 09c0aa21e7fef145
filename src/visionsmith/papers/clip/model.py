"""CLIP: two towers and a learned temperature (Radford et al. 2021, arXiv:2103.00020, fig. 1 and 3).

The state dict has exactly the names and shapes of the published weights.

Axes: b images or captions, h/w pixels, n tokens, e joint embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.papers.clip.config import CLIPConfig
from visionsmith.papers.clip.text import TextTower
from visionsmith.papers.clip.vision import image_tower

__all__ = ["CLIP"]


class CLIP(TextTower):
    """An image tower and a text tower that share nothing but the space they write to.

    The published weights keep the text tower at the top level and the image tower under `visual`; deriving
    from the text tower is what gives the same names.
    """

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config.text, config.embed_dim)
        self.config = config
        self.visual = image_tower(config.vision, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        """Logarithm of the inverse temperature."""

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images.

        Args:
            images: b 3 h w float, RGB, normalised with CLIP's mean and standard deviation; h = w = the
                config's image_size.

        Returns:
            b e float32, of unit norm.
        """
        size = self.config.vision.image_size
        assert images.shape[1:] == (3, size, size), (
            f"images are {tuple(images.shape)}, not (b, 3, {size}, {size})"
        )
        return _unit(self.visual(images))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed captions.

        Args:
            tokens: b n int64, zero padded; any n. Padding after the longest caption is cut off, which is
                exact.

        Returns:
            b e float32, of unit norm.

        Raises:
            DataError: a caption has no end token, or is longer than the context.
        """
        return _unit(self.project_text(tokens))

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Similarities times exp(logit_scale), images by captions; takes what the two encoders take."""
        image, text = self.encode_image(images), self.encode_text(tokens)
        # In bfloat16 a similarity near 1, times 100, would be off by a fifth.
        with torch.autocast(image.device.type, enabled=False):
            return self.logit_scale.exp() * image @ text.T


def _unit(x: Tensor) -> Tensor:
    # In bfloat16 the norm would be off by some thousandths.
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
