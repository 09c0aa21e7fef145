"""MixBlock (sec. 3.4): each stream is told where the other one looks.

Axes: b pictures, c channels, h/w positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MixBlock"]


class MixBlock(nn.Module):
    """Attention that both streams decide on together, and that lets part of each into the other.

    A channel's energy is a map of its rows with its rows, summed over both streams; a row's softmax weighs the
    channel's values place by place, as the public code does it: the map is multiplied with the features, not applied
    to them. A gate that begins at zero makes the block an identity at first.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fad_query, self.lfs_query = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.fad_key, self.lfs_key = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.fad_conv = nn.Conv2d(channels, channels, 1, groups=channels)
        self.lfs_conv = nn.Conv2d(channels, channels, 1, groups=channels)
        self.fad_bn, self.lfs_bn = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.fad_gamma, self.lfs_gamma = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, fad: Tensor, lfs: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of both streams, b c h h -> the same, each with what the other one lets in."""
        assert fad.shape == lfs.shape, f"the streams have maps {tuple(fad.shape)} and {tuple(lfs.shape)}"
        assert fad.shape[2] == fad.shape[3], f"maps of {tuple(fad.shape[2:])} are not square"
        query = torch.cat([self.fad_query(fad), self.lfs_query(lfs)], dim=-1)  # b c h 2w
        key = torch.cat([self.fad_key(fad), self.lfs_key(lfs)], dim=-1)
        attention = (query @ key.mT).softmax(dim=-1)
        from_lfs = self.fad_bn(self.fad_conv(lfs * attention * self._gate(self.lfs_gamma)))
        from_fad = self.lfs_bn(self.lfs_conv(fad * attention * self._gate(self.fad_gamma)))
        return fad + from_lfs, lfs + from_fad

    @staticmethod
    def _gate(gamma: Tensor) -> Tensor:
        return 2 * torch.sigmoid(gamma) - 1
