"""The text side of a CLIP, as a prior reads it: every token's state, and the projected embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionsmith.papers.clip import Clip
from visionsmith.papers.latent_diffusion import (
    make_text_encoder,
    make_tokenizer,
    text_config,
    text_state,
    tokenize,
)
from visionsmith.papers.unclip.prior import Read

__all__ = ["TextReader"]


class TextReader(nn.Module):
    """A frozen text encoder with its projection and its tokenizer."""

    projection: Tensor

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.config = text_config(clip.model, clip.tokenizer)
        self.tokenizer = make_tokenizer(clip.tokenizer.save(), self.config)
        self.encoder = make_text_encoder(self.config)
        self.encoder.load_state_dict(text_state(clip.model), strict=False)
        self.register_buffer("projection", clip.model.text_projection.detach().float().clone())
        self.requires_grad_(False).eval()

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Ids `b n` int64, padded and cut to the context."""
        return tokenize(self.tokenizer, texts)

    def too_long(self, text: str) -> int:
        """How many tokens of a text are beyond the context, and would not be read."""
        length: int = len(self.tokenizer(text, truncation=False, verbose=False).input_ids)
        most: int = self.tokenizer.model_max_length
        return max(0, length - most)

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Read:
        """Read ids `b n`, on the device where they are: no objective that it stands beside moves it."""
        self.to(tokens.device)
        found = self.encoder(tokens)
        ends = (tokens == self.config.end_token).int().argmax(dim=1)
        # The padding is the end token again: what counts is the first.
        mask = torch.arange(tokens.shape[1], device=tokens.device)[None] <= ends[:, None]
        return Read(found.last_hidden_state, found.pooler_output @ self.projection, mask)

    def read(self, texts: Sequence[str], device: torch.device) -> Read:
        """Read texts on a device."""
        found: Read = self(self.tokenize(texts).to(device))
        return found
