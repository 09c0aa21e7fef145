"""Pictures for the codebook, and what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.image.io import decode
from visionsmith.papers.clip import resize_and_crop
from visionsmith.papers.flava.codebook import Codebook
from visionsmith.report.sheet import contact_sheet

__all__ = ["PictureBatch", "Pictures", "codebook_scores", "codebook_sheet", "some_pictures"]


class Pictures(Dataset[np.ndarray]):
    """`dataset[(epoch, index)]` -> a record's picture or a random part of it, RGB uint8 (side, side, 3)."""

    def __init__(self, store: RecordStore, size: int, *, crop: int | None = None, seed: int = 0) -> None:
        """Make it.

        Args:
            store: of pictures.
            size: side of a whole picture, pixels.
            crop: side of the part, pixels; None: the whole.
            seed: of the parts.
        """
        self.store, self.size, self.crop, self.seed = store, size, crop, seed

    def __getitem__(self, key: Key) -> np.ndarray:
        image = decode(self.store[key[1]].image, where=f"{self.store.path}[{key[1]}]")
        if image.shape[:2] != (self.size, self.size):
            image = resize_and_crop(image, self.size)
        if self.crop is None:
            return image
        top, left = generator(self.seed, *key).integers(self.size - self.crop + 1, size=2)
        return image[top : top + self.crop, left : left + self.crop]


class PictureBatch:
    """A list of pictures -> {"images": uint8 (b, h, w, 3)}."""

    def __call__(self, pictures: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """See the class."""
        return {"images": torch.from_numpy(np.stack(pictures))}


def some_pictures(store: RecordStore, indices: Sequence[int], size: int, count: int) -> Tensor:
    """At most `count` of the records' pictures, evenly spread: uint8 (n, size, size, 3)."""
    shown = (
        [indices[place * len(indices) // count] for place in range(count)]
        if count < len(indices)
        else indices
    )
    dataset = Pictures(store, size)
    return PictureBatch()([dataset[0, index] for index in shown])["images"]


def codebook_scores(codebook: Codebook, images: Tensor) -> dict[str, float]:
    """How well pictures come back, and how the codes are used.

    Args:
        codebook: with its decoder.
        images: uint8 `b h w 3`.

    Returns:
        "psnr" (dB), "cell_mean_psnr" (the same of pictures in which each 8 x 8 cell has its mean colour), "codes_used"
        and "majority" (share of the commonest code).
    """
    codes = codebook.encode(images)
    counts = torch.bincount(codes.flatten(), minlength=codebook.config.codes)
    exact = images.permute(0, 3, 1, 2).float()
    mean = torch.nn.functional.avg_pool2d(exact, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return {
        "psnr": _psnr(codebook.decode(codes).permute(0, 3, 1, 2).float(), exact),
        "cell_mean_psnr": _psnr(mean, exact),
        "codes_used": float((counts > 0).sum()),
        "majority": float(counts.max() / counts.sum()),
    }


def codebook_sheet(codebook: Codebook, images: Tensor) -> np.ndarray:
    """Pictures above what comes back from their codes: RGB HWC uint8."""
    back = codebook.decode(codebook.encode(images))
    shown = torch.cat((images, back), dim=1)
    return contact_sheet(
        list(shown.numpy()), [""] * len(shown), title="Pictures, and below them what their codes say"
    )


def _psnr(found: Tensor, exact: Tensor) -> float:
    error = (found - exact).square().mean().clamp(min=1e-9)
    return float(10 * torch.log10(255**2 / error))
