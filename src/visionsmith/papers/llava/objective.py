"""The objective: the next token of the answers, given the picture and all that was said before (sec. 4.2, eq. 3)."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import LlamaForCausalLM

from visionsmith.losses.language import next_token_sums, supervised
from visionsmith.papers.clip import normalise
from visionsmith.papers.llava.model import Llava

__all__ = ["AnswerObjective", "ToldObjective"]

Batch = dict[str, Tensor]


class _Answers(nn.Module):
    """Mean cross-entropy of the supervised tokens of a whole step: a `Counted` objective."""

    def counts(self, batch: Batch) -> Tensor:
        """Supervised tokens of a micro-batch."""
        return supervised(batch["labels"]).float().reshape(1)

    def _losses(self, total: Tensor, right: Tensor, batch: Batch, counts: Tensor | None) -> dict[str, Tensor]:
        number = (self.counts(batch) if counts is None else counts).clamp(min=1e-9).squeeze()
        return {"loss": total / number, "accuracy": right.detach() / number}


class AnswerObjective(_Answers):
    """Answers about pictures."""

    def __init__(self, llava: Llava, *, chunk: int | None = None) -> None:
        """Make the objective.

        Args:
            llava: the model.
            chunk: most positions whose logits are held at once; None: all supervised ones.
        """
        super().__init__()
        self.llava, self.chunk = llava, chunk

    def forward(self, batch: Batch, counts: Tensor | None = None) -> dict[str, Tensor]:
        """Loss, and share of tokens that were the best guess.

        Args:
            batch: "ids" and "labels" int64 `b t`; and the pictures, where there are some: "images" uint8 `p h w 3`, or
                what the tower sees in them, "features" `p n c`.
            counts: supervised tokens of the whole step; None: of the batch.
        """
        llava, features = self.llava, batch.get("features")
        if features is None and "images" in batch:
            features = llava.look(normalise(batch["images"]))
        if features is not None:
            features = features.to(llava.language.model.embed_tokens.weight.dtype)
        states = llava.hidden(llava.embed(batch["ids"], features))
        total, right = next_token_sums(states, batch["labels"], llava.logits, chunk=self.chunk)
        return self._losses(total, right, batch, counts)


class ToldObjective(_Answers):
    """Answers about scenes that are told in words: the language model alone."""

    def __init__(self, language: LlamaForCausalLM) -> None:
        super().__init__()
        self.language = language

    def forward(self, batch: Batch, counts: Tensor | None = None) -> dict[str, Tensor]:
        """Loss and share of tokens that were the best guess; "ids" and "labels" int64 `b t`."""
        states = self.language.model(input_ids=batch["ids"], use_cache=False).last_hidden_state
        total, right = next_token_sums(states, batch["labels"], self.language.lm_head)
        return self._losses(total, right, batch, counts)
