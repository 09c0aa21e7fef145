"""What the two branches of CrossViT exchange: cross-attention, and the three fusions that the paper compares with it.

Chen, Fan and Panda 2021, arXiv:2103.14899, sec. 3.3, fig. 3 and 4. Every fusion reads both branches as the
blocks left them, so that neither sees the other's result. The public code has cross-attention only, whose names these
are; the choices behind the other three stand beside them.

In the paper's terms f is `projs` and g is `revert_projs`: norm, GELU and a linear map, as in the public code.

Axes: b images, n tokens with the class token first, d width, k width of a head; a the branch, o the other one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.papers.crossvit.config import CrossViTConfig, Fusion
from visionsmith.papers.crossvit.layers import NORM_EPSILON, Attention, Block, DropPath

__all__ = ["CrossAttentionStage", "Stage", "Tokens", "make_stage"]

SMALL, LARGE = 0, 1


class Tokens(NamedTuple):
    """The tokens of the two branches, each b n d, and the grids of their patches, each (rows, columns)."""

    small: Tensor
    large: Tensor
    grids: tuple[tuple[int, int], tuple[int, int]]

    def with_class_tokens(self, small: Tensor, large: Tensor) -> Tokens:
        """The same patches behind other class tokens, each b 1 d."""
        return Tokens(
            torch.cat([small, self.small[:, 1:]], dim=1),
            torch.cat([large, self.large[:, 1:]], dim=1),
            self.grids,
        )


class Stage(nn.Module):
    """Blocks of their own for either branch, then what the branches exchange: here nothing."""

    def __init__(self, config: CrossViTConfig, depth: tuple[int, int, int], drop_path: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(
                    Block(
                        config.widths[branch],
                        config.heads[branch],
                        config.hidden(branch),
                        qkv_bias=config.qkv_bias,
                        drop_path=drop_path[place],
                    )
                    for place in range(depth[branch])
                )
            )
            for branch in (SMALL, LARGE)
        )

    def forward(self, tokens: Tokens) -> Tokens:
        """Run the blocks of both branches, then the exchange."""
        small, large = self.blocks[SMALL](tokens.small), self.blocks[LARGE](tokens.large)
        return self.exchange(Tokens(small, large, tokens.grids))

    def exchange(self, tokens: Tokens) -> Tokens:
        """What the branches tell each other."""
        return tokens


class CrossAttentionStage(Stage):
    """The class token of each branch attends to the patches of the other and comes back (fig. 3d and 4)."""

    def __init__(self, config: CrossViTConfig, depth: tuple[int, int, int], drop_path: list[float]) -> None:
        super().__init__(config, depth, drop_path)
        pairs = ((SMALL, LARGE), (LARGE, SMALL))
        widths = config.widths
        self.projs = nn.ModuleList(_projection(widths[a], widths[o]) for a, o in pairs)
        self.fusion = nn.ModuleList(_rounds(config, o, depth[2], drop_path[-1]) for _, o in pairs)
        self.revert_projs = nn.ModuleList(_projection(widths[o], widths[a]) for a, o in pairs)

    def exchange(self, tokens: Tokens) -> Tokens:
        """Tokens with new class tokens; the patches stay."""
        small = self._class_token(SMALL, tokens.small, tokens.large)
        large = self._class_token(LARGE, tokens.large, tokens.small)
        return tokens.with_class_tokens(small, large)

    def _class_token(self, branch: int, own: Tensor, other: Tensor) -> Tensor:
        """The new class token b 1 d_a; as in the public code, nothing of the old one is added to it."""
        asking = self.fusion[branch](self.projs[branch](own[:, :1]), other)
        token: Tensor = self.revert_projs[branch](asking)
        return token

    @torch.no_grad()
    def class_weights(self, branch: int, own: Tensor, other: Tensor) -> Tensor:
        """How much a class token attends, in the first round, to itself and to each patch of the other branch: b n."""
        first = self.fusion[branch]
        first = first[0] if isinstance(first, _Rounds) else first
        assert isinstance(first, CrossAttentionBlock)
        return first.class_weights(self.projs[branch](own[:, :1]), other)


def _rounds(config: CrossViTConfig, other: int, count: int, drop_path: float) -> nn.Module:
    blocks = [
        CrossAttentionBlock(
            config.widths[other], config.heads[other], qkv_bias=config.qkv_bias, drop_path=drop_path
        )
        for _ in range(count)
    ]
    # The published weights number the rounds only where there are several.
    return blocks[0] if count == 1 else _Rounds(blocks)


class _Rounds(nn.ModuleList):
    """Several cross-attentions to the same patches, one after the other."""

    def forward(self, asking: Tensor, other: Tensor) -> Tensor:
        for block in self:
            asking = block(asking, other)
        return asking


class CrossAttentionBlock(nn.Module):
    """One token asks, and it and the other branch's patches answer; no MLP."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, NORM_EPSILON)
        self.attn = CrossAttention(width, heads, qkv_bias=qkv_bias)
        self.drop_path = DropPath(drop_path)

    def forward(self, asking: Tensor, other: Tensor) -> Tensor:
        """The asking token b 1 d and the other branch's tokens b n d (its class token takes no part) -> b 1 d."""
        output: Tensor = asking + self.drop_path(self.attn(self._normed(asking, other)))
        return output

    def class_weights(self, asking: Tensor, other: Tensor) -> Tensor:
        """Attention weights b n, the mean over heads; the first is the token's to itself."""
        return self.attn.weights(self._normed(asking, other))

    def _normed(self, asking: Tensor, other: Tensor) -> Tensor:
        # Writing over the class token's row after the norm saves the copy of all patches that joining them costs.
        x: Tensor = self.norm1(other)
        x[:, :1] = self.norm1(asking)
        return x


class CrossAttention(nn.Module):
    """Attention of the first token to all, itself included, in time that is linear in tokens.

    With a single query the key and value maps need not see every token: q (W_k x) = (q W_k) x, and the weighted sum
    of W_v x is W_v of the weighted sum of x. Keys and values for n tokens cost 2 n d^2 multiply-adds; this costs
    2 n d a head, and gives the same numbers.
    """

    def __init__(self, width: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.wq = nn.Linear(width, width, bias=qkv_bias)
        self.wk = nn.Linear(width, width, bias=qkv_bias)
        self.wv = nn.Linear(width, width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens b n d -> b 1 d."""
        mixed = F.scaled_dot_product_attention(
            self._query(x)[:, None], x[:, None], x[:, None], scale=self._scale(x)
        )[:, 0]  # b heads d
        values = torch.bmm(mixed.transpose(0, 1), self._by_head(self.wv.weight).mT)
        value = values.transpose(0, 1).flatten(1)  # b d
        if self.wv.bias is not None:
            # The weights of the attention sum to one, and so the bias of the values comes out whole. That of the keys
            # adds the same to all scores, which the softmax takes out again; times zero it gets the gradient of zero
            # that it has, without which wrappers for several processes would wait for one.
            value = value + self.wv.bias + 0 * self.wk.bias
        output: Tensor = self.proj(value[:, None])
        return output

    def weights(self, x: Tensor) -> Tensor:
        """How much the first token attends to each: b n, the mean over heads."""
        scores = self._query(x) @ x.mT * self._scale(x)
        return scores.softmax(dim=-1).mean(dim=1)

    def _query(self, x: Tensor) -> Tensor:
        """The first token's query, taken through the key map: b heads d."""
        query = self.wq(x[:, 0]).view(len(x), self.heads, -1)  # b heads k
        return torch.bmm(query.transpose(0, 1), self._by_head(self.wk.weight)).transpose(0, 1)

    def _by_head(self, weight: Tensor) -> Tensor:
        """Rows of a map for each head: d d -> heads k d."""
        return weight.view(self.heads, -1, weight.shape[1])

    def _scale(self, x: Tensor) -> float:
        return float((x.shape[-1] // self.heads) ** -0.5)


class ClassTokenStage(Stage):
    """The class tokens are summed, and the sum replaces both; the patches stay (fig. 3b).

    The paper leaves the common width open. Here it is that of the large branch, whose f and g are then the identity:
    with projections of both branches there would be more parameters than the paper prints.
    """

    def __init__(self, config: CrossViTConfig, depth: tuple[int, int, int], drop_path: list[float]) -> None:
        super().__init__(config, depth, drop_path)
        small, large = config.widths
        self.projs = nn.ModuleList([_projection(small, large)])
        self.revert_projs = nn.ModuleList([_projection(large, small)])

    def exchange(self, tokens: Tokens) -> Tokens:
        """Tokens with new class tokens."""
        total = self.projs[SMALL](tokens.small[:, :1]) + tokens.large[:, :1]
        return tokens.with_class_tokens(self.revert_projs[SMALL](total), total)


class PairwiseStage(ClassTokenStage):
    """The class tokens are summed, and so are the patches at the same place (fig. 3c).

    The paper interpolates to align the grids and does not say how. Here patches are projected on their own grid and
    interpolated bilinearly to the other branch's, so that each branch keeps its own patches at their full resolution.
    """

    def exchange(self, tokens: Tokens) -> Tokens:
        """Tokens with new class tokens and new patches."""
        small_grid, large_grid = tokens.grids
        projected, large = self.projs[SMALL](tokens.small), tokens.large
        on_small = projected + _resample(large, large_grid, small_grid)
        on_large = large + _resample(projected, small_grid, large_grid)
        return Tokens(self.revert_projs[SMALL](on_small), on_large, tokens.grids)


class AllAttentionStage(Stage):
    """All tokens of both branches attend to each other, in time that is quadratic in tokens (fig. 3a).

    The common width and its heads are those of the large branch. Both branches are projected to it and back: with
    the identity for the large branch the multiply-adds stay below the paper's.
    """

    def __init__(self, config: CrossViTConfig, depth: tuple[int, int, int], drop_path: list[float]) -> None:
        super().__init__(config, depth, drop_path)
        common, heads = config.widths[LARGE], config.heads[LARGE]
        self.projs = nn.ModuleList(_projection(width, common) for width in config.widths)
        self.norm1 = nn.LayerNorm(common, NORM_EPSILON)
        self.attn = Attention(common, heads, qkv_bias=config.qkv_bias)
        self.drop_path = DropPath(drop_path[-1])
        self.revert_projs = nn.ModuleList(_projection(common, width) for width in config.widths)

    def exchange(self, tokens: Tokens) -> Tokens:
        """New tokens, all of them."""
        together = torch.cat([self.projs[SMALL](tokens.small), self.projs[LARGE](tokens.large)], dim=1)
        together = together + self.drop_path(self.attn(self.norm1(together)))
        small, large = together.split([tokens.small.shape[1], tokens.large.shape[1]], dim=1)
        return Tokens(self.revert_projs[SMALL](small), self.revert_projs[LARGE](large), tokens.grids)


def _projection(width: int, output: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width, NORM_EPSILON), nn.GELU(), nn.Linear(width, output))


def _resample(tokens: Tensor, grid: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Patches b (1 + rows columns) d to another grid; the class token stays first."""
    patches = tokens[:, 1:].mT.reshape(len(tokens), -1, *grid)  # b d rows columns
    resized = F.interpolate(patches, target, mode="bilinear", align_corners=False)
    return torch.cat([tokens[:, :1], resized.flatten(2).mT], dim=1)


_STAGES: dict[Fusion, type[Stage]] = {
    "cross_attention": CrossAttentionStage,
    "class_token": ClassTokenStage,
    "pairwise": PairwiseStage,
    "all_attention": AllAttentionStage,
    "none": Stage,
}


def make_stage(config: CrossViTConfig, depth: tuple[int, int, int], drop_path: list[float]) -> Stage:
    """A stage with the config's fusion.

    Args:
        config: of the whole model.
        depth: blocks of the small branch, of the large one, and rounds of fusion.
        drop_path: shares by depth within the stage, as many as the longer branch has blocks.
    """
    return _STAGES[config.fusion](config, depth, drop_path)
