"""The encoders of FLAVA: transformers' modules and names, with fused attention and only the rows that are asked for.

A layer of the library computes softmax(q k) in pieces and can hand out the weights; here it runs in one fused call,
which holds no T x T matrix. The last layer of an encoder is asked about few places (masked patches, the first token):
it computes queries and feed-forward for those alone, which changes no number.

Axes: b samples, t places, k places that are asked about, d width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import FlavaConfig as LibraryConfig
from transformers.models.flava.modeling_flava import FlavaLayer, FlavaModel

from visionsmith.papers.flava.config import FlavaConfig, ImageConfig, MultimodalConfig, TextConfig

__all__ = ["FusedLayer", "initialise", "library_config", "run_layers", "take", "with_fused_layers"]

INITIAL_STD, PUBLISHED_WIDTH = 0.02, 768
"""Deviation of the published initial weights, and the width of their model."""


class FusedLayer(FlavaLayer):
    """A pre-norm layer with the library's parameters."""

    def forward(  # type: ignore[override]  # it gives states, and no weights of the attention
        self, states: Tensor, mask: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """Run the layer.

        Args:
            states: `b t d`.
            mask: bool `b 1 1 t`, False where nothing is to be attended to; None: everywhere.
            places: int64 `b k`, the places whose new states are wanted; None: all.

        Returns:
            `b k d`, or `b t d`.
        """
        attention, normed = self.attention.attention, self.layernorm_before(states)
        count = attention.num_attention_heads
        asking = normed if places is None else take(normed, places)
        kept = states if places is None else take(states, places)

        def heads(flat: Tensor) -> Tensor:
            rows, length, width = flat.shape
            return flat.view(rows, length, count, width // count).transpose(1, 2)  # b heads t d/heads

        mixed = F.scaled_dot_product_attention(
            heads(attention.query(asking)),
            heads(attention.key(normed)),
            heads(attention.value(normed)),
            attn_mask=mask,
        )
        middle = kept + self.attention.output.dense(mixed.transpose(1, 2).flatten(2))
        result: Tensor = middle + self.output.dense(self.intermediate(self.layernorm_after(middle)))
        return result


def run_layers(layers: Iterable[nn.Module], states: Tensor, mask: Tensor | None = None) -> Tensor:
    """One layer after the other, all places. `states`: `b t d`; `mask`: as `FusedLayer.forward`."""
    for layer in layers:
        states = layer(states, mask)
    return states


def take(states: Tensor, places: Tensor) -> Tensor:
    """Rows of each sample: `b t d` and int64 `b k` -> `b k d`."""
    return states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))


def with_fused_layers(model: FlavaModel) -> FlavaModel:
    """Replace the layers of the library's model, in place; their parameters keep their names."""
    for encoder in (model.image_model, model.text_model, model.multimodal_model):
        encoder.encoder.layer = nn.ModuleList(FusedLayer(encoder.config) for _ in encoder.encoder.layer)
    return model


def initialise(model: nn.Module, width: int) -> None:
    """Initial weights, in place: as published N(0, 0.02), biases and the tokens and positions of pictures 0, gains 1.

    DIFFERS: a narrower model has the deviation width^-0.5, which keeps the size of what goes through a layer. With the
    published one a model of width 128 learns pairs markedly more slowly.
    """
    std = INITIAL_STD if width >= PUBLISHED_WIDTH else width**-0.5
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        for name in ("cls_token", "mask_token", "position_embeddings"):
            if isinstance(parameter := getattr(module, name, None), nn.Parameter):
                nn.init.zeros_(parameter)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()


def library_config(config: FlavaConfig) -> LibraryConfig:
    """The same sizes as the library says them."""
    image, text = config.image, config.text
    return LibraryConfig(
        image_config={
            **_layers(image),
            "image_size": image.image_size,
            "patch_size": image.patch_size,
            "vocab_size": config.codebook.codes,
        },
        text_config={
            **_layers(text),
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context_length,
        },
        multimodal_config=_layers(config.multimodal),
        image_codebook_config={
            "hidden_size": config.codebook.width,
            "vocab_size": config.codebook.codes,
            "num_blocks_per_group": config.codebook.blocks,
        },
        projection_dim=config.embed_dim,
        hidden_size=config.multimodal.width,
        layer_norm_eps=config.multimodal.norm_eps,
    )


def _layers(part: ImageConfig | TextConfig | MultimodalConfig) -> dict[str, Any]:
    return {
        "hidden_size": part.width,
        "num_hidden_layers": part.layers,
        "num_attention_heads": part.heads,
        "intermediate_size": part.hidden,
        "layer_norm_eps": part.norm_eps,
    }
