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
"""Of the maps of the feed-forward parts."""
BACK = 30.0
"""Score, before the softmax, that a head gives the place that it looks back to."""
LIKE = 10.0
"""Score that a head gives a token that is its own, where all of it is seen."""
COPY = 0.7
"""Gain of the way into a head's values, and of the way out."""
FAST, SLOW = 0.05, 0.012
"""Radians a place: pairs of a head's channels that turn faster tell places apart; those that turn slower hardly turn
within a text, and tell contents apart."""


@torch.no_grad()
def begin(model: C3) -> None:
    """Initialise a model with strides, drawing from torch's generator.

    - Both embeddings are equal, and the projection is the identity. Then one way from a token read to the same token
      written serves all tokens, and need not be learned for each.
    - Each head carries a part of the width, and writes what it reads where it was; in all layers of both models the
      same part.
    - The first `stride` heads look 0, 1, 2, ... places back, by their biases, so that a latent holds a part of each of
      its tokens: of the r-th from its end, what head r carries.
    - Head `stride` + r compares what head r carries: a token finds the latent whose r-th token it is, however far
      back, and reads the token before it there. So a question finds the words that it names.

    Raises:
        ConfigError: the model has no strides, or the two models have not the same width and number of heads, or heads
            without keys of their own.
    """
    config = model.config
    first, second = config.compressor, config.decoder
    if config.stride is None or (first.width, first.heads) != (second.width, second.heads):
        raise ConfigError(
            "a model from scratch needs a stride, and compressor and decoder of one width and number of heads",
            do="set model.stride, or start from weights with initial=FOLDER",
        )
    width = second.width
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name:
            nn.init.normal_(parameter, std=STD)
    nn.init.normal_(model.queries.weight, std=0.02)
    nn.init.eye_(model.projector.weight)
    embedding = model.decoder.model.embed_tokens.weight
    nn.init.normal_(embedding, std=width**-0.5)
    model.compressor.embed_tokens.weight.copy_(embedding)
    ways = nn.init.orthogonal_(torch.empty(width, width))
    for part, layers in ((first, model.compressor.layers), (second, model.decoder.model.layers)):
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
    size = fast * (BACK / fast.sum() * part.head_width**0.5) ** 0.5
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
    # What comes in has been normed, so that the mean square of its parts is one.
    size = slow * (LIKE * part.head_width**0.5 / (2 * slow.sum().clamp(min=1))) ** 0.5
    query = attention.q_proj.weight.view(part.heads, 2, half, part.width)
    key = attention.k_proj.weight.view(part.heads, 2, half, part.width)
    for head in range(stride, part.heads):
        same = ways[(head - stride) % stride].view(2, half, part.width) * size[:, None]
        query[head], key[head] = same, same


def _turns(part: LanguageConfig) -> Tensor:
    """Radians that each pair of a head's channels turns from one place to the next."""
    half = part.head_width // 2
    return part.rope_theta ** (-torch.arange(half) / half)
