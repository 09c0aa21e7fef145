"""SupCon as a user meets it: pictures in; labels, features and like pictures out.

Axes: b pictures, h/w pixels, f features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import encode
from visionsmith.errors import CheckpointError
from visionsmith.image.io import decode, read_image
from visionsmith.image.views import centre_crop
from visionsmith.nn.pixels import normalise
from visionsmith.papers.classify import Classifier
from visionsmith.papers.supcon.model import SupConResNet

if TYPE_CHECKING:
    from visionsmith.data.labelled import Labelled
    from visionsmith.train.task import Export

__all__ = ["Picture", "SupCon"]

BATCH = 200

Picture = np.ndarray | Path | str
"""RGB HWC uint8 [0, 255] of any size, or a file."""


class SupCon(Classifier):
    """An encoder with its classifier, ready to answer.

    supcon = visionsmith.load("supcon")
    supcon.classify("scene.jpg")                         # {"cook": 0.93, ...}
    supcon.similar("scene.jpg", ["a.jpg", "b.jpg"])      # [(1, 0.91), (0, 0.55)]
    """

    model: SupConResNet

    def __init__(self, model: SupConResNet) -> None:
        config = model.config
        super().__init__(
            model,
            config.classes,
            show=lambda image: centre_crop(image, config.image_size),
            prepare=lambda images: normalise(images, config.mean, config.std),
        )

    def export(self, state: dict[str, Tensor]) -> Export:
        """The checkpoint of a state dict of this model: weights in float16, gains and statistics in float32."""
        from visionsmith.train.task import Export

        # A running variance may lie below what float16 can hold.
        tensors = {
            name: value.half() if value.is_floating_point() and value.ndim > 1 else value
            for name, value in state.items()
        }
        return Export(config=encode(self.model.config), tensors=tensors, files={})

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `run.load` opens."""
        export = self.export(self.model.state_dict())
        checkpoint.write(folder, paper="supcon", config=export.config, tensors=export.tensors)

    def logits(self, shown: Tensor, *, batch: int = BATCH) -> Tensor:
        """As `Classifier.logits`.

        Raises:
            CheckpointError: the model has no classifier.
        """
        if self.model.fc is None:
            raise CheckpointError(
                "this model is an encoder without a classifier",
                do="compare pictures with --similar, or train a classifier: `visionsmith train supcon`",
            )
        return super().logits(shown, batch=batch)

    def features(self, shown: Tensor) -> Tensor:
        """What pictures are compared by.

        Args:
            shown: uint8 `b h w 3`, as `show` makes them.

        Returns:
            Float32 `b f` of unit norm, on the CPU.
        """
        with torch.inference_mode():
            parts = [
                self.model.embed(self.prepare(part.to(self.device))).cpu()
                for part in torch.split(shown, BATCH)
            ]
        return torch.cat(parts)

    def embed(self, pictures: Iterable[Picture]) -> Tensor:
        """`features` of pictures of any size: `b f`; `0 f` for none. No more than a batch is held at a time."""
        stream, parts = iter(pictures), [torch.empty(0, self.model.config.encoder.features)]
        while waiting := [
            torch.from_numpy(self.show(one if isinstance(one, np.ndarray) else read_image(one)))
            for one in islice(stream, BATCH)
        ]:
            parts.append(self.features(torch.stack(waiting)))
        return torch.cat(parts)

    def embed_records(self, data: Labelled, indices: Sequence[int]) -> Tensor:
        """`features` of records of a data set."""
        store = data.store
        return self.embed(decode(store[index].image, where=f"{store.path}[{index}]") for index in indices)

    def similar(self, picture: Picture, others: Iterable[Picture], top: int = 5) -> list[tuple[int, float]]:
        """The pictures most like one.

        Args:
            picture: what to compare with.
            others: what to search in.
            top: how many to give.

        Returns:
            (place in `others`, cosine of the features), the nearest first.
        """
        query = self.embed([picture])[0]
        scores = self.embed(others) @ query
        best = scores.topk(min(top, len(scores)))
        return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
