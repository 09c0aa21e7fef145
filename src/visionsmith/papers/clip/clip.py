"""CLIP as a user meets it: pictures and sentences in, embeddings and probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import encode
from visionsmith.errors import ConfigError
from visionsmith.image.io import read_image
from visionsmith.papers.clip.model import CLIP
from visionsmith.papers.clip.preprocess import normalise, resize_and_crop
from visionsmith.papers.clip.prompts import PLAIN
from visionsmith.papers.clip.tokenizer import ClipTokenizer

if TYPE_CHECKING:
    from visionsmith.train.task import Export

__all__ = ["Clip"]

TOKENIZER_FILE = "tokenizer.json"
BATCH = 256

Picture = np.ndarray | Path | str
T = TypeVar("T")


class Clip:
    """A CLIP with its tokenizer and preprocessing.

    clip = visionsmith.load("clip")
    clip.classify("photo.jpg", ["a cat", "a dog"])      # {"a cat": 0.98, "a dog": 0.02}
    """

    def __init__(self, model: CLIP, tokenizer: ClipTokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def export(self, state: dict[str, Tensor]) -> Export:
        """The checkpoint of a state dict of this model: weights in float16, since 3 digits are what training leaves."""
        from visionsmith.train.task import Export

        tensors = {
            name: value.half() if value.is_floating_point() else value for name, value in state.items()
        }
        # A running variance may lie below what float16 can hold, and the temperature is read off to more digits.
        for name, value in state.items():
            if value.ndim < 2 and value.is_floating_point():
                tensors[name] = value.float()
        return Export(
            config=encode(self.model.config), tensors=tensors, files={TOKENIZER_FILE: self.tokenizer.save()}
        )

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `run.load` opens."""
        export = self.export(self.model.state_dict())
        checkpoint.write(
            folder, paper="clip", config=export.config, tensors=export.tensors, files=export.files
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.logit_scale.device

    def to(self, device: str | torch.device) -> Clip:
        """Move the model."""
        self.model.to(device)
        return self

    def encode_images(self, pictures: Iterable[Picture]) -> Tensor:
        """Unit-norm embeddings (pictures, e) of files or arrays (RGB HWC uint8 [0, 255]), float32 on the CPU."""
        size = self.model.config.vision.image_size
        return self._in_batches(
            pictures,
            lambda batch: self.model.encode_image(
                normalise(
                    torch.from_numpy(np.stack([_square(picture, size) for picture in batch])).to(self.device)
                )
            ),
        )

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit-norm embeddings (texts, e), float32 on the CPU; longer texts than the context are cut."""
        # Sorted by length, each batch is trimmed to about its own longest text.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        encoded = self._in_batches(
            [texts[place] for place in order],
            lambda batch: self.model.encode_text(self.tokenizer.encode(batch).to(self.device)),
        )
        result = torch.empty_like(encoded)
        result[order] = encoded
        return result

    def encode_labels(self, labels: Sequence[str], templates: Sequence[str] = (PLAIN,)) -> Tensor:
        """Embeddings (labels, e) of a zero-shot classifier: the mean over prompt templates (sec. 3.1.4)."""
        from visionsmith.evaluate.zero_shot import ensemble

        for template in templates:
            if "{}" not in template:
                raise ConfigError(
                    f"the template '{template}' has no place for the label", do="write {} where it goes"
                )
        return ensemble(self.encode_texts, labels, templates)

    def classify(
        self, picture: Picture, labels: Sequence[str], templates: Sequence[str] = (PLAIN,)
    ) -> dict[str, float]:
        """Probabilities of the labels for a picture, largest first."""
        return self.classify_all([picture], labels, templates)[0]

    def classify_all(
        self, pictures: Iterable[Picture], labels: Sequence[str], templates: Sequence[str] = (PLAIN,)
    ) -> list[dict[str, float]]:
        """`classify` for several pictures at once."""
        if not labels:
            raise ConfigError("no labels were given", do='give some, as in --labels "a cat, a dog"')
        classifier = self.encode_labels(labels, templates)
        scale = float(self.model.logit_scale.detach().exp())
        results = []
        for row in (scale * self.encode_images(pictures) @ classifier.T).softmax(dim=-1):
            order = row.argsort(descending=True).tolist()
            results.append({labels[place]: float(row[place]) for place in order})
        return results

    @torch.no_grad()
    def _in_batches(self, items: Iterable[T], embed: Callable[[list[T]], Tensor]) -> Tensor:
        """Embed batch by batch; no more than one batch of items is held at a time."""
        was_training = self.model.training
        self.model.eval()
        stream, parts = iter(items), []
        try:
            while batch := list(islice(stream, BATCH)):
                parts.append(embed(batch).float().cpu())
        finally:
            self.model.train(was_training)
        return torch.cat(parts) if parts else torch.empty(0, self.model.config.embed_dim)


def _square(picture: Picture, size: int) -> np.ndarray:
    image = picture if isinstance(picture, np.ndarray) else read_image(Path(picture))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ConfigError(
            f"a picture is {image.dtype} of shape {image.shape}",
            do="give RGB arrays of uint8, height x width x 3",
        )
    return image if image.shape[:2] == (size, size) else resize_and_crop(image, size)
