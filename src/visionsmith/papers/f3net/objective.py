"""The objective (sec. 4.1): binary cross-entropy of the one logit."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.papers.f3net.detector import prepare
from visionsmith.papers.f3net.model import F3Net

__all__ = ["ForgeryObjective"]


class ForgeryObjective(nn.Module):
    """F3-Net and its loss."""

    def __init__(self, model: F3Net) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "images" uint8 (b, h, w, 3) RGB and "forged" float32 (b,)."""
        logits = self.model(prepare(batch["images"])).float()
        right = (logits > 0) == (batch["forged"] > 0.5)
        return {
            "loss": F.binary_cross_entropy_with_logits(logits, batch["forged"]),
            "accuracy": right.float().mean().detach(),
        }
