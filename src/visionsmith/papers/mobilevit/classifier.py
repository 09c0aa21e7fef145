"""What a user of MobileViT touches: a classifier that works at any size of picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from visionsmith.errors import ConfigError
from visionsmith.papers.classify import Classifier
from visionsmith.papers.mobilevit.model import MobileViT
from visionsmith.papers.mobilevit.preprocess import prepare, show

__all__ = ["SMALLEST", "MobileViTClassifier"]

SMALLEST = 32
"""Sides below this leave less than one position of the last feature map, pixels."""


class MobileViTClassifier(Classifier):
    """A MobileViT with its classes and the size at which it is shown pictures."""

    def __init__(self, model: MobileViT, classes: Sequence[str], *, size: int, resize: int | None) -> None:
        """Make it.

        Args:
            model: in evaluation mode where it only answers; `folding.fold_batch_norm` makes it faster.
            classes: names, in the order of the outputs.
            size: side at which pictures are shown, pixels.
            resize: length of the shorter side before the centre is cut out, pixels; None: `size`.

        Raises:
            ConfigError: the size is smaller than the network's stride.
        """
        if size < SMALLEST:
            raise ConfigError(
                f"size = {size} px is smaller than one position of the last feature map",
                do=f"choose at least {SMALLEST}",
            )
        super().__init__(model, classes, show=partial(show, size=size, resize=resize), prepare=prepare)
        self.network, self.size, self.resize = model, size, resize

    def at(self, size: int) -> MobileViTClassifier:
        """The same network, shown pictures at another size; the margin that is cut off keeps its share."""
        resize = None if self.resize is None else round(size * self.resize / self.size)
        return MobileViTClassifier(self.network, self.classes, size=size, resize=resize)
