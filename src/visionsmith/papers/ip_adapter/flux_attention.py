"""The branch for pictures in a Flux transformer's double blocks, as a processor.

    h = block(h) + scale * softmax(Q K'^T / sqrt(d)) V'

Q are the picture's own queries, normed and before the rotary embedding, which image tokens, having no place, would
make no sense of. The sum stands behind the block's gates: a block of diffusers adds what a processor returns third.
Single blocks hear nothing of pictures.

Axes: b samples, p image positions (2 x 2 latents each), t image tokens of a prompt, w width of the transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers.models.transformers.transformer_flux import (
    FluxAttention,
    FluxIPAdapterAttnProcessor,
    FluxTransformer2DModel,
)
from torch import Tensor, nn

from visionsmith.errors import ConfigError
from visionsmith.papers.ip_adapter.attention import Branch, said
from visionsmith.papers.ip_adapter.config import Denoiser

__all__ = ["DoubleLayer", "FluxImageAttention", "double_layers"]


@dataclass
class FluxImageAttention:
    """A processor: the block's own attention, and a branch for each picture prompt.

    It holds no weights, and is no module. Without branches the block's own processor is called as if nothing were
    attached.
    """

    original: Any
    """The processor that the block had."""
    branches: tuple[Branch, ...] = ()
    appended: tuple[Tensor, ...] = ()
    """Always empty: there is no concatenated form."""

    def __call__(
        self,
        attn: FluxAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
    ) -> tuple[Tensor, ...]:
        """As a double block's processor of diffusers: picture `b p w` and text, and what the prompts say `b p w`."""
        given = attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb
        if not self.branches:
            plain: tuple[Tensor, ...] = self.original(*given)
            return plain
        queries: list[Tensor] = []

        def keep(module: nn.Module, taken: Any, normed: Tensor) -> None:
            queries.append(normed)

        # Overheard rather than computed again: a product of matrices less, and the base's answer stays what it is.
        listening = attn.norm_q.register_forward_hook(keep)
        try:
            picture, text = self.original(*given)
        finally:
            listening.remove()
        query = queries[0].transpose(1, 2)
        found = torch.zeros_like(query)
        for branch in self.branches:
            found = torch.add(found, said(branch, query), alpha=branch.scale)
        return picture, text, found.transpose(1, 2).flatten(2).to(picture.dtype)


@dataclass(frozen=True)
class DoubleLayer:
    """The attention of a double block of a `FluxTransformer2DModel`."""

    kind: ClassVar[Denoiser] = "flux"
    position: int
    """Of the block, from 0."""
    name: str
    """E.g. "transformer_blocks.0.attn"."""
    module: FluxAttention
    text_width: int
    """Of T5's states. What a block itself reads of the text has the transformer's own width."""

    @property
    def width(self) -> int:
        """Of the transformer."""
        return int(self.module.inner_dim)


def double_layers(transformer: FluxTransformer2DModel) -> tuple[DoubleLayer, ...]:
    """The double blocks' attention, in the published order.

    Raises:
        ConfigError: there is none, or diffusers' own adapters are loaded.
    """
    width = int(transformer.config["joint_attention_dim"])
    found = tuple(
        DoubleLayer(position, f"transformer_blocks.{position}.attn", block.attn, width)
        for position, block in enumerate(transformer.transformer_blocks)
    )
    if not found:
        raise ConfigError("the transformer has no double block", do="choose another base")
    if any(isinstance(layer.module.processor, FluxIPAdapterAttnProcessor) for layer in found):
        raise ConfigError(
            "the transformer has an adapter of diffusers loaded",
            do="call the pipeline's unload_ip_adapter first",
        )
    return found
