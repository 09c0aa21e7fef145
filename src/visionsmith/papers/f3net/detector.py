"""F3-Net as a user meets it: pictures in, probabilities and heat maps out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import encode
from visionsmith.errors import ConfigError
from visionsmith.image.io import read_image
from visionsmith.papers.f3net.config import DecisionConfig
from visionsmith.papers.f3net.model import F3Net

if TYPE_CHECKING:
    from visionsmith.train.task import Export

__all__ = ["Detector", "Finding", "prepare", "to_square"]

BATCH = 64
Picture = np.ndarray | Path | str


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found in a picture."""

    probability: float
    """That it is forged, 0 to 1, by the model's reckoning."""
    evidence: np.ndarray
    """float32, a grid over the picture: the share of each place in the logit. Above 0 speaks for a forgery. The mean
    of the grid plus the last layer's bias is the logit."""


class Detector:
    """An F3-Net with its preprocessing and its threshold.

    detector = visionsmith.load("f3net")
    detector.probabilities(["a.jpg", "b.jpg"])      # array([0.93, 0.11])
    """

    def __init__(self, model: F3Net) -> None:
        self.model = model

    @property
    def decision(self) -> DecisionConfig:
        """The threshold, how it was found, and what the model has seen."""
        return self.model.config.decision

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.fc.weight.device

    def to(self, device: str | torch.device) -> Detector:
        """Move the model."""
        self.model.to(device)
        return self

    def probabilities(self, pictures: Iterable[Picture]) -> np.ndarray:
        """Of each picture to be forged, float64; files or arrays (RGB HWC uint8) of any size.

        Raises:
            DataError: a file that cannot be read.
            ConfigError: an array that is no picture.
        """
        parts = [torch.sigmoid(self.model(batch)) for batch in self._batches(pictures)]
        return torch.cat(parts).double().cpu().numpy() if parts else np.empty(0)

    def look(self, pictures: Iterable[Picture]) -> Iterator[Finding]:
        """`probabilities`, with where the evidence is; one after the other."""
        for batch in self._batches(pictures):
            evidence = self.model.evidence(batch)
            logits = evidence.mean((1, 2)) + self.model.fc.bias
            for probability, grid in zip(torch.sigmoid(logits), evidence.float().cpu(), strict=True):
                yield Finding(float(probability), grid.numpy())

    def export(self, state: dict[str, Tensor], decision: DecisionConfig) -> Export:
        """The checkpoint of a state dict of this model."""
        from visionsmith.train.task import Export

        config = dataclasses.replace(self.model.config, decision=decision)
        return Export(config=encode(config), tensors=state, files={})

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `run.load` opens."""
        export = self.export(self.model.state_dict(), self.decision)
        checkpoint.write(folder, paper="f3net", config=export.config, tensors=export.tensors)

    def _batches(self, pictures: Iterable[Picture]) -> Iterator[Tensor]:
        """Batches of inputs, while the model is in evaluation mode and no gradient is kept."""
        size = self.model.config.image_size
        stream, was_training = iter(pictures), self.model.training
        self.model.eval()
        try:
            while batch := [to_square(picture, size) for picture in islice(stream, BATCH)]:
                with torch.no_grad():
                    yield prepare(torch.from_numpy(np.stack(batch)).to(self.device))
        finally:
            self.model.train(was_training)


def to_square(picture: Picture, size: int) -> np.ndarray:
    """A picture as the model is shown it: whole, made `size` x `size` px; RGB HWC uint8.

    Raises:
        ConfigError: an array that is not RGB HWC uint8.
    """
    image = picture if isinstance(picture, np.ndarray) else read_image(Path(picture))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ConfigError(
            f"a picture is {image.dtype} of shape {image.shape}",
            do="give RGB arrays of uint8, height x width x 3",
        )
    if image.shape[:2] == (size, size):
        return image
    smaller = min(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def prepare(images: Tensor) -> Tensor:
    """Pixels b h w 3 uint8 -> b 3 h w float32 in [-1, 1]."""
    return (images.float() / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
