"""How a small C3 begins, so that it learns in minutes what a published one brings from its pre-training.

# DIFFERS: the paper starts from two trained Qwen2.5 models. These beginnings are for `stride` models from scratch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from visionsmith.errors import ConfigError
from visionsmith.papers.c3.config import LanguageConfig
from visionsmith.papers.c3.model import C3

__all__ = ["begin"]

STD = 0.04
"""Of the linear maps."""
PEAK = 5.5
"""Score, before the softmax, that the biases alone give the place that a head looks at."""
FREE = 0.3
"""Of the biases of queries and keys in the other heads."""


@torch.no_grad()
def begin(model: C3) -> None:
    """Initialise a model with strides, drawing from torch's generator.

    - Both embeddings are equal. Then one linear way from a token read to the same token written serves all tokens,
      and need not be learned for each.
    - The first `stride` heads of a layer look 0, 1, 2, ... places back, by their biases; the others are free to look
      for what they like.
    - The projection is a rotation.

    Raises:
        ConfigError: the model has no strides, or the two models have not the same width and enough heads of their own.
    """
    config = model.config
    if config.stride is None or config.compressor.width != config.decoder.width:
        raise ConfigError(
            "a model from scratch needs a stride, and compressor and decoder of one width",
            do="set model.stride, or start from weights with initial=FOLDER",
        )
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name:
            nn.init.normal_(parameter, std=STD)
    nn.init.normal_(model.queries.weight, std=0.02)
    nn.init.orthogonal_(model.projector.weight)
    embedding = model.decoder.model.embed_tokens.weight
    nn.init.normal_(embedding, std=config.decoder.width**-0.5)
    model.compressor.embed_tokens.weight.copy_(embedding)
    for part, layers in (
        (config.compressor, model.compressor.layers),
        (config.decoder, model.decoder.model.layers),
    ):
        if part.key_heads != part.heads:
            raise ConfigError(
                f"a model from scratch with {part.heads} heads has {part.key_heads} key heads",
                do="set key_heads to heads",
            )
        for layer in layers:
            _look_back(layer.self_attn, part, config.stride)


def _look_back(attention: Any, part: LanguageConfig, stride: int) -> None:
    """Let head r look r places back: the product of its biases, turned by the positions, is largest there."""
    half = part.head_width // 2
    # The score is the sum of so many products, over the root of the head's width.
    size = (PEAK / half * part.head_width**0.5) ** 0.5
    turns = part.rope_theta ** (-torch.arange(half) / half)
    query = nn.init.normal_(attention.q_proj.bias, std=FREE).view(part.heads, 2, half)
    key = nn.init.normal_(attention.k_proj.bias, std=FREE).view(part.heads, 2, half)
    for back in range(min(stride, part.heads)):
        query[back, 0], query[back, 1] = size, 0
        key[back, 0] = size * torch.cos(turns * back)
        key[back, 1] = size * torch.sin(turns * back)
