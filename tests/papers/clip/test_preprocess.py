from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from visionsmith.errors import DataError
from visionsmith.papers.clip.preprocess import MEAN, STD, normalise, resize_and_crop


@pytest.mark.parametrize("shape", [(50, 37), (37, 50), (16, 16), (101, 64), (8, 40), (5, 5)])
def test_resizing_equals_transformers(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    expected = processor(Image.fromarray(image), return_tensors="pt")["pixel_values"]
    cropped = resize_and_crop(image, 16)
    assert cropped.shape == (16, 16, 3)
    found = normalise(torch.from_numpy(cropped.copy())[None])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("excess", "margin"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (7, 4)])
def test_odd_margins_are_rounded_half_to_even(excess: int, margin: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16 + excess, 3), dtype=np.uint8)
    assert np.array_equal(resize_and_crop(image, 16), image[:, margin : margin + 16])
    assert np.array_equal(
        resize_and_crop(image.swapaxes(0, 1).copy(), 16), image.swapaxes(0, 1)[margin : margin + 16]
    )


def test_normalising_is_its_formula_and_is_channels_last() -> None:
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    found = normalise(images)
    assert found.shape == (2, 3, 4, 5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for channel in range(3):
        expected = (images[..., channel] / 255 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(found[:, channel], expected)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_arrays_that_are_no_pictures_are_told(array: np.ndarray) -> None:
    with pytest.raises(DataError, match="not an RGB picture"):
        resize_and_crop(array, 8)
