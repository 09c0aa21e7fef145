"""The prior's text prefix, computed once for all steps of the sampler.

Under a causal mask the tokens of the text and its embedding see nothing that changes from step to step, so their keys
and values are constants. A step is left with three tokens: the time, the noised embedding, and the one that is read.
That is exact; the library runs the whole sequence in each step.

Axes: b samples, n prefix tokens (text and its embedding), h heads, k width of a head, d inner width, e embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import PriorTransformer
from torch import Tensor
from torch.nn import functional as F

from visionsmith.papers.unclip.prior import Read

__all__ = ["Prefix"]

STEP_TOKENS = 3
"""The time, the noised embedding, the token that is read."""
HIDDEN = -10000.0
"""What the library adds to the scores of tokens that are not to be seen."""


class Prefix:
    """Keys and values of every layer for some texts: `b h n k` each."""

    @torch.no_grad()
    def __init__(self, prior: PriorTransformer, read: Read) -> None:
        """Run the prefix once.

        Args:
            prior: in evaluation mode.
            read: of the text encoder.
        """
        self.prior = prior
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        states = prior.encoder_hidden_states_proj(read.states)
        embedding = read.embedding
        if prior.embedding_proj_norm is not None:
            embedding = prior.embedding_proj_norm(embedding)
        states = torch.cat((states, prior.embedding_proj(embedding)[:, None]), dim=1)
        self.length = states.shape[1]
        seen = F.pad(read.mask, (0, 1), value=True)
        # Padding is hidden from all; the library adds the same number for it.
        self.padding = (~seen).to(states.dtype)[:, None, None, :] * HIDDEN
        mask = self.padding + _causal(self.length, self.length, states)
        states = states + prior.positional_embedding[:, : self.length].to(states.dtype)
        if prior.norm_in is not None:
            states = prior.norm_in(states)
        for block in prior.transformer_blocks:
            inner = block.norm1(states)
            query, key, value = (_heads(block.attn1, part(inner)) for part in _projections(block.attn1))
            self.keys.append(key)
            self.values.append(value)
            states = _after(block, states, F.scaled_dot_product_attention(query, key, value, attn_mask=mask))

    @torch.no_grad()
    def step(self, noised: Tensor, time: Tensor) -> Tensor:
        """The prior's prediction of the clean embedding: `b e`, of `noised` `b e` at one time (int64, no dimension)."""
        prior = self.prior
        times = prior.time_proj(time.expand(len(noised))).to(noised.dtype)
        read = prior.prd_embedding.to(noised.dtype).expand(len(noised), -1, -1)
        states = torch.cat(
            (prior.time_embedding(times)[:, None], prior.proj_in(noised)[:, None], read), dim=1
        )
        states = states + prior.positional_embedding[:, self.length :].to(states.dtype)
        if prior.norm_in is not None:
            states = prior.norm_in(states)
        own = _causal(STEP_TOKENS, STEP_TOKENS, states).expand(len(noised), 1, -1, -1)
        mask = torch.cat((self.padding.expand(-1, -1, STEP_TOKENS, -1), own), dim=3)
        for block, keys, values in zip(prior.transformer_blocks, self.keys, self.values, strict=True):
            inner = block.norm1(states)
            query, key, value = (_heads(block.attn1, part(inner)) for part in _projections(block.attn1))
            found = F.scaled_dot_product_attention(
                query, torch.cat((keys, key), dim=2), torch.cat((values, value), dim=2), attn_mask=mask
            )
            states = _after(block, states, found)
        predicted: Tensor = prior.proj_to_clip_embeddings(prior.norm_out(states)[:, -1])
        return predicted


def _causal(rows: int, columns: int, like: Tensor) -> Tensor:
    """`1 1 rows columns`: 0 where a token may look, else a number that hides."""
    return torch.full((1, 1, rows, columns), HIDDEN, dtype=like.dtype, device=like.device).triu(1)


def _projections(attention: Any) -> tuple[Any, Any, Any]:
    return attention.to_q, attention.to_k, attention.to_v


def _heads(attention: Any, states: Tensor) -> Tensor:
    """`b n d` to `b h n k`."""
    rows, tokens, width = states.shape
    heads: int = attention.heads
    return states.view(rows, tokens, heads, width // heads).transpose(1, 2)


def _after(block: Any, states: Tensor, attended: Tensor) -> Tensor:
    """The rest of a block: output projection, residual, feed-forward. `attended`: `b h n k`."""
    merged = attended.transpose(1, 2).flatten(2)
    states = states + block.attn1.to_out[0](merged)
    found: Tensor = states + block.ff(block.norm3(states))
    return found
