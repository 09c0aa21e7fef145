"""How a small C3 begins, so that it learns in minutes what a published one brings from its pre-training.

# DIFFERS: the paper starts from two trained Qwen2.5 models. These beginnings are for `stride` models from scratch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from visionsmith.errors import ConfigError
from visionsmith.papers.c3.config import LanguageConfig
from visionsmith.papers.c3.model import C3

__all__ = ["begin"]

STD = 0.04
"""Of the linear maps that nothing else is said of."""
PEAK = 30.0
"""Score, before the softmax, that a head gives the place that it looks at."""
MATCH = 10.0
COPY = 0.7
"""Gain of the way into a head's values, and of the way out."""
FAST, SLOW = 0.05, 0.012
"""Radians a place: pairs of channels that turn faster tell places apart; those that turn slower hardly turn within a
text, and tell contents apart."""


@torch.no_grad()
def begin(model: C3) -> None:
    """Initialise a model with strides, drawing from torch's generator.

    - Both embeddings are equal. Then one linear way from a token read to the same token written serves all tokens,
      and need not be learned for each.
    - The first `stride` heads of a layer look 0, 1, 2, ... places back, by their biases.
    - The other heads look for what is like their own place, however far back: their queries and keys are one map. A
      question finds the words that it names.
    - What a head reads it writes as it was, as much of it as its channels hold.
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
    width = config.decoder.width
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name:
            nn.init.normal_(parameter, std=STD)
    nn.init.normal_(model.queries.weight, std=0.02)
    nn.init.eye_(model.projector.weight)
    embedding = model.decoder.model.embed_tokens.weight
    nn.init.normal_(embedding, std=width**-0.5)
    model.compressor.embed_tokens.weight.copy_(embedding)
    ways = nn.init.orthogonal_(torch.empty(width, width))
    for part, layers in (
        (config.compressor, model.compressor.layers),
        (config.decoder, model.decoder.model.layers),
    ):
        if part.key_heads != part.heads:
            raise ConfigError(
                f"a model from scratch with {part.heads} heads has {part.key_heads} key heads",
                do="set key_heads to heads",
            )
        own = ways.view(part.heads, part.head_width, width)
        for layer in layers:
            _copy(layer.self_attn, own, config.stride)
            _look_back(layer.self_attn, part, config.stride)
            _compare(layer.self_attn, part, own, config.stride)


def _copy(attention: Any, ways: Tensor, stride: int) -> None:
    """Let each head write what it reads as it was; a head that compares reads the place before the one it finds.

    Args:
        attention: of a layer.
        ways: `h e c`, of each head the part of the width that it carries; together a rotation.
        stride: heads that look back.
    """
    carried = ways.clone()
    for head in range(stride, len(ways)):
        carried[head] = ways[(head - stride + 1) % stride]
    attention.v_proj.weight.copy_(COPY * carried.flatten(0, 1))
    attention.o_proj.weight.copy_(COPY * carried.flatten(0, 1).T)


def _look_back(attention: Any, part: LanguageConfig, stride: int) -> None:
    """Let head r look r places back: the product of its biases, turned by the positions, is largest there."""
    half = part.head_width // 2
    turns = _turns(part)
    fast = turns > FAST
    # The score is the sum of so many products, over the root of the head's width.
    size = fast * (PEAK / fast.sum() * part.head_width**0.5) ** 0.5
    query = nn.init.zeros_(attention.q_proj.bias).view(part.heads, 2, half)
    key = nn.init.zeros_(attention.k_proj.bias).view(part.heads, 2, half)
    for back in range(min(stride, part.heads)):
        query[back, 0] = size
        key[back, 0] = size * torch.cos(turns * back)
        key[back, 1] = size * torch.sin(turns * back)


def _compare(attention: Any, part: LanguageConfig, ways: Tensor, stride: int) -> None:
    """Let head stride + r look for the latent whose r-th last token is that of its own place, however far back.

    It looks at what head r carries: of a latent, that is its r-th last token.
    """
    half = part.head_width // 2
    slow = _turns(part) < SLOW
    # What comes in has been normed: the square of its length is the width.
    size = (
        slow * (MATCH * part.head_width**0.5 / (2 * slow.sum().clamp(min=1)) * part.width / part.width) ** 0.5
    )
    query = attention.q_proj.weight.view(part.heads, 2, half, part.width)
    key = attention.k_proj.weight.view(part.heads, 2, half, part.width)
    for head in range(stride, part.heads):
        like = ways[(head - stride) % stride].view(2, half, part.width) * size[:, None]
        query[head] = like
        key[head] = like


def _turns(part: LanguageConfig) -> Tensor:
    """Radians that each pair of a head's channels turns from one place to the next."""
    half = part.head_width // 2
    return part.rope_theta ** (-torch.arange(half) / half)
