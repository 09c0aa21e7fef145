"""Xception without its classifier (Chollet 2017, arXiv:1610.02357, fig. 5), any width, depth and stem.

Weight names are those of the widely used port (Cadene's `xception`): conv1, block1.rep.0.conv1, ...

Axes: b pictures, c channels, h/w positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Xception"]


class Xception(nn.Module):
    """Stem, entry blocks, residual middle blocks, exit block and two wide convolutions.

    Without arguments this is the published network, 20,806,952 parameters; a linear layer to 1,000 classes on the
    mean of its map makes 22,855,952.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        stem: tuple[int, int] = (32, 64),
        entry: tuple[int, ...] = (128, 256, 728),
        middle: int = 8,
        exit: tuple[int, int, int] = (1024, 1536, 2048),
        strides: tuple[int, ...] = (2, 2, 2, 2),
        first_stride: int = 2,
        first_padding: int = 0,
    ) -> None:
        """Make the network.

        Args:
            channels: of the input.
            stem: channels of the two convolutions in front.
            entry: channels of the entry blocks.
            middle: residual blocks of the last entry block's width.
            exit: channels of the exit block and of the two separable convolutions behind it.
            strides: of the entry blocks and the exit block.
            first_stride: of the first convolution.
            first_padding: of the first convolution, pixels.
        """
        super().__init__()
        assert len(strides) == len(entry) + 1, (
            f"{len(strides)} strides for {len(entry)} entry blocks and an exit"
        )
        self.width = exit[2]
        self.conv1 = nn.Conv2d(channels, stem[0], 3, first_stride, first_padding, bias=False)
        self.bn1 = nn.BatchNorm2d(stem[0])
        self.conv2 = nn.Conv2d(stem[0], stem[1], 3, bias=False)
        self.bn2 = nn.BatchNorm2d(stem[1])
        blocks = [
            _Block(before, after, 2, stride, first_relu=number > 0)
            for number, (before, after, stride) in enumerate(
                zip((stem[1], *entry), entry, strides, strict=False)
            )
        ]
        blocks += [_Block(entry[-1], entry[-1], 3, 1) for _ in range(middle)]
        blocks += [_Block(entry[-1], exit[0], 2, strides[-1], widen_first=False)]
        self.block_count = len(blocks)
        for number, block in enumerate(blocks, 1):
            self.add_module(f"block{number}", block)
        self.conv3 = _Separable(exit[0], exit[1])
        self.bn3 = nn.BatchNorm2d(exit[1])
        self.conv4 = _Separable(exit[1], exit[2])
        self.bn4 = nn.BatchNorm2d(exit[2])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Input b c h w -> the last map, rectified, b width h' w'."""
        return self.head(self.blocks(self.stem(pixels), 1, self.block_count))

    def stem(self, pixels: Tensor) -> Tensor:
        """The two convolutions in front."""
        x = F.relu(self.bn1(self.conv1(pixels)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)), inplace=True)

    def blocks(self, x: Tensor, first: int, last: int) -> Tensor:
        """Run the blocks numbered `first` to `last`, from 1, both included."""
        for number in range(first, last + 1):
            x = self.get_submodule(f"block{number}")(x)
        return x

    def head(self, x: Tensor) -> Tensor:
        """The two separable convolutions behind the blocks."""
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        return F.relu(self.bn4(self.conv4(x)), inplace=True)


class _Separable(nn.Module):
    """A 3 x 3 convolution of each channel by itself, then a mix of the channels at each position."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
        self.pointwise = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(self.conv1(x))
        return mixed


class _Block(nn.Module):
    """Separable convolutions beside a skip; the skip is a 1 x 1 convolution where the shape changes."""

    def __init__(
        self,
        before: int,
        after: int,
        convolutions: int,
        stride: int,
        *,
        first_relu: bool = True,
        widen_first: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = before
        for number in range(convolutions):
            last = number == convolutions - 1
            wider = after if widen_first or last else before
            if number or first_relu:
                # The block's input is the skip's too, so the first one must leave it as it is.
                layers.append(nn.ReLU(inplace=number > 0))
            layers += [_Separable(width, wider), nn.BatchNorm2d(wider)]
            width = wider
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.rep = nn.Sequential(*layers)
        self.stride = stride
        self.skip = self.skipbn = None
        if before != after or stride > 1:
            self.skip = nn.Conv2d(before, after, 1, bias=False)
            self.skipbn = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        straight = x
        if self.skip is not None and self.skipbn is not None:
            # A strided 1 x 1 convolution, by a choice of positions first. torch 2.13's own, of fewer than eight
            # channels that are last in memory, writes outside its memory in the backward pass.
            straight = self.skipbn(self.skip(x[:, :, :: self.stride, :: self.stride]))
        return torch.add(self.rep(x), straight)
