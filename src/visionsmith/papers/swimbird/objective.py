"""What SwimBird learns from: L = cross-entropy of the words + lambda x error of the thoughts (eq. 1 to 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.losses.language import IGNORED, next_token_sums, supervised
from visionsmith.losses.precision import at_least_float32
from visionsmith.papers.swimbird.chat import Encoded
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.patches import join
from visionsmith.train.task import Batch

__all__ = ["SwimBirdObjective", "collate_chats"]


class SwimBirdObjective(nn.Module):
    """The losses of a batch of dialogues; `train.task.Counted`, since dialogues hold unequal numbers of tokens."""

    def __init__(self, model: SwimBird, *, chunk: int | None = None) -> None:
        """Wrap a model.

        Args:
            model: to train.
            chunk: most positions whose logits are held at once.
        """
        super().__init__()
        self.model, self.chunk = model, chunk

    def counts(self, batch: Batch) -> Tensor:
        """Supervised tokens, and thoughts: float `2`."""
        thoughts = (batch["ids"][:, 1:] == self.model.config.latent_id).sum()
        return torch.stack([supervised(batch["labels"]), thoughts]).float()

    def forward(self, batch: Batch, counts: Tensor | None = None) -> dict[str, Tensor]:
        """Losses.

        Args:
            batch: as `collate_chats` makes it; "thoughts" `m d` may stand in place of the thought pictures.
            counts: what the sums are divided by; None: those of this batch.

        Returns:
            "loss", "text_loss" (nats a token), "latent_loss", "accuracy" (share of the supervised tokens).
        """
        model, config = self.model, self.model.config
        words, spans = (self.counts(batch).clamp(min=1) if counts is None else counts).unbind()
        thoughts = batch.get("thoughts")
        if thoughts is None and "thought_values" in batch:
            thoughts = model.thoughts_of(batch["thought_values"], batch["thought_grids"])
        hidden = model.hidden(
            batch["ids"],
            batch["mask"],
            values=batch.get("values"),
            grids=batch.get("grids"),
            thoughts=thoughts,
        )
        loss, right = next_token_sums(hidden, batch["labels"], model.head, chunk=self.chunk)
        text_loss = loss / words
        latent_loss = torch.zeros_like(text_loss)
        if thoughts is not None:
            # The state before a thought is what generation would feed back as the thought.
            found = hidden[:, :-1][batch["ids"][:, 1:] == config.latent_id]
            latent_loss = _errors(found, thoughts, config.latent_loss) / spans
        return {
            "loss": text_loss + config.latent_lambda * latent_loss,
            "text_loss": text_loss,
            "latent_loss": latent_loss,
            "accuracy": right / words,
        }


def _errors(found: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """Sum over the thoughts `m d` of the mean squared error, or of 1 - cosine."""
    dtype = at_least_float32(found, wanted)
    found, wanted = found.to(dtype), wanted.to(dtype)
    if kind == "sim":
        return (1 - F.cosine_similarity(found, wanted, dim=-1)).sum()
    return (found - wanted).square().mean(dim=-1).sum()


def collate_chats(chats: Sequence[Encoded], *, pad: int, left: bool = False) -> Batch:
    """Dialogues as a batch.

    Args:
        chats: unequal lengths are filled up.
        pad: id of the filler; masked out.
        left: whether it stands before the text, as generation needs it.

    Returns:
        "ids", "labels", "mask" (int64 `b t`), and where there are any "values", "grids" of the pictures and
        "thought_values", "thought_grids" of the thought pictures, or "thoughts", what the tower saw in them.
    """
    longest = max(len(chat.ids) for chat in chats)

    def filled(tensor: Tensor, value: int) -> Tensor:
        room = longest - len(tensor)
        return F.pad(tensor, (room, 0) if left else (0, room), value=value)

    batch = {
        "ids": torch.stack([filled(chat.ids, pad) for chat in chats]),
        "labels": torch.stack([filled(chat.labels, IGNORED) for chat in chats]),
        "mask": torch.stack([filled(torch.ones_like(chat.ids), 0) for chat in chats]),
    }
    pictures = join([chat.pictures for chat in chats if chat.pictures is not None])
    if pictures is not None:
        batch |= {"values": pictures.values, "grids": pictures.grids}
    thoughts = join([chat.thoughts for chat in chats if chat.thoughts is not None])
    if thoughts is not None:
        batch |= {"thought_values": thoughts.values, "thought_grids": thoughts.grids}
    if known := [chat.known for chat in chats if chat.known is not None]:
        batch["thoughts"] = torch.cat(known).float()
    return batch
