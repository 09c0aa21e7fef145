"""Cross-attention with a branch for pictures (sec. 3.2.2), as a processor for any attention layer of diffusers.

    Z = softmax(Q K^T / sqrt(d)) V + scale * softmax(Q K'^T / sqrt(d)) V'        (equation 5)

Keys and values of a picture do not depend on the time, so a processor is handed them ready-made and never projects.
It holds no weights, and is no module: attached to a denoiser it leaves the denoiser's state dict as it is.

Axes: b samples, p pixels, n text tokens, t image tokens, w width of the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F

from visionsmith.errors import ConfigError
from visionsmith.papers.ip_adapter.config import Denoiser

__all__ = ["Branch", "CrossLayer", "ImageAttention", "Layer", "Region", "cross_layers", "said"]


class Region:
    """Where in the picture a prompt counts: a mask that layers of every resolution read at their own."""

    def __init__(self, mask: Tensor) -> None:
        """Make it.

        Args:
            mask: float `h w`, from 0 (nowhere) to 1; of the proportions of the picture to paint.

        Raises:
            ConfigError: it has another form, holds values that are no shares, or is 0 everywhere.
        """
        if mask.ndim != 2:
            raise ConfigError(f"a mask has the shape {tuple(mask.shape)}", do="give one of height x width")
        if not bool(((mask >= 0) & (mask <= 1)).all()):  # NaN is neither
            raise ConfigError("a mask has values outside 0 to 1", do="give shares from 0 to 1")
        if not bool(mask.any()):
            raise ConfigError("a mask is empty", do="mark where the picture counts, or leave the picture out")
        self.mask = mask.float()
        self.seen: dict[int, Tensor] = {}

    def at(self, pixels: int) -> Tensor:
        """The share of each of a layer's pixels that is marked, float `p 1`.

        Raises:
            ConfigError: no grid of the mask's proportions has so many pixels.
        """
        if pixels not in self.seen:
            height, width = self.mask.shape
            rows = max(1, round(math.sqrt(pixels * height / width)))
            columns = pixels // rows
            if rows * columns != pixels:
                raise ConfigError(
                    f"a mask of {height} x {width} has other proportions than the picture",
                    do="give one of the picture's height and width",
                )
            # DIFFERS: diffusers interpolates cubically, which leaves the range 0 to 1 at edges and skips fine ones.
            shares = F.adaptive_avg_pool2d(self.mask[None], (rows, columns))
            self.seen[pixels] = shares.reshape(pixels, 1)
        return self.seen[pixels]


@dataclass(frozen=True)
class Branch:
    """What one picture prompt says at one layer."""

    keys: Tensor
    """By head, `b heads t (w / heads)`; b may be 1, for all samples."""
    values: Tensor
    scale: float
    region: Region | None = None

    @classmethod
    def of(cls, keys: Tensor, values: Tensor, heads: int, scale: float, region: Region | None) -> Branch:
        """Lay keys and values `b t w` out as attention reads them, once for all steps."""
        return cls(_heads(keys, heads).contiguous(), _heads(values, heads).contiguous(), scale, region)


@dataclass
class ImageAttention:
    """A processor: the layer's own attention, and a branch for each picture prompt.

    Without branches the layer's own processor is called as if nothing were attached.
    """

    original: Any
    """The processor that the layer had."""
    branches: tuple[Branch, ...] = ()
    appended: tuple[Tensor, ...] = ()
    """Image tokens `b t d` of the concatenated form, that follow the text tokens."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """As any processor of diffusers: `b p w` or `b w h w` to the same shape."""
        if self.appended:
            assert encoder_hidden_states is not None, "cross-attention has a context"
            encoder_hidden_states, attention_mask = self._extended(encoder_hidden_states, attention_mask)
        if not self.branches:
            found: Tensor = self.original(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb, **options
            )
            return found
        return self._decoupled(attn, hidden_states, encoder_hidden_states, attention_mask, temb)

    def _extended(self, text: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        tokens = [_for_batch(part, len(text)).to(text.dtype) for part in self.appended]
        if mask is not None:
            # The mask is added to the products; 0 leaves them as they are.
            mask = F.pad(mask, (0, sum(part.shape[1] for part in tokens)))
        return torch.cat((text, *tokens), dim=1), mask

    def _decoupled(
        self, attn: Attention, hidden: Tensor, text: Tensor | None, mask: Tensor | None, temb: Tensor | None
    ) -> Tensor:
        residual, shape = hidden, hidden.shape
        if attn.spatial_norm is not None:
            hidden = attn.spatial_norm(hidden, temb)
        if hidden.ndim == 4:
            hidden = hidden.flatten(2).transpose(1, 2)
        context = hidden if text is None else text
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, context.shape[1], len(context))
            mask = mask.view(len(context), attn.heads, -1, mask.shape[-1])
        if attn.group_norm is not None:
            hidden = attn.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
        if text is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        query = _heads(attn.to_q(hidden), attn.heads)
        key, value = _heads(attn.to_k(context), attn.heads), _heads(attn.to_v(context), attn.heads)
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        for branch in self.branches:
            found = torch.add(found, said(branch, query), alpha=branch.scale)
        found = attn.to_out[1](attn.to_out[0](found.transpose(1, 2).flatten(2)))
        if len(shape) == 4:
            found = found.transpose(-1, -2).reshape(shape)
        if attn.residual_connection:
            found = found + residual
        # Nearly always 1, and a division by it would read and write all states once more.
        rescaled: Tensor = found if attn.rescale_output_factor == 1 else found / attn.rescale_output_factor
        return rescaled


def _heads(states: Tensor, heads: int) -> Tensor:
    rows, count, _ = states.shape
    return states.view(rows, count, heads, -1).transpose(1, 2)


def _for_batch(states: Tensor, count: int) -> Tensor:
    """The rows of a prompt for a batch: one for all samples, or one for each.

    Raises:
        ConfigError: there is another number of rows.
    """
    if len(states) not in (1, count):
        raise ConfigError(
            f"the picture prompts are for {len(states)} samples and the denoiser was given {count}",
            do="give one prompt a sample, those of the guidance included, or one for all",
        )
    return states.expand(count, *states.shape[1:])


def said(branch: Branch, query: Tensor) -> Tensor:
    """What a branch says, `b heads p (w / heads)`, before its scale."""
    keys, values = (_for_batch(part, len(query)).to(query.dtype) for part in (branch.keys, branch.values))
    found = F.scaled_dot_product_attention(query, keys, values)
    if branch.region is not None:
        found = found * branch.region.at(found.shape[2]).to(found)
    return found


class Layer(Protocol):
    """A layer of a denoiser that pictures speak at."""

    kind: ClassVar[Denoiser]
    """Of the denoiser."""

    @property
    def position(self) -> int:
        """The number in the published names."""

    @property
    def name(self) -> str:
        """In the denoiser."""

    @property
    def module(self) -> Any:
        """The attention, with `heads` and a processor."""

    @property
    def text_width(self) -> int:
        """Of the text that the denoiser reads."""

    @property
    def width(self) -> int:
        """Of keys and values."""


@dataclass(frozen=True)
class CrossLayer:
    """A cross-attention layer of a `UNet2DConditionModel`."""

    kind: ClassVar[Denoiser] = "unet"
    position: int
    """Among `unet.attn_processors`, which run down, up, middle."""
    name: str
    """E.g. "down_blocks.0.attentions.0.transformer_blocks.0.attn2"."""
    module: Attention

    @property
    def text_width(self) -> int:
        """See `Layer`."""
        return int(self.module.to_k.in_features)

    @property
    def width(self) -> int:
        """See `Layer`."""
        return int(self.module.to_k.out_features)


def cross_layers(unet: Any) -> tuple[CrossLayer, ...]:
    """The cross-attention layers of a `UNet2DConditionModel`, in the published order.

    Raises:
        ConfigError: there is none.
    """
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    found = tuple(
        CrossLayer(position, name, unet.get_submodule(name))
        for position, name in enumerate(names)
        if name.endswith("attn2")
    )
    if not found:
        raise ConfigError("the denoiser has no cross-attention layer", do="choose a denoiser that reads text")
    return found
