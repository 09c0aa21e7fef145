"""The objective: cross-entropy of the answer's next tokens, through the latents into both models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visionsmith.losses.language import next_token_sums, supervised
from visionsmith.papers.c3.model import C3
from visionsmith.train.task import Batch

__all__ = ["C3Objective"]


class C3Objective(nn.Module):
    """C3 and its loss, a mean over the answers' tokens; exact over micro-batches, see `train.task.Counted`."""

    def __init__(self, model: C3, *, chunk: int | None = None) -> None:
        """Make it.

        Args:
            model: learns as a whole; nothing of it is frozen, as published.
            chunk: most positions whose logits are held at once, see `losses.language.next_token_sums`.
        """
        super().__init__()
        self.model, self.chunk = model, chunk

    def counts(self, batch: Batch) -> Tensor:
        """Tokens of the batch's answers, as one float."""
        return supervised(batch["labels"]).to(torch.float32)[None]

    def forward(self, batch: Batch, counts: Tensor | None = None) -> dict[str, Tensor]:
        """Losses of a batch as `samples.PieceCollate` makes it.

        Returns:
            "loss", nats a token, and "accuracy", the share of the next tokens that were the best guess.
        """
        counts = self.counts(batch) if counts is None else counts
        latents = self.model.compress(batch["texts"], batch["texts_present"])
        given = self.model.decoder_input(latents, batch["ids"], batch["present"], batch["asked"])
        hidden = self.model.read(given)
        loss, right = next_token_sums(hidden, batch["labels"], self.model.decoder.lm_head, chunk=self.chunk)
        return {"loss": loss / counts[0], "accuracy": (right / counts[0]).detach()}
