"""What a user of CrossViT touches: labels, and a picture of where the class tokens look."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

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

__all__ = ["CrossViTClassifier", "published_resize", "settings_of"]

TRAINED_ON = 224
RESIZED_TO = 256
"""The published evaluation scales the shorter side to 256 for every 224 px that the model is shown."""


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

    def attention(self, image: np.ndarray) -> list[np.ndarray]:
        """Where the class tokens look: the picture as the model sees it, brighter where there is more attention.

        Args:
            image: RGB HWC uint8 [0, 255], any size.

        Returns:
            Three pictures RGB HWC uint8: as shown, the large branch's class token on the small patches, and the small
            branch's on the large ones; each on its own branch's patches where the fusion is no cross-attention.
        """
        shown = self.show(image)
        with torch.inference_mode():
            pixels = self.prepare(torch.from_numpy(shown)[None].to(self.device))
            found = self.network.attention_of_class_token(pixels)
        small, large = found.own if found.other is None else found.other
        return [shown, _spotlight(shown, large[0].cpu().numpy()), _spotlight(shown, small[0].cpu().numpy())]

    def attention_sheet(self, pictures: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
        """Pictures beside where the class tokens look in them, a row each: RGB HWC uint8.

        Args:
            pictures: RGB HWC uint8 [0, 255], any sizes.
            names: one a picture.
        """
        from visionsmith.report.sheet import contact_sheet

        crosses = self.network.config.fusion == "cross_attention"
        captions = ("large branch, on small patches", "small branch, on large patches")
        if not crosses:
            captions = ("large branch", "small branch")
        return contact_sheet(
            [part for picture in pictures for part in self.attention(picture)],
            [caption for name in names for caption in (name, *captions)],
            columns=3,
            cell=220,
            title=f"Where the class tokens look in the last {'fusion' if crosses else 'block'}",
        )


def _spotlight(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A picture in gray and dark, in colour and bright where the weights h w are large."""
    height, width = image.shape[:2]
    light = cv2.resize(
        (weights / weights.max()).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    light = light.clip(0, 1)[..., None]
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    lit: np.ndarray = np.rint(0.3 * gray * (1 - light) + image * light).astype(np.uint8)
    return lit


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
