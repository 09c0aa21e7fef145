"""A convolutional network of the same blocks and as many parameters: what MobileViT is compared with.

The layout is that of MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, table 2), made of MobileViT's inverted
residuals, and so with SiLU in place of ReLU6.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict

import torch
from torch import Tensor, nn

from visionsmith.papers.mobilevit.model import ConvLayer, InvertedResidual

__all__ = ["MobileNet", "equal_mobilenet"]

LAYOUT = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repetitions and stride of the first, for each stage."""
STEM, HEAD = 32, 1280


class MobileNet(nn.Module):
    """Stem, seven stages of inverted residuals, pooling, linear layer; every width times `width`."""

    def __init__(self, width: float, classes: int) -> None:
        super().__init__()
        channels = _scaled(STEM, width)
        layers: list[nn.Module] = [ConvLayer(3, channels, 3, stride=2)]
        for expansion, outputs, repeats, stride in LAYOUT:
            wide = _scaled(outputs, width)
            for number in range(repeats):
                first = number == 0
                layers.append(
                    InvertedResidual(channels, wide, stride=stride if first else 1, expansion=expansion)
                )
                channels = wide
        head = _scaled(HEAD, width)
        self.features = nn.Sequential(*layers, ConvLayer(channels, head))
        self.classifier = nn.Sequential(OrderedDict(fc=nn.Linear(head, classes)))

    def forward(self, images: Tensor) -> Tensor:
        """Images b 3 h w float -> logits b classes."""
        features = self.features(images.contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


def equal_mobilenet(parameters: int, classes: int) -> MobileNet:
    """The network whose number of parameters is nearest to the wanted one, of widths in steps of a fiftieth."""

    def count(step: int) -> int:
        with torch.device("meta"):
            made = MobileNet(step / 50, classes)
        return sum(parameter.numel() for parameter in made.parameters())

    steps = range(5, 100)
    above = steps[min(bisect_left(steps, parameters, key=count), len(steps) - 1)]
    nearest = min((max(above - 1, steps[0]), above), key=lambda step: abs(count(step) - parameters))
    return MobileNet(nearest / 50, classes)


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width / 8) * 8)
