"""The symmetric contrastive objective (sec. 2.3, fig. 3) over a batch of pairs."""

from __future__ import annotations

from torch import Tensor, nn

from visionsmith.losses.contrastive import clamp_logit_scale_, distributed_contrastive_loss
from visionsmith.papers.clip.model import CLIP
from visionsmith.papers.clip.preprocess import normalise

__all__ = ["ClipObjective"]


class ClipObjective(nn.Module):
    """CLIP and its loss, which couples the batch: features and loss are separate, see `train.task.BatchCoupled`."""

    def __init__(self, clip: CLIP, *, loss_chunk: int | None = None) -> None:
        super().__init__()
        self.clip = clip
        self.loss_chunk = loss_chunk

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "images" uint8 (b, h, w, 3) RGB and "tokens" int64 (b, n)."""
        return self.loss(*self.features(batch))

    def features(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Unit-norm embeddings of the pictures and the captions, each (b, e)."""
        images = self.clip.encode_image(normalise(batch["images"]))
        return images, self.clip.encode_text(batch["tokens"])

    def loss(self, images: Tensor, texts: Tensor) -> dict[str, Tensor]:
        """Loss and accuracies of a whole batch's embeddings."""
        output = distributed_contrastive_loss(
            images.float(), texts.float(), self.clip.logit_scale, chunk=self.loss_chunk
        )
        return {
            "loss": output.loss,
            "image_accuracy": output.image_accuracy,
            "text_accuracy": output.text_accuracy,
            "temperature": self.clip.logit_scale.detach().exp().reciprocal(),
        }

    def clamp(self) -> None:
        """Keep the temperature at 0.01 or above (sec. 2.5)."""
        clamp_logit_scale_(self.clip.logit_scale)
