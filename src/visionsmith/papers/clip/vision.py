"""The image towers of CLIP: a vision transformer and a modified ResNet (Radford et al. 2021, sec. 2.4).

Both take RGB images normalised with CLIP's mean and standard deviation. Parameter names are those of the
published weights.

Axes: b images, h/w pixels or grid, n tokens, d tower width, c channels, e joint embedding.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.nn.attention_pool import AttentionPool
from visionsmith.nn.transformer import Transformer
from visionsmith.papers.clip.config import ModifiedResNetConfig, VisionTransformerConfig

__all__ = ["Bottleneck", "ModifiedResNet", "VisionTransformer", "image_tower"]


def image_tower(config: VisionTransformerConfig | ModifiedResNetConfig, embed_dim: int) -> nn.Module:
    """The tower that the config describes: b 3 h w -> b e."""
    if isinstance(config, VisionTransformerConfig):
        return VisionTransformer(config, embed_dim)
    return ModifiedResNet(config, embed_dim)


class VisionTransformer(nn.Module):
    """Patches and a class token through a pre-norm transformer; the class token is projected."""

    def __init__(self, config: VisionTransformerConfig, embed_dim: int) -> None:
        super().__init__()
        width, scale = config.width, config.width**-0.5
        self.image_size = config.image_size
        self.conv1 = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(config.grid**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        # The blocks of this tower keep the framework's initial weights, as in the published code.
        self.transformer = Transformer(width, config.heads, config.layers, activation=config.activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, embed_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Images b 3 h w -> b e, not normalised."""
        patches = self.conv1(images).flatten(2).mT  # b n d
        first = self.class_embedding.expand(len(images), 1, -1)
        tokens = torch.cat([first.to(patches.dtype), patches], dim=1) + self.positional_embedding
        class_position = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        pooled = self.transformer(self.ln_pre(tokens), only=class_position)
        embedding: Tensor = self.ln_post(pooled) @ self.proj
        return embedding


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions; an average pool after the second does the stride."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        output = width * self.expansion
        self.stride = stride
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, output, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(output)
        nn.init.zeros_(self.bn3.weight)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels != output:
            # The pool carries no weights; the published names count from the convolution.
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ("-1", nn.AvgPool2d(stride)),
                        ("0", nn.Conv2d(channels, output, 1, bias=False)),
                        ("1", nn.BatchNorm2d(output)),
                    ]
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """Feature map b c h w -> b 4width h/stride w/stride."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = F.avg_pool2d(y, self.stride) if self.stride > 1 else y
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut, inplace=True)


class ModifiedResNet(nn.Module):
    """Three-convolution stem, stages of bottlenecks, attention pooling."""

    def __init__(self, config: ModifiedResNetConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.image_size = config.image_size
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.stages = len(config.layers)
        channels = width
        for stage, blocks in enumerate(config.layers):
            stage_width = width * 2**stage
            output = stage_width * Bottleneck.expansion
            first = Bottleneck(channels, stage_width, stride=1 if stage == 0 else 2)
            others = [Bottleneck(output, stage_width, stride=1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *others))
            channels = output
        self.attnpool = AttentionPool(config.grid, channels, config.pool_heads, embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Images b 3 h w -> b e, not normalised."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        x = F.avg_pool2d(x, 2)
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        pooled: Tensor = self.attnpool(x)
        return pooled
