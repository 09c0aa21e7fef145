"""How well pictures fit their captions, and how near their distribution is to that of real ones.

Judged by the CLIP that ships. Its text tower may be the one that the denoiser reads with; its picture tower takes no
part in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from visionsmith.evaluate.frechet import frechet_distance
from visionsmith.evaluate.zero_shot import first_true_ranks
from visionsmith.papers.clip import load as load_clip
from visionsmith.papers.latent_diffusion.painter import Painter
from visionsmith.papers.latent_diffusion.pictures import Pictures, some_pictures
from visionsmith.papers.latent_diffusion.world import World
from visionsmith.report.sheet import contact_sheet

__all__ = ["Judge", "evenly", "painted_sheet"]


def evenly(records: Sequence[int], count: int) -> list[int]:
    """At most `count` of the records, evenly spread."""
    if count >= len(records):
        return list(records)
    return [records[place * len(records) // count] for place in range(count)]


class Judge:
    """A CLIP, the captions that compete, and real pictures to compare with."""

    def __init__(self, world: World, size: int) -> None:
        """Make it.

        Args:
            world: whose captions compete.
            size: of pictures, pixels.
        """
        self.world, self.size = world, size
        self.clip = load_clip()
        self.captions = self.clip.encode_texts(world.captions())

    def embed(self, pictures: np.ndarray) -> Tensor:
        """Unit-norm embeddings `n e` of pictures uint8 `n h w 3`."""
        return self.clip.encode_images(pictures)

    def real(self, records: Sequence[int]) -> np.ndarray:
        """The records' own pictures, uint8 `n h w 3`."""
        pictures: np.ndarray = some_pictures(self.world.store, records, self.size, len(records)).numpy()
        return pictures

    def nearest(self, records: Sequence[int]) -> np.ndarray:
        """For each record the training picture whose caption is nearest to its own: a baseline that paints nothing."""
        train = list(self.world.train)
        near = (self.captions[list(records)] @ self.captions[train].T).argmax(dim=1).tolist()
        pictures = Pictures(self.world.store, self.size)
        return np.stack([pictures[0, train[place]] for place in near])

    def scores(self, pictures: np.ndarray, records: Sequence[int]) -> dict[str, float]:
        """Figures of pictures uint8 `n h w 3` that were painted for the records' captions.

        Returns:
            "top1", "top5": shares of pictures whose true caption is found first, or within five, among all captions.
            "agreement": mean cosine with the true caption.
            "frechet": distance to the records' real pictures in CLIP's space; no FID, which Inception measures. It
            grows as samples get fewer: compare figures of equally many. Of a single picture there is none.
            "pixels": mean absolute difference from the real picture, 0 to 255, though others would be right too.
        """
        found = self.embed(pictures)
        real = self.real(records)
        truth = [self.world.truth(index) for index in records]
        ranks = first_true_ranks(found, self.captions, truth)
        figures = {
            "top1": float((ranks <= 1).double().mean()),
            "top5": float((ranks <= 5).double().mean()),
            "agreement": float((found * self.captions[torch.tensor(list(records))]).sum(dim=1).mean()),
            "pixels": float(np.abs(pictures.astype(np.int16) - real).mean()),
        }
        if len(found) > 1:
            figures["frechet"] = frechet_distance(found.numpy(), self.embed(real).numpy())
        return figures


def painted_sheet(painter: Painter, world: World, records: Sequence[int], **settings: float) -> np.ndarray:
    """Pictures painted for the records' captions: RGB HWC uint8."""
    captions = [world.store[index].caption for index in records]
    return contact_sheet(
        list(painter.paint(captions, **settings)),  # type: ignore[arg-type]
        captions,
        columns=8,
        cell=128,
        title="Painted for captions that were kept from training",
    )
