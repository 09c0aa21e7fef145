"""MobileViT: transformers that work as convolutions (Mehta and Rastegari 2022, arXiv:2110.02178, fig. 1b).

A MobileViT block lets every pixel see the whole picture: a convolution sees its neighbours, then a transformer relates
the pixels that have the same place in their patches, over all patches. No position is embedded, so any size of picture
will do.

The state dict has exactly the names and shapes of the published weights.

Axes: b images, c channels, h/w positions of a feature map, n patches, p patch side, d transformer width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.errors import DataError
from visionsmith.papers.mobilevit.config import MobileViTConfig

__all__ = ["ConvLayer", "InvertedResidual", "MobileViT", "MobileViTBlock", "fold", "unfold"]


def unfold(x: Tensor, patch: int) -> Tensor:
    """Gather the pixels that have the same place in their patches.

    Args:
        x: b d h w; `patch` divides h and w.
        patch: side p of a patch, positions.

    Returns:
        (b p p) n d with n = (h / p) (w / p): one sequence for each of the p p places in a patch. One copy at most,
        along whole rows of d when `x` is channels last in memory.
    """
    batch, width, height, long = x.shape
    grid = x.reshape(batch, width, height // patch, patch, long // patch, patch)
    tokens = grid.permute(0, 3, 5, 2, 4, 1)  # b p p h/p w/p d
    return tokens.reshape(batch * patch * patch, -1, width)


def fold(tokens: Tensor, patch: int, size: Sequence[int]) -> Tensor:
    """Put the pixels back: the inverse of `unfold`.

    Args:
        tokens: (b p p) n d.
        patch: side p of a patch, positions.
        size: (h, w) of the feature map.

    Returns:
        b d h w, channels last in memory.
    """
    height, long = size[0] // patch, size[1] // patch
    grid = tokens.reshape(-1, patch, patch, height, long, tokens.shape[-1])
    rows = grid.permute(0, 3, 1, 4, 2, 5)  # b h/p p w/p p d
    return rows.reshape(-1, *size, tokens.shape[-1]).permute(0, 3, 1, 2)


class ConvLayer(nn.Module):
    """Convolution without bias, batch norm and SiLU, each of the latter two where asked for."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
        activation: bool = True,
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        parts: dict[str, nn.Module] = {"conv": convolution}
        if norm:
            parts["norm"] = nn.BatchNorm2d(outputs)
        if activation:
            parts["act"] = nn.SiLU()
        self.block = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        """Features b c h w."""
        out: Tensor = self.block(x)
        return out


class InvertedResidual(nn.Module):
    """MobileNetV2's block ("MV2"): widen, filter each channel, narrow; added to the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = _multiple_of_eight(inputs * expansion)
        self.block = nn.Sequential(
            OrderedDict(
                exp_1x1=ConvLayer(inputs, hidden),
                conv_3x3=ConvLayer(hidden, hidden, 3, stride=stride, groups=hidden),
                red_1x1=ConvLayer(hidden, outputs, activation=False),
            )
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Features b c h w."""
        out: Tensor = self.block(x)
        return x + out if self.residual else out


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens b n d."""
        batch, tokens, width = x.shape
        parts = self.qkv_proj(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each b heads n k
        mixed = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return out


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        hidden = width * feedforward
        self.pre_norm_mha = nn.Sequential(nn.LayerNorm(width), Attention(width, heads), nn.Dropout(dropout))
        self.pre_norm_ffn = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.SiLU(),
            nn.Identity(),  # the published code can drop values here, and its models do not
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens b n d."""
        x = x + self.pre_norm_mha(x)
        out: Tensor = x + self.pre_norm_ffn(x)
        return out


class MobileViTBlock(nn.Module):
    """Convolution for what is near, transformer for what is far, and the input beside both (sec. 3.1)."""

    def __init__(self, config: MobileViTConfig, stage: int) -> None:
        """Make the block of layer `stage` + 3."""
        super().__init__()
        channels, width, depth = config.channels[stage + 2], config.widths[stage], config.depths[stage]
        self.patch = config.patches[stage]
        self.local_rep = nn.Sequential(
            OrderedDict(
                conv_3x3=ConvLayer(channels, channels, config.kernel),
                conv_1x1=ConvLayer(channels, width, norm=False, activation=False),
            )
        )
        self.global_rep = nn.Sequential(
            *(
                TransformerLayer(width, config.heads, config.feedforward, config.dropout)
                for _ in range(depth)
            ),
            nn.LayerNorm(width),
        )
        self.conv_proj = ConvLayer(width, channels)
        self.fusion = ConvLayer(2 * channels, channels, config.kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Features b c h w."""
        near = self.local_rep(x)
        size = near.shape[2:]
        # Rounded up without negative numbers: exporters cut a division off where Python rounds it down.
        whole = tuple((side + self.patch - 1) // self.patch * self.patch for side in size)
        if whole != size:  # as the published code does: stretched to whole patches, and back
            near = F.interpolate(near, whole, mode="bilinear", align_corners=False)
        far = fold(self.global_rep(unfold(near, self.patch)), self.patch, whole)
        if whole != size:
            far = F.interpolate(far, size, mode="bilinear", align_corners=False)
        out: Tensor = self.fusion(torch.cat((x, self.conv_proj(far)), dim=1))
        return out


class MobileViT(nn.Module):
    """The classifier: a stem, two layers of inverted residuals, three with MobileViT blocks, a linear layer."""

    def __init__(self, config: MobileViTConfig) -> None:
        super().__init__()
        self.config = config
        one, two, *channels = config.channels
        self.conv_1 = ConvLayer(3, config.stem, 3, stride=2)
        self.layer_1 = nn.Sequential(_residual(config, config.stem, one, stride=1))
        self.layer_2 = nn.Sequential(
            _residual(config, one, two, stride=2),
            _residual(config, two, two, stride=1),
            _residual(config, two, two, stride=1),
        )
        three, four, five = (
            nn.Sequential(_residual(config, before, after, stride=2), MobileViTBlock(config, stage))
            for stage, (before, after) in enumerate(zip([two, *channels], channels, strict=False))
        )
        self.layer_3, self.layer_4, self.layer_5 = three, four, five
        self.conv_1x1_exp = ConvLayer(channels[-1], config.last_channels)
        self.classifier = nn.Sequential(
            OrderedDict(
                dropout=nn.Dropout(config.dropout), fc=nn.Linear(config.last_channels, config.classes)
            )
        )
        self.apply(_initialise)

    def features(self, images: Tensor) -> Tensor:
        """The last feature map.

        Args:
            images: b 3 h w float, BGR, 0 to 1, not normalised further (see `preprocess`); any h and w.

        Returns:
            b c h/32 w/32, rounded up, c the config's `last_channels`.

        Raises:
            DataError: the images are no such batch.
        """
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape or not images.is_floating_point():
            raise DataError(
                f"images of shape {tuple(images.shape)} and type {images.dtype} are no batch of pictures",
                do="give float values of shape (b, 3, h, w), see papers/mobilevit/preprocess.py",
            )
        # One memory order throughout: the convolutions prefer it, and unfold and fold copy whole rows.
        x = self.conv_1(images.contiguous(memory_format=torch.channels_last))
        for layer in (self.layer_1, self.layer_2, self.layer_3, self.layer_4, self.layer_5):
            x = layer(x)
        out: Tensor = self.conv_1x1_exp(x)
        return out

    def forward(self, images: Tensor) -> Tensor:
        """Logits b classes, from images as `features` takes them."""
        logits: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return logits


def _residual(config: MobileViTConfig, inputs: int, outputs: int, *, stride: int) -> InvertedResidual:
    return InvertedResidual(inputs, outputs, stride=stride, expansion=config.expansion)


def _multiple_of_eight(channels: int) -> int:
    """The nearest multiple of 8; halves go up, and no more than a tenth is lost."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _initialise(module: nn.Module) -> None:
    """As published: convolutions normal by their outputs (Kaiming), linear layers truncated normal of 0.02."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
