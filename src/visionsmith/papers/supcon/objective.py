"""The contrastive objective, with labels or without (eq. 1 to 3), over a batch of pictures in several views.

Axes: b samples, v views of each, h/w pixels, e projection.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from visionsmith.losses.supcon import distributed_supcon_loss
from visionsmith.nn.pixels import normalise
from visionsmith.papers.supcon.model import SupConResNet

__all__ = ["ContrastiveObjective"]


class ContrastiveObjective(nn.Module):
    """An encoder with its projection under a loss that couples the batch: see `train.task.BatchCoupled`."""

    def __init__(
        self,
        model: SupConResNet,
        *,
        use_labels: bool = True,
        form: Literal["out", "in"] = "out",
        temperature: float = 0.1,
        base_temperature: float | None = 0.07,
        contrast: Literal["all", "one"] = "all",
    ) -> None:
        """Make the objective.

        Args:
            model: with a head.
            use_labels: False: the positives of a view are the other views of its sample (SimCLR).
            form: L_out or L_in.
            temperature: of the scores.
            base_temperature: the loss is multiplied by temperature / base_temperature; None leaves it out.
            contrast: whether all views are anchors, or the first of each sample.
        """
        super().__init__()
        self.model = model
        self.use_labels, self.form, self.contrast = use_labels, form, contrast
        self.temperature, self.base_temperature = temperature, base_temperature

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "images" uint8 `b v h w 3` RGB and "labels" int64 `b`."""
        return self.loss(*self.features(batch))

    def features(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Unit-norm projections `b v e`, and the labels as float32, which is how features pass through accumulation."""
        images = batch["images"]
        # Samples stay along the first axis from the data set to the loss, so no view can land with another sample.
        samples, views = images.shape[:2]
        flat = normalise(images.flatten(0, 1), self.model.config.mean, self.model.config.std)
        return self.model.project(flat).view(samples, views, -1), batch["labels"].float()

    def loss(self, projected: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss of a whole batch's projections; "alignment" is the mean cosine of the views of a sample."""
        value = distributed_supcon_loss(
            projected.float(),
            labels.detach().round().long() if self.use_labels else None,
            temperature=self.temperature,
            base_temperature=self.base_temperature,
            contrast=self.contrast,
            form=self.form,
        )
        if labels.requires_grad:
            # Accumulation asks for the gradient of every feature; that of a label is nothing.
            value = value + 0 * labels.sum()
        result = {"loss": value}
        views = projected.shape[1]
        if views > 1:
            with torch.no_grad():
                pairs = (projected.float().sum(1).square().sum(-1) - views) / (views * (views - 1))
                result["alignment"] = pairs.mean()
        return result
