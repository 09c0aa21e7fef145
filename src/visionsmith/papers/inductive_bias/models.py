"""Five networks that differ in what they take for granted (Battaglia et al. 2018, arXiv:1806.01261, table 1).

| network     | its parts       | what it takes for granted           | what leaves it unmoved                    |
|-------------|-----------------|-------------------------------------|-------------------------------------------|
| FCN         | pixels          | nothing                             | nothing                                   |
| CNN         | places          | what belongs together is near       | a shift by its stride of 8 px             |
| RNN         | steps in time   | order                               | a delay, which a picture cannot have      |
| GNN         | nodes and edges | what belongs together has an edge   | a renaming of the nodes with their edges  |
| Transformer | patches         | nothing but that they are patches   | without positions, any order              |

Each takes pictures `b 3 h w` of `config.SIDE` px and gives logits `b k`. The last layer of CNN, GNN and Transformer
reads the mean and the maximum over all places, so that these three differ only in how places exchange what they know.
The CNN and the GNN see the picture as a torus, so that their symmetries hold exactly.

Axes: b pictures, h/w pixels, n patches in reading order, p values of a patch, d width, e neighbours of a patch,
k classes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.nn.transformer import Transformer
from visionsmith.papers.inductive_bias.config import (
    PATCH,
    PATCHES,
    SIDE,
    CnnConfig,
    FcnConfig,
    GnnConfig,
    ModelConfig,
    RnnConfig,
    TransformerConfig,
)

__all__ = ["CNN", "FCN", "GNN", "RNN", "PatchTransformer", "build", "grid_neighbours", "split_patches"]

_PATCH_VALUES = 3 * PATCH * PATCH


def build(config: ModelConfig, classes: int) -> nn.Module:
    """The network of a config, with fresh weights from torch's random state.

    Args:
        config: any of the five.
        classes: k.
    """
    if isinstance(config, FcnConfig):
        return FCN(config, classes)
    if isinstance(config, CnnConfig):
        # On a CPU convolutions are faster in this layout.
        return CNN(config, classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
    if isinstance(config, RnnConfig):
        return RNN(config, classes)
    if isinstance(config, GnnConfig):
        return GNN(config, classes)
    return PatchTransformer(config, classes)


def split_patches(images: Tensor) -> Tensor:
    """Cut pictures into squares of `PATCH` px: `b c h w` -> `b n p`, in reading order."""
    return F.unfold(images, PATCH, stride=PATCH).transpose(1, 2)


class FCN(nn.Module):
    """Fully connected: all pixels to all units, nothing shared, and no notion of what is near."""

    def __init__(self, config: FcnConfig, classes: int) -> None:
        super().__init__()
        widths = (3 * SIDE * SIDE, *[config.width] * config.layers)
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.head = nn.Linear(config.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """`b 3 h w` -> `b k`."""
        x = images.flatten(1)
        for layer in self.hidden:
            x = F.gelu(layer(x))
        out: Tensor = self.head(x)
        return out


class CNN(nn.Module):
    """Convolutional: near pixels only, the same weights everywhere. Each stage halves the sides."""

    def __init__(self, config: CnnConfig, classes: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in pairwise((3, *config.widths)):
            stages += [_convolution(before, after, stride=2), _convolution(after, after, stride=1)]
        self.features = nn.Sequential(*stages)
        self.head = nn.Linear(2 * config.widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """`b 3 h w` -> `b k`."""
        places = self.features(images).flatten(2).transpose(1, 2)  # b n d
        out: Tensor = self.head(_mean_and_max(places))
        return out


def _convolution(before: int, after: int, *, stride: int) -> nn.Module:
    convolution = nn.Conv2d(before, after, 3, stride, 1, padding_mode="circular", bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


class RNN(nn.Module):
    """Recurrent: a GRU reads the patches one after the other; the last state answers."""

    def __init__(self, config: RnnConfig, classes: int) -> None:
        super().__init__()
        self.cell = nn.GRU(_PATCH_VALUES, config.width, batch_first=True)
        self.head = nn.Linear(config.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """`b 3 h w` -> `b k`."""
        _, state = self.cell(split_patches(images))
        out: Tensor = self.head(state[0])
        return out


class GNN(nn.Module):
    """Graph network: patches are nodes without a place, and send messages along the edges of a grid."""

    neighbours: Tensor

    def __init__(self, config: GnnConfig, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(_PATCH_VALUES, config.width)
        self.rounds = nn.ModuleList(_Messages(config.width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(2 * config.width, classes)
        self.register_buffer("neighbours", grid_neighbours(SIDE // PATCH), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """`b 3 h w` -> `b k`."""
        return self.read(split_patches(images), self.neighbours)

    def read(self, nodes: Tensor, neighbours: Tensor) -> Tensor:
        """Answer about any graph whose nodes have the same number of neighbours.

        Args:
            nodes: `b n p`.
            neighbours: int64 `n e`, for each node those that it hears.

        Returns:
            `b k`, the same for every numbering of the nodes.
        """
        x = self.embed(nodes)
        for messages in self.rounds:
            x = messages(x, neighbours)
        out: Tensor = self.head(_mean_and_max(self.norm(x)))
        return out


class _Messages(nn.Module):
    """One round: an edge's message from both its ends, their mean at the node, and the node's update."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.sender = nn.Linear(width, width)
        self.receiver = nn.Linear(width, width, bias=False)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """`b n d` and int64 `n e` -> `b n d`."""
        normed = self.norm(x)
        sent = self.sender(normed)[:, neighbours]  # b n e d
        heard = F.gelu(sent + self.receiver(normed)[:, :, None]).mean(dim=2)
        out: Tensor = x + self.update(torch.cat([normed, heard], dim=2))
        return out


def grid_neighbours(side: int) -> Tensor:
    """The four neighbours of each place of a `side` x `side` grid that is closed to a torus: int64 `n 4`."""
    places = torch.arange(side * side).view(side, side)
    around = [torch.roll(places, shift, axis) for axis in (0, 1) for shift in (1, -1)]
    return torch.stack(around, dim=-1).flatten(0, 1)


class PatchTransformer(nn.Module):
    """Transformer: every patch attends to every other; where a patch was is added to it, or not known at all."""

    def __init__(self, config: TransformerConfig, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(_PATCH_VALUES, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(PATCHES, config.width)) if config.positions else None
        self.blocks = Transformer(config.width, config.heads, config.layers, activation="gelu")
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(2 * config.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """`b 3 h w` -> `b k`."""
        x = self.embed(split_patches(images))
        if self.positions is not None:
            x = x + self.positions
        out: Tensor = self.head(_mean_and_max(self.norm(self.blocks(x))))
        return out


def _mean_and_max(x: Tensor) -> Tensor:
    """`b n d` -> `b 2d`, whatever the order of the places."""
    return torch.cat([x.mean(dim=1), x.amax(dim=1)], dim=1)
