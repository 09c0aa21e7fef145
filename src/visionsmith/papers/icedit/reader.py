"""What reads prompts: the states that a transformer attends to, and one embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from visionsmith.diffusion.flux import Text
from visionsmith.papers import flux_folder
from visionsmith.papers.latent_diffusion import tokenize

__all__ = ["ClipReader", "FluxReader", "Reader", "read"]


class Reader(Protocol):
    """Reads prompts. Its encoders do not learn."""

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts to ids, int64 `b m`, cut to what is read."""

    def states(self, tokens: Tensor) -> Text:
        """States `b m d` and embeddings `b p` of ids, without gradients."""

    def too_long(self, text: str) -> int:
        """How many tokens of a text are beyond what is read."""

    def to(self, device: torch.device) -> None:
        """Move the encoders."""


def read(reader: Reader, texts: Sequence[str]) -> Text:
    """States `b m d` and embeddings `b p` of texts."""
    return reader.states(reader.tokenize(texts))


class ClipReader:
    """A CLIP text tower, whose states and whose pooled state are both used: of the small model."""

    def __init__(self, text_encoder: Any, tokenizer: Any) -> None:
        self.text_encoder, self.tokenizer = text_encoder.requires_grad_(False).eval(), tokenizer

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """See `Reader`."""
        return tokenize(self.tokenizer, texts)

    @torch.no_grad()
    def states(self, tokens: Tensor) -> Text:
        """See `Reader`."""
        found = self.text_encoder(tokens.to(self.text_encoder.device))
        return Text(found.last_hidden_state, found.pooler_output)

    def too_long(self, text: str) -> int:
        """See `Reader`."""
        length: int = len(self.tokenizer(text, truncation=False, verbose=False).input_ids)
        return max(0, length - int(self.tokenizer.model_max_length))

    def to(self, device: torch.device) -> None:
        """See `Reader`."""
        self.text_encoder.to(device)


class FluxReader:
    """T5's states and CLIP's pooled state: of FLUX's pipelines."""

    def __init__(self, pipeline: Any) -> None:
        """`pipeline`: of `flux_folder.open_flux`."""
        self.pipeline = pipeline

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """See `Reader`: CLIP's ids, then T5's."""
        return flux_folder.tokenize(self.pipeline, texts)

    def states(self, tokens: Tensor) -> Text:
        """See `Reader`."""
        return flux_folder.read(self.pipeline.text_encoder, self.pipeline.text_encoder_2, tokens)

    def too_long(self, text: str) -> int:
        """See `Reader`."""
        length: int = len(self.pipeline.tokenizer_2(text, truncation=False, verbose=False).input_ids)
        return max(0, length - flux_folder.sizes(self.pipeline)[1])

    def to(self, device: torch.device) -> None:
        """See `Reader`."""
        self.pipeline.text_encoder.to(device)
        self.pipeline.text_encoder_2.to(device)
