"""What a user of CrossViT touches: labels, and a picture of where the class tokens look."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from visionsmith import checkpoint
from visionsmith.errors import CheckpointError
from visionsmith.image.views import centre_crop
from visionsmith.nn.pixels import normalise
from visionsmith.papers.classify import Classifier
from visionsmith.papers.crossvit.config import CrossViTConfig
from visionsmith.papers.crossvit.model import CrossViT

__all__ = ["CrossViTClassifier", "Look", "published_resize", "settings_of"]

TRAINED_ON = 224
RESIZED_TO = 256
"""The published evaluation scales the shorter side to 256 for every 224 px that the model is shown."""
DARK = 0.25
"""Brightness of what is looked at least, as a share of its own."""


def published_resize(config: CrossViTConfig) -> int:
    """What the published evaluation scales the shorter side to, pixels: 274 for 240 px."""
    return RESIZED_TO * config.input_size // TRAINED_ON


class CrossViTClassifier(Classifier):
    """A CrossViT with its classes and how it is shown pictures."""

    def __init__(self, model: CrossViT, classes: Sequence[str], *, resize: int) -> None:
        """Make it.

        Args:
            model: in evaluation mode where it only answers.
            classes: names, in the order of the outputs.
            resize: length of a picture's shorter side before the centre is cut out, pixels.
        """
        size = model.config.input_size
        super().__init__(
            model, classes, show=partial(centre_crop, size=size, resize=resize), prepare=normalise
        )
        self.network, self.resize = model, resize

    def settings(self) -> dict[str, Any]:
        """What a checkpoint says beside its weights."""
        from visionsmith.config import encode

        return {
            "model": encode(self.network.config),
            "classes": list(self.classes),
            "resize": self.resize,
        }

    def attention(self, image: np.ndarray) -> tuple[Look, Look]:
        """Where the class tokens look in a picture.

        Args:
            image: RGB HWC uint8 [0, 255], any size.

        Returns:
            The large branch's class token on the small patches, and the small branch's on the large ones; each on its
            own branch's patches where the fusion is no cross-attention.
        """
        shown = self.show(image)
        with torch.inference_mode():
            pixels = self.prepare(torch.from_numpy(shown)[None].to(self.device))
            found = self.network.attention_of_class_token(pixels)
        small, large = found.own if found.other is None else found.other
        return _look(shown, large[0].cpu().numpy()), _look(shown, small[0].cpu().numpy())

    def attention_sheet(self, pictures: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
        """Pictures as the model is shown them, beside where the class tokens look in them: RGB HWC uint8, a row each.

        Args:
            pictures: RGB HWC uint8 [0, 255], any sizes.
            names: one a picture.
        """
        from visionsmith.report.sheet import contact_sheet

        crosses = self.network.config.fusion == "cross_attention"
        branches = ("large branch, small patches", "small branch, large patches")
        if not crosses:
            branches = ("large branch", "small branch")
        drawn, captions = [], []
        for picture, name in zip(pictures, names, strict=True):
            looks = self.attention(picture)
            drawn += [self.show(picture), *(look.picture for look in looks)]
            captions += [
                name,
                *(f"{b}: up to {look.peak:.1f} x" for b, look in zip(branches, looks, strict=True)),
            ]
        title = f"Attention in the last {'fusion' if crosses else 'block'} (x: times the mean)"
        return contact_sheet(drawn, captions, columns=3, cell=220, title=title)


class Look(NamedTuple):
    """Where one class token looks."""

    picture: np.ndarray
    """RGB HWC uint8: in colour where it looks most, in gray and dark where it looks least."""
    peak: float
    """The largest weight over the mean of all: near 1 it looks everywhere alike, whatever the picture seems to show."""


def _look(image: np.ndarray, weights: np.ndarray) -> Look:
    """A picture lit by the weights h w of its patches."""
    height, width = image.shape[:2]
    span = max(float(np.ptp(weights)), 1e-12)
    light = ((weights - weights.min()) / span).astype(np.float32)
    light = cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    lit: np.ndarray = np.rint(DARK * gray * (1 - light) + image * light).astype(np.uint8)
    return Look(lit, float(weights.max() / weights.mean()))


def settings_of(source: str | Path, model: CrossViT) -> tuple[tuple[str, ...], int]:
    """Class names and resize of a source that `official.load_any` takes.

    Weights without names have the classes "class 0", "class 1", ..., and are shown pictures as published.

    Raises:
        CheckpointError: the source names another number of classes than its weights tell apart.
    """
    path, count = Path(source), model.config.classes
    settings = checkpoint.read(path, check=False).config if checkpoint.is_checkpoint(path) else {}
    classes = tuple(settings.get("classes") or ()) if "model" in settings else ()
    if not classes:
        classes = tuple(f"class {number}" for number in range(count))
    if len(classes) != count:
        raise CheckpointError(
            f"names {len(classes)} classes, and its weights tell {count} apart",
            where=path,
            do="copy it again from its source",
        )
    return classes, int(settings.get("resize") or published_resize(model.config))
