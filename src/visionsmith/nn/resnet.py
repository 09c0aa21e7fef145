"""Residual networks (He et al. 2016, arXiv:1512.03385) of any width and depth, for small pictures or large ones.

Parameter names are those of the CIFAR networks that the contrastive papers publish (`layer1.0.shortcut.0`); torchvision
says `downsample` for `shortcut`, and has the same weights otherwise.

Axes: b pictures, c channels, h/w pixels, f features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BLOCKS", "BasicBlock", "Bottleneck", "ResNet"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the first one strides."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(channels, width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm before the sum."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """Feature map b c h w -> b width h/stride w/stride."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions; the middle one strides."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        output = width * self.expansion
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, output, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(output)
        self.shortcut = _shortcut(channels, output, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The norm before the sum."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """Feature map b c h w -> b 4width h/stride w/stride."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.shortcut(x), inplace=True)


BLOCKS: dict[str, type[BasicBlock | Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(nn.Module):
    """A stem, stages of blocks, and the mean over the last feature map."""

    def __init__(
        self,
        block: Literal["basic", "bottleneck"],
        widths: Sequence[int],
        layers: Sequence[int],
        *,
        stem: Literal["small", "large"] = "small",
        zero_init: bool = False,
    ) -> None:
        """Make the network.

        Args:
            block: kind of the blocks.
            widths: inner channels of each stage; a bottleneck puts out four times as many. The stem has the first.
            layers: blocks in each stage; every stage but the first halves the sides.
            stem: "small": a 3x3 convolution that keeps the size, for CIFAR's 32 px. "large": a 7x7 convolution
                and a pool, which leave a quarter of the sides, for ImageNet's 224 px.
            zero_init: start every block as the identity, by a gain of 0 in its last norm.
        """
        super().__init__()
        assert widths, "a network needs a stage"
        assert len(widths) == len(layers), f"{len(widths)} widths for {len(layers)} stages"
        kind = BLOCKS[block]
        self.stem = stem
        self.stages = len(layers)
        self.features = widths[-1] * kind.expansion
        """Features that it puts out."""
        size, stride, padding = (3, 1, 1) if stem == "small" else (7, 2, 3)
        self.conv1 = nn.Conv2d(3, widths[0], size, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        channels = widths[0]
        for stage, (width, blocks) in enumerate(zip(widths, layers, strict=True)):
            output = width * kind.expansion
            first = kind(channels, width, 1 if stage == 0 else 2)
            others = [kind(output, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *others))
            channels = output
        self._initialise(zero_init)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures b 3 h w, normalised -> b f."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        if self.stem == "large":
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x.mean(dim=(2, 3))

    def _initialise(self, zero_init: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init and isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)


def _shortcut(channels: int, output: int, stride: int) -> nn.Sequential:
    """The identity where the shape stays, else a 1x1 convolution with a norm."""
    if stride == 1 and channels == output:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(channels, output, 1, stride, bias=False), nn.BatchNorm2d(output))
