"""CrossViT: two vision transformers of different patch sizes that exchange class tokens by cross-attention.

Chen, Fan and Panda 2021, arXiv:2103.14899, fig. 2. Reference: IBM/CrossViT, models/crossvit.py (Apache-2.0), whose
state dict this reads and writes.

Axes: b images, h/w pixels or grid, n tokens with the class token first, d width, c classes.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from visionsmith.errors import DataError
from visionsmith.papers.crossvit.config import CrossViTConfig
from visionsmith.papers.crossvit.fusion import CrossAttentionStage, Stage, Tokens, make_stage
from visionsmith.papers.crossvit.layers import NORM_EPSILON, Block, PatchEmbedding

__all__ = ["ClassAttention", "CrossViT"]

Grid = tuple[int, int]


class ClassAttention(NamedTuple):
    """Where the class tokens look in the last stage: maps b h w that sum to one over the grid they lie on."""

    own: tuple[Tensor, Tensor]
    """(small, large): on the branch's own patches, in its last block."""
    other: tuple[Tensor, Tensor] | None
    """(small, large): on the other branch's patches, in the fusion; None where the fusion is no cross-attention."""


class CrossViT(nn.Module):
    """A branch of small and one of large patches, joined at the end of each stage; the mean of two heads decides.

    Pictures of any size and shape are taken as they are: each branch sees the input at the share of its own size,
    rounded to whole patches, and the learned positions are interpolated to the grid. At the config's input size that
    is what the public code does.
    """

    def __init__(self, config: CrossViTConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        """Whether training keeps only what goes into each stage and computes the rest again."""
        convolutions = config.stem == "convolutions"
        self.patch_embed = nn.ModuleList(
            PatchEmbedding(size, width, convolutions=convolutions)
            for size, width in zip(config.patch_sizes, config.widths, strict=True)
        )
        self.cls_token = nn.ParameterList(torch.zeros(1, 1, width) for width in config.widths)
        self.pos_embed = nn.ParameterList(
            torch.zeros(1, 1 + grid**2, width)
            for grid, width in zip(config.grids, config.widths, strict=True)
        )
        shares = _drop_path_shares(config)
        self.blocks = nn.ModuleList(
            make_stage(config, depth, share) for depth, share in zip(config.depths, shares, strict=True)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(width, NORM_EPSILON) for width in config.widths)
        self.head = nn.ModuleList(nn.Linear(width, config.classes) for width in config.widths)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                self._initialise_linear(module)
        for parameter in (*self.cls_token, *self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)

    def _initialise_linear(self, linear: nn.Linear) -> None:
        std = self.config.init_std
        nn.init.trunc_normal_(linear.weight, std=linear.in_features**-0.5 if std is None else std)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores before the softmax.

        Args:
            images: b 3 h w float, RGB, normalised; any sides of at least the larger patch.

        Returns:
            b c, the mean of what the two branches' heads say.

        Raises:
            DataError: the pictures are smaller than a patch.
        """
        tokens = self._run(images)
        small, large = (
            head(norm(x[:, 0]))
            for head, norm, x in zip(self.head, self.norm, (tokens.small, tokens.large), strict=True)
        )
        scores: Tensor = (small + large) / 2
        return scores

    def forward_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The patches of both branches as feature maps, for dense tasks.

        Args:
            images: as in `forward`.

        Returns:
            (small, large): each b d h w after the final norm, one position a patch.
        """
        tokens = self._run(images)
        small, large = (
            norm(x[:, 1:]).mT.reshape(len(x), -1, *grid)
            for norm, x, grid in zip(self.norm, (tokens.small, tokens.large), tokens.grids, strict=True)
        )
        return small, large

    @torch.no_grad()
    def attention_of_class_token(self, images: Tensor) -> ClassAttention:
        """Where the class token of each branch looks in the last stage, the mean over heads.

        Args:
            images: as in `forward`.
        """
        tokens = self._embed(images)
        *first, last = self.blocks
        for stage in first:
            tokens = stage(tokens)
        assert isinstance(last, Stage)
        own, after = [], []
        for blocks, x, grid in zip(last.blocks, (tokens.small, tokens.large), tokens.grids, strict=True):
            assert isinstance(blocks, nn.Sequential)
            *earlier, final = blocks
            assert isinstance(final, Block)
            for block in earlier:
                x = block(x)
            own.append(_as_map(final.class_weights(x), grid))
            after.append(final(x))
        if not isinstance(last, CrossAttentionStage):
            return ClassAttention((own[0], own[1]), None)
        small = last.class_weights(0, after[0], after[1])
        large = last.class_weights(1, after[1], after[0])
        other = _as_map(small, tokens.grids[1]), _as_map(large, tokens.grids[0])
        return ClassAttention((own[0], own[1]), other)

    def reset_classifier(self, classes: int) -> None:
        """Put new heads for `classes` classes in, with the weights of a new model.

        Raises:
            ConfigError: `classes` is not positive.
        """
        self.config = dataclasses.replace(self.config, classes=classes)
        for branch, width in enumerate(self.config.widths):
            old = self.head[branch]
            assert isinstance(old, nn.Linear)
            new = nn.Linear(width, classes, device=old.weight.device, dtype=old.weight.dtype)
            self._initialise_linear(new)
            self.head[branch] = new

    def _run(self, images: Tensor) -> Tokens:
        """All stages."""
        tokens = self._embed(images)
        for stage in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(stage, tokens, use_reentrant=False)
            else:
                tokens = stage(tokens)
        return tokens

    def _embed(self, images: Tensor) -> Tokens:
        """Pictures to the tokens of both branches, positions added."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise DataError(
                f"the pictures are an array of shape {tuple(images.shape)}", do="give b x 3 x height x width"
            )
        height, width = images.shape[2:]
        if min(height, width) < (patch := max(self.config.patch_sizes)):
            raise DataError(
                f"a picture of {width} x {height} px is smaller than a patch of {patch} px",
                do="give larger pictures, or enlarge them",
            )
        tokens, grids = [], []
        for branch, embed in enumerate(self.patch_embed):
            grid = self._grid(branch, height, width)
            patch = self.config.patch_sizes[branch]
            size = (grid[0] * patch, grid[1] * patch)
            # Neither antialiased nor clamped: so the published weights were trained.
            seen = images if size == (height, width) else F.interpolate(images, size, mode="bicubic")
            patches = embed(seen)
            first = self.cls_token[branch].expand(len(images), -1, -1)
            tokens.append(torch.cat([first.to(patches.dtype), patches], dim=1) + self.positions(branch, grid))
            grids.append(grid)
        return Tokens(tokens[0], tokens[1], (grids[0], grids[1]))

    def _grid(self, branch: int, height: int, width: int) -> Grid:
        """Patches of a branch for a picture: its own size's share of the input, in whole patches."""
        # DIFFERS: the public code scales every square picture to its two sizes, and fails at others.
        share = self.config.image_sizes[branch] / self.config.input_size / self.config.patch_sizes[branch]
        return max(1, round(height * share)), max(1, round(width * share))

    def positions(self, branch: int, grid: Grid) -> Tensor:
        """Learned positions of a branch, interpolated to a grid of (rows, columns): 1 (1 + rows columns) d."""
        learned: Tensor = self.pos_embed[branch]
        side = self.config.grids[branch]
        if grid == (side, side):
            return learned
        patches = learned[:, 1:].mT.reshape(1, -1, side, side)
        resized = F.interpolate(patches, grid, mode="bicubic", align_corners=False)
        return torch.cat([learned[:, :1], resized.flatten(2).mT], dim=1)


def _drop_path_shares(config: CrossViTConfig) -> list[list[float]]:
    """Shares by stage and depth: they rise linearly over the blocks of the longer branch, as in the public code."""
    lengths = [max(small, large) for small, large, _ in config.depths]
    shares = torch.linspace(0, config.drop_path, sum(lengths), dtype=torch.float64, device="cpu").tolist()
    return [shares[sum(lengths[:stage]) :][:length] for stage, length in enumerate(lengths)]


def _as_map(weights: Tensor, grid: Grid) -> Tensor:
    """Weights b (1 + h w) to b h w that sum to one; the class token's weight for itself is left out."""
    patches = weights[:, 1:]
    return (patches / patches.sum(dim=1, keepdim=True)).view(-1, *grid)
