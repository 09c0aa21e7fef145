"""The text tower of CLIP: a causal transformer read out at the end token (Radford et al. 2021, sec. 2.4).

Axes: b captions, n tokens, d tower width, e joint embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visionsmith.errors import DataError
from visionsmith.nn.transformer import ResidualAttentionBlock, Transformer
from visionsmith.papers.clip.config import TextConfig

__all__ = ["TextTower", "end_positions"]


class TextTower(nn.Module):
    """Token and position embeddings, causal blocks, and the projection of the end token."""

    def __init__(self, config: TextConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.context_length = config.context_length
        self.end_token = config.end_token
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.transformer = Transformer(width, config.heads, config.layers, activation=config.activation)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        self._reset_parameters(width, config.layers)

    def _reset_parameters(self, width: int, layers: int) -> None:
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        # Weights that write to the residual stream shrink with its depth, so that its variance does not grow.
        write_std = width**-0.5 * (2 * layers) ** -0.5
        for block in self.transformer.resblocks:
            assert isinstance(block, ResidualAttentionBlock)
            hidden, output = block.mlp[0], block.mlp[2]
            assert isinstance(hidden, nn.Linear)
            assert isinstance(output, nn.Linear)
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=write_std)
            nn.init.normal_(hidden.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(output.weight, std=write_std)

    def project_text(self, tokens: Tensor) -> Tensor:
        """Captions to vectors of the joint space, not normalised.

        Tokens after the longest caption's end are cut off first. That is exact: a causal token sees nothing
        after itself, and only the end token is read. It costs one wait for the device.

        Args:
            tokens: b n int64, zero padded, of any n.

        Returns:
            b e.

        Raises:
            DataError: a caption has no end token, or is longer than the context.
        """
        ends = end_positions(tokens, self.end_token)
        tokens = tokens[:, : self._longest(tokens, ends)]
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        pooled = self.transformer(x, causal=True, only=ends)
        projected: Tensor = self.ln_final(pooled) @ self.text_projection
        return projected

    def _longest(self, tokens: Tensor, ends: Tensor) -> int:
        """Tokens of the longest caption."""
        if not len(tokens):
            return min(tokens.shape[1], self.context_length)
        found = tokens.gather(1, ends[:, None])[:, 0]
        complete = (found > 0) if self.end_token is None else (found == self.end_token)
        incomplete, last = torch.stack([complete.logical_not().sum(), ends.max()]).tolist()
        if incomplete:
            raise DataError(
                f"{incomplete} of {len(tokens)} captions have no end token",
                do="encode them with the model's tokenizer",
            )
        if last >= self.context_length:
            raise DataError(
                f"a caption of {last + 1} tokens is longer than the context of {self.context_length}",
                do="let the tokenizer truncate it",
            )
        return int(last) + 1


def end_positions(tokens: Tensor, end_token: int | None) -> Tensor:
    """Where each caption ends.

    Args:
        tokens: b n int64.
        end_token: the first occurrence of this id; None: of the caption's largest id.

    Returns:
        b int64; 0 where the id does not occur.
    """
    marks = tokens if end_token is None else (tokens == end_token).to(torch.int32)
    return marks.argmax(dim=-1)
