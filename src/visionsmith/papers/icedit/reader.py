"""What reads prompts: the states that a transformer attends to, and one embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from visionsmith.papers.latent_diffusion import tokenize

__all__ = ["ClipReader", "FluxReader", "Reader"]


class Reader(Protocol):
    """Reads prompts."""

    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """States `b m d` and embeddings `b p`."""

    def too_long(self, text: str) -> int:
        """How many tokens of a text are beyond what is read."""

    def to(self, device: torch.device) -> None:
        """Move the encoders."""


class ClipReader:
    """A CLIP text tower, whose states and whose pooled state are both used: of the small model."""

    def __init__(self, text_encoder: Any, tokenizer: Any) -> None:
        self.text_encoder, self.tokenizer = text_encoder, tokenizer

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Reader`."""
        found = self.text_encoder(tokenize(self.tokenizer, texts).to(self.text_encoder.device))
        return found.last_hidden_state, found.pooler_output

    def too_long(self, text: str) -> int:
        """See `Reader`."""
        length: int = len(self.tokenizer(text, truncation=False, verbose=False).input_ids)
        return max(0, length - int(self.tokenizer.model_max_length))

    def to(self, device: torch.device) -> None:
        """See `Reader`."""
        self.text_encoder.to(device)


class FluxReader:
    """T5's states and CLIP's pooled state: of FLUX's pipelines."""

    TOKENS = 512
    """That T5 reads."""

    def __init__(self, pipeline: Any) -> None:
        """`pipeline`: a `FluxFillPipeline`."""
        self.pipeline = pipeline

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Reader`."""
        states, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(texts), prompt_2=list(texts), max_sequence_length=self.TOKENS
        )
        return states, pooled

    def too_long(self, text: str) -> int:
        """See `Reader`."""
        length: int = len(self.pipeline.tokenizer_2(text, truncation=False, verbose=False).input_ids)
        return max(0, length - self.TOKENS)

    def to(self, device: torch.device) -> None:
        """See `Reader`."""
        self.pipeline.text_encoder.to(device)
        self.pipeline.text_encoder_2.to(device)
