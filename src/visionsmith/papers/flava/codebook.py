"""The image codebook: codes of 8 x 8 pixels, which masked patches are predicted as (section 3.1, after BEiT).

The encoder is that of DALL-E's discrete VAE, in transformers' class and names, so its published weights load into it.
Its answer is the largest of the output layer's logits. To train one from scratch it gets a decoder.

Axes: b pictures, h/w pixels, g cells a side (h / 8), c codes, f features under the output layer.
"""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import FlavaImageCodebookConfig
from transformers.models.flava.modeling_flava import FlavaImageCodebook

from visionsmith.memory.locks import library_load
from visionsmith.papers.flava.config import CodebookConfig

__all__ = ["CELL", "Codebook", "CodebookObjective", "Decoder", "map_pixels", "unmap_pixels"]

CELL = 8
"""Pixels a side that one code stands for."""
MARGIN = 0.1
"""DALL-E keeps pixels this far from 0 and 1."""
FEATURES = 8
"""Features under the output layer, in units of the encoder's width."""


def map_pixels(images: Tensor) -> Tensor:
    """`b h w 3` uint8, RGB, to what the encoder takes: `b 3 h w` float32 from 0.1 to 0.9."""
    assert images.dtype == torch.uint8, f"images are {images.dtype}, not uint8"
    return ((1 - 2 * MARGIN) * (images.float() / 255) + MARGIN).permute(0, 3, 1, 2)


def unmap_pixels(values: Tensor) -> Tensor:
    """The way back: `b 3 h w` to `b h w 3` uint8; what lies outside of 0 to 1 is cut off."""
    straight = ((values - MARGIN) / (1 - 2 * MARGIN)).clamp(0, 1)
    return (straight * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


class Decoder(nn.Module):
    """From features back to pixels: the side doubles three times. Not DALL-E's, and smaller."""

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        wide = 4 * config.width
        self.embed = nn.Conv2d(FEATURES * config.width, wide, 1)
        self.mix = nn.Conv2d(wide, wide, 3, padding=1)
        sides = [wide, 2 * config.width, config.width, config.width]
        self.grow = nn.ModuleList(
            nn.Conv2d(here, 4 * there, 3, padding=1) for here, there in itertools.pairwise(sides)
        )
        self.paint = nn.Conv2d(sides[-1], 3, 3, padding=1)
        assert self.paint.bias is not None, "a convolution has a bias unless told otherwise"
        nn.init.constant_(self.paint.bias, 1 - MARGIN)  # paper is white

    def forward(self, features: Tensor) -> Tensor:
        """`b f g g` to `b 3 8g 8g`, as `map_pixels` gives pixels."""
        states = self.embed(features)
        states = states + self.mix(F.relu(states))
        for layer in self.grow:
            states = F.pixel_shuffle(layer(F.relu(states)), 2)
        painted: Tensor = self.paint(F.relu(states))
        return painted


class Codebook(nn.Module):
    """An encoder and the decoder that belongs to it, where there is one."""

    def __init__(self, config: CodebookConfig, *, with_decoder: bool = True) -> None:
        super().__init__()
        self.config = config
        with library_load():
            self.encoder = FlavaImageCodebook(
                FlavaImageCodebookConfig(
                    hidden_size=config.width,
                    vocab_size=config.codes,
                    num_blocks_per_group=config.blocks,
                    freeze=False,
                )
            )
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d):
                # As in DALL-E: 1 / sqrt(values that a sum is over); with N(0, 0.02) small encoders start silent.
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        self.decoder = Decoder(config) if with_decoder else None

    @property
    def output(self) -> nn.Conv2d:
        """The layer that gives the logits of the codes."""
        return cast("nn.Conv2d", self.encoder.get_submodule("blocks.output.conv"))

    @property
    def centres(self) -> Tensor:
        """`c f`: the features that each code stands for, in a codebook that was trained here."""
        return self.output.weight[:, :, 0, 0] / 2

    def features(self, images: Tensor) -> Tensor:
        """`b f g g`, 0 or more, of pictures `b h w 3` uint8; sides are multiples of 8."""
        assert images.shape[1] % CELL == 0 == images.shape[2] % CELL, (
            f"sides of {images.shape[1]} x {images.shape[2]} px are no multiples of {CELL}"
        )
        *under, _ = self.encoder.blocks
        states = map_pixels(images)
        for block in under:
            states = block(states)
        return F.relu(states)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes `b g*g`, int64, of pictures `b h w 3` uint8."""
        logits: Tensor = self.output(self.features(images))
        return logits.argmax(dim=1).flatten(1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Pictures `b h w 3` uint8 of codes `b g*g`."""
        assert self.decoder is not None, "this codebook has no decoder"
        side = math.isqrt(codes.shape[1])
        return unmap_pixels(self.decoder(self.centres[codes].mT.reshape(len(codes), -1, side, side)))

    @torch.no_grad()
    def place_centres(self, images: Tensor, *, most: int = 8000) -> None:
        """Put the codes where the features of some pictures lie (`b h w 3` uint8): k-means over at most `most`."""
        features = self.features(images).movedim(1, 3).flatten(0, 2)
        # Equal ones count once: half of all cells are empty paper.
        different = torch.unique((features * 1000).round(), dim=0) / 1000
        # An own stream: the processes of a training agree, whatever else they drew.
        stream = torch.Generator().manual_seed(0)
        some = different[torch.randperm(len(different), generator=stream)[:most].to(different.device)]
        self.output.weight.copy_(2 * _k_means(some, self.config.codes, stream)[:, :, None, None])
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Make the largest logit that of the nearest centre: |f - c|^2 is, but for |f|^2, linear in the features f."""
        assert self.output.bias is not None, "the published layer has a bias"
        self.output.bias.copy_(-self.centres.square().sum(dim=1))


class CodebookObjective(nn.Module):
    """Reconstruction through the nearest code, which gradients pass as if it were the feature itself.

    The first steps leave the code out: pictures are restored from the features themselves. Then k-means puts the
    centres where the features lie, and features and centres are drawn to each other (van den Oord et al. 2017).
    DIFFERS: DALL-E relaxes the choice of a code instead, and cools it over millions of pictures. With a choice by
    softmax an encoder of this size learns, in minutes, either no colours (sharp) or a handful of codes (soft).
    """

    seen: Tensor

    def __init__(self, codebook: Codebook, *, commitment: float, loose_steps: int) -> None:
        super().__init__()
        self.codebook = codebook
        self.commitment, self.loose_steps = commitment, loose_steps
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "images" uint8 `b h w 3`."""
        assert self.codebook.decoder is not None, "a codebook is trained with its decoder"
        features = self.codebook.features(batch["images"]).float()
        restored_from, drawn = features, features.new_zeros(())
        # The output layer takes part from the first step on, with no weight: processes expect its gradient.
        idle = self.codebook.output.weight.sum() * 0 + self.codebook.output.bias.sum() * 0  # type: ignore[union-attr]
        if self.seen >= self.loose_steps:
            centres = self.codebook.centres
            with torch.no_grad():
                scores = torch.einsum("bfhw,cf->bhwc", features, 2 * centres) - centres.square().sum(dim=1)
            near = centres[scores.argmax(dim=-1)].movedim(3, 1)
            drawn = F.mse_loss(near, features.detach()) + self.commitment * F.mse_loss(
                features, near.detach()
            )
            restored_from = features + (near - features).detach()
        error = F.mse_loss(self.codebook.decoder(restored_from).float(), map_pixels(batch["images"]))
        return {"loss": error + drawn + idle, "error": error.detach(), "distance": drawn.detach()}

    def after_step(self, images: Tensor) -> None:
        """Count, and keep the output layer in order. `images`: where the centres are placed by, `b h w 3` uint8."""
        self.seen += 1
        if self.seen == self.loose_steps:
            self.codebook.place_centres(images.to(self.seen.device))
        self.codebook.settle()


def _k_means(points: Tensor, count: int, stream: torch.Generator, rounds: int = 8) -> Tensor:
    """Centres `count f` of points `n f`: drawn far apart (k-means++), then moved."""
    centres = points[:1]
    nearest = torch.cdist(points, centres).square()[:, 0]
    for _ in range(count - 1):
        # Fewer different points than codes: the rest of the centres are drawn again.
        chances = nearest if bool(nearest.any()) else torch.ones_like(nearest)
        drawn = torch.multinomial(chances.cpu(), 1, generator=stream).to(points.device)
        centres = torch.cat((centres, points[drawn]))
        nearest = torch.minimum(nearest, torch.cdist(points, centres[-1:]).square()[:, 0])
    for _ in range(rounds):
        own = torch.cdist(points, centres).argmin(dim=1)
        members = torch.bincount(own, minlength=count)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, own, points)
        centres = torch.where(members > 0, sums / members.clamp(min=1), centres)
    return centres
