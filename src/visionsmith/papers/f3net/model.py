"""F3-Net (Qian et al. 2020, arXiv:2007.09355, fig. 2): two frequency heads, two streams, and what joins them.

No public code has all of it; the parts are matched to the public re-implementation's, see tests/papers/f3net.

Axes: b pictures, c channels, h/w positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.errors import ConfigError
from visionsmith.nn.xception import Xception
from visionsmith.papers.f3net.config import F3NetConfig, XceptionConfig
from visionsmith.papers.f3net.fad import FAD
from visionsmith.papers.f3net.lfs import BANDS, LFS, PADDING, STRIDE, WINDOW
from visionsmith.papers.f3net.mix import MixBlock

__all__ = ["F3Net"]

FAD_CHANNELS = 4 * 3


class F3Net(nn.Module):
    """Pictures in, the evidence that they are forged out."""

    def __init__(self, config: F3NetConfig) -> None:
        """Make the network.

        Args:
            config: its sizes.

        Raises:
            ConfigError: the two streams' maps cannot be brought to one size at this image size.
        """
        super().__init__()
        self.config = config
        sizes, both = config.stream, config.branches == "both"
        self.fad = self.lfs = None
        self.streams = nn.ModuleDict()
        if config.branches == "rgb":
            self.streams["rgb"] = _stream(sizes, 3)
        if config.branches in ("both", "fad"):
            self.fad = FAD(config.image_size, learnable=config.learnable, shared=config.form == "public")
            self.streams["fad"] = _stream(sizes, FAD_CHANNELS)
        if config.branches in ("both", "lfs"):
            self.lfs = LFS(form=config.form, learnable=config.learnable)
            padding = _lfs_padding(config) if config.mixes else 0
            self.streams["lfs"] = _stream(sizes, BANDS, first_stride=1, first_padding=padding)
        # After blocks 7 and 12 of the published Xception.
        self.middle = len(sizes.entry) + sizes.middle // 2
        self.end = len(sizes.entry) + sizes.middle + 1
        self.mix_middle = MixBlock(sizes.entry[-1]) if config.mixes else None
        self.mix_end = MixBlock(sizes.exit[0]) if config.mixes else None
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(sizes.exit[2] * (2 if both else 1), 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits b, above 0 for forged, of RGB pictures b 3 h w in [-1, 1]."""
        pooled = torch.cat([stream.mean((2, 3)) for stream in self.maps(pixels)], dim=1)
        logits: Tensor = self.fc(self.dropout(pooled))
        return logits[:, 0]

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The last map of each stream, rectified, b c h w."""
        x = [self._head(name, pixels) for name in self.streams]
        x = [stream.stem(one) for stream, one in zip(self._xceptions(), x, strict=True)]
        x = [stream.blocks(one, 1, self.middle) for stream, one in zip(self._xceptions(), x, strict=True)]
        if self.mix_middle is not None:
            x = list(self.mix_middle(*x))
        x = [
            stream.blocks(one, self.middle + 1, self.end)
            for stream, one in zip(self._xceptions(), x, strict=True)
        ]
        if self.mix_end is not None:
            x = list(self.mix_end(*x))
        return [stream.head(one) for stream, one in zip(self._xceptions(), x, strict=True)]

    def evidence(self, pixels: Tensor) -> Tensor:
        """Where the logit comes from: b h w on the grid of the last map.

        The last layer is linear and the pooling a mean, so each position's share is exact: the mean over a map, plus
        the last layer's bias, is the logit (Zhou et al. 2016, class activation).
        """
        parts = []
        maps = self.maps(pixels)
        for one, weight in zip(maps, torch.split(self.fc.weight[0], self.config.stream.exit[2]), strict=True):
            parts.append(torch.einsum("bchw,c->bhw", one, weight)[:, None])
        grid = [max(sides) for sides in zip(*(part.shape[2:] for part in parts), strict=True)]
        return torch.stack([F.interpolate(part, grid, mode="nearest") for part in parts]).sum(0)[:, 0]

    def _xceptions(self) -> list[Xception]:
        return [stream for stream in self.streams.values() if isinstance(stream, Xception)]

    def _head(self, name: str, pixels: Tensor) -> Tensor:
        if name == "fad" and self.fad is not None:
            bands: Tensor = self.fad(pixels)
            return bands
        if name == "lfs" and self.lfs is not None:
            statistics: Tensor = self.lfs(pixels)
            return statistics
        return pixels


def _stream(
    sizes: XceptionConfig, channels: int, *, first_stride: int = 2, first_padding: int = 0
) -> Xception:
    return Xception(
        channels,
        stem=sizes.stem,
        entry=sizes.entry,
        middle=sizes.middle,
        exit=sizes.exit,
        strides=sizes.strides,
        first_stride=first_stride,
        first_padding=first_padding,
    )


def _lfs_padding(config: F3NetConfig) -> int:
    """Padding of the LFS stream's first convolution with which both streams have maps of one size where they are mixed.

    DIFFERS: the paper has 299 px only, where it is 0; at other sizes one pixel may be needed.
    """
    for padding in (0, 1):
        if _mixed_sides(config.image_size, config, None) == _mixed_sides(config.image_size, config, padding):
            return padding
    fitting = (
        size
        for size in range(config.image_size + 1, 2 * config.image_size)
        if any(_mixed_sides(size, config, None) == _mixed_sides(size, config, padding) for padding in (0, 1))
    )
    near = next(fitting, None)
    raise ConfigError(
        f"at image_size = {config.image_size} px and strides {list(config.stream.strides)} the two streams' maps have "
        "different sizes and cannot be mixed",
        do="set mix=false" if near is None else f"choose {near} px, or set mix=false",
    )


def _mixed_sides(size: int, config: F3NetConfig, lfs_padding: int | None) -> tuple[int, int]:
    """Sides of a stream's maps after the entry blocks and the exit block; of FAD's without a padding."""
    if lfs_padding is None:
        side = (size - 3) // 2 + 1
    else:
        side = (size + 2 * PADDING - WINDOW) // STRIDE + 1 + 2 * lfs_padding - 2
    side -= 2
    sides = []
    for stride in config.stream.strides:
        side = (side - 1) // stride + 1
        sides.append(side)
    return sides[-2], sides[-1]
