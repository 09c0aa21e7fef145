"""The five losses of FLAVA (sections 3.2 and 3.3), each over the batches that it belongs to.

A batch is of one kind, told by what it holds:

    images  "images" uint8 b h w 3, "patch_places" int64 b k, "patch_labels" int64 b k
    texts   "masked_words" int64 b t, "word_places" int64 b k, "word_labels" int64 b k
    pairs   all of these, "words" int64 b t (the picture's own text, whole) and "matched" int64 b

Places are as many in every sample, so that gathering them waits for nothing; one whose label is `IGNORED` counts
nothing.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from visionsmith.losses.contrastive import distributed_contrastive_loss
from visionsmith.losses.gather import world_size
from visionsmith.losses.language import IGNORED
from visionsmith.losses.precision import at_least_float32
from visionsmith.papers.clip import normalise
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.recipes import LossWeights

__all__ = ["FlavaObjective", "masked_sums"]

Batch = dict[str, Tensor]

KINDS = {1: ("mim",), 2: ("mlm",), 3: ("mmm_image", "mmm_text", "itm")}
"""The losses of a batch's features, by how many tensors those are."""


PERHAPS_IDLE = ("_model.pooler.", ".layernorm.", ".mask_token")
"""Parameters of an encoder that no batch reaches, or not every one."""


class FlavaObjective(nn.Module):
    """FLAVA and its losses, which couple the batch: see `train.task.BatchCoupled`.

    The features of a batch are, for every sample and loss, the sum of its cross-entropies, of its right answers and of
    its places, and for pairs the two embeddings. So a step over micro-batches or processes is exact although samples
    hold unequal numbers of words.
    """

    def __init__(self, flava: FLAVA, weights: LossWeights) -> None:
        super().__init__()
        self.flava = flava
        self.weights = weights

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch, see the module."""
        return self.loss(*self.features(batch))

    def features(self, batch: Batch) -> tuple[Tensor, ...]:
        """Samples along the first axis: sums `b losses 3`, for texts an empty `b 0`, for pairs two `b e`."""
        if "masked_words" not in batch:
            return (self._images(batch) + self._idle("flava.image_model.", "mim_head."),)
        if "images" not in batch:
            sums = self._texts(batch) + self._idle("flava.text_model.", "mlm_head.")
            return sums, sums.new_zeros(len(sums), 0)
        sums, images, texts = self._pairs(batch)
        return sums + self._idle(*self._reached_by_pairs()), images, texts

    def _reached_by_pairs(self) -> list[str]:
        weights = self.weights
        uses = {
            "flava.image_model.": True,
            "flava.text_model.": True,
            "flava.image_projection.": weights.contrastive > 0,
            "flava.text_projection.": weights.contrastive > 0,
            "flava.logit_scale": weights.contrastive > 0,
            "flava.multimodal_model.": weights.fuses,
            "flava.image_to_mm_projection.": weights.fuses,
            "flava.text_to_mm_projection.": weights.fuses,
            "mmm_image_head.": weights.mmm_image > 0,
            "mmm_text_head.": weights.mmm_text > 0,
            "itm_head.": weights.itm > 0,
        }
        return [name for name, used in uses.items() if used]

    def _idle(self, *reached: str) -> Tensor:
        """0, in whose graph every parameter takes part that a batch does not reach.

        With a gradient of 0 instead of none every step treats all parameters alike: processes need not find out which
        gradients to wait for, and a saved state holds all moments. FSDP shards what gradients there are, and needs none
        of this.

        Args:
            reached: beginnings of the names that a batch reaches.
        """
        nothing = self.flava.logit_scale.new_zeros(())
        for name, parameter in self.flava.named_parameters():
            if name.startswith(reached) and not any(part in name for part in PERHAPS_IDLE):
                continue
            if parameter.requires_grad and not isinstance(parameter, DTensor):
                nothing = nothing + parameter.flatten()[:0].sum()
        return nothing

    def loss(self, *features: Tensor) -> dict[str, Tensor]:
        """Losses and accuracies of a whole batch's features."""
        sums = features[0].sum(dim=0)
        counts = sums[:, 2].detach().clone()
        if world_size() > 1:
            # Gradients are averaged over the processes, so each divides by their mean count.
            dist.all_reduce(counts)
            counts /= world_size()
        shares = sums[:, :2] / counts.clamp(min=1e-9)[:, None]
        losses: dict[str, Tensor] = {}
        # What is empty or has no weight keeps its place in the graph, as exact accumulation needs it.
        total = sum((feature.sum() * 0.0 for feature in features), start=sums.new_zeros(()))
        for place, name in enumerate(KINDS[len(features)]):
            if (weight := getattr(self.weights, name)) > 0:
                total = total + weight * shares[place, 0]
                losses |= {name: shares[place, 0], f"{name}_accuracy": shares[place, 1]}
        if len(features) == 3 and self.weights.contrastive > 0:
            output = distributed_contrastive_loss(
                features[1].float(), features[2].float(), self.flava.logit_scale
            )
            total = total + self.weights.contrastive * output.loss
            losses |= {"contrastive": output.loss, "image_accuracy": output.image_accuracy}
        return {"loss": total, **losses}

    def _images(self, batch: Batch) -> Tensor:
        states = self.flava.masked_images(normalise(batch["images"]), batch["patch_places"])
        return masked_sums(self.flava.mim_head, states, batch["patch_labels"])[:, None]

    def _texts(self, batch: Batch) -> Tensor:
        states = self.flava.masked_texts(batch["masked_words"], batch["word_places"])
        return masked_sums(self.flava.mlm_head, states, batch["word_labels"])[:, None]

    def _pairs(self, batch: Batch) -> tuple[Tensor, ...]:
        found = self.flava.pairs(
            normalise(batch["images"]),
            batch["words"],
            batch["masked_words"],
            batch["patch_places"],
            batch["word_places"],
            contrast=self.weights.contrastive > 0,
            fuse=self.weights.fuses,
        )
        rows = len(batch["images"])
        nothing = self.flava.logit_scale.new_zeros(rows, 3)
        sums = [nothing, nothing, nothing]
        if found.first is not None:
            assert found.patches is not None, "the pass gives all three"
            assert found.words is not None, "the pass gives all three"
            # What the picture does not say can not be read off it, and the other way round.
            matched = (batch["matched"] != 0)[:, None]
            patch_labels = batch["patch_labels"].where(matched, IGNORED)
            word_labels = batch["word_labels"].where(matched, IGNORED)
            if self.weights.mmm_image > 0:
                sums[0] = masked_sums(self.flava.mmm_image_head, found.patches, patch_labels)
            if self.weights.mmm_text > 0:
                sums[1] = masked_sums(self.flava.mmm_text_head, found.words, word_labels)
            if self.weights.itm > 0:
                sums[2] = _sums(self.flava.match(found.first)[:, None], batch["matched"][:, None])
        empty = nothing[:, :0]
        images = empty if found.images is None else found.images
        texts = empty if found.texts is None else found.texts
        return torch.stack(sums, dim=1), images, texts


def masked_sums(head: nn.Module, states: Tensor, labels: Tensor) -> Tensor:
    """Of each sample: sum of the cross-entropies (nats), of the right answers, and of the places that count.

    Args:
        head: states `... d` -> logits `... v`.
        states: `b k d`.
        labels: int64 `b k`; `IGNORED` counts nothing.

    Returns:
        `b 3`, float32 or wider.
    """
    return _sums(head(states), labels)


def _sums(logits: Tensor, labels: Tensor) -> Tensor:
    logits = logits.to(at_least_float32(logits))
    losses = F.cross_entropy(logits.mT, labels, ignore_index=IGNORED, reduction="none")
    right = (logits.argmax(dim=-1) == labels).to(losses.dtype)
    counted = (labels != IGNORED).to(losses.dtype)
    return torch.stack((losses, right, counted), dim=-1).sum(dim=1)
