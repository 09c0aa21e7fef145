"""Patches equal those of the library's processor on the tower's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visionsmith.errors import DataError
from visionsmith.papers.swimbird.config import VisionConfig
from visionsmith.papers.swimbird.patches import cut, fit_size, join


@pytest.mark.parametrize("shape", [(64, 64), (100, 30), (33, 250), (7, 7), (640, 480)])
@pytest.mark.parametrize("budget", [(2, 16), (1, 4), (4, 400)])
def test_equals_the_library(shape: tuple[int, int], budget: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    least, most = budget
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, min_pixels=least * 256, max_pixels=most * 256,
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    theirs = processor.preprocess([image], return_tensors="pt")
    ours = cut(image, VisionConfig(patch_size=8), least=least, most=most)
    if round(min(shape) / 16) > 0:  # the library rounds the short side of a thin picture to no row at all
        assert torch.equal(ours.grids, theirs["image_grid_thw"])
        assert torch.allclose(ours.values, theirs["pixel_values"].float(), atol=1e-5)
    assert ours.tokens(2) == [int(ours.grids.prod()) // 4]


def test_budgets_hold() -> None:
    for height, width in np.random.default_rng(1).integers(1, 2000, (300, 2)):
        if max(height, width) > 190 * min(height, width):
            continue
        high, wide = fit_size(int(height), int(width), side=32, least=2, most=32)
        assert high % 32 == wide % 32 == 0
        # Only a picture so long that it is one row of tokens may take more.
        assert 2 <= high * wide // 1024 <= 32 or min(high, wide) == 32


def test_pictures_join_in_order_and_mistakes_are_named() -> None:
    config = VisionConfig(patch_size=8)
    parts = [cut(np.full((32, size, 3), size, np.uint8), config, least=1, most=64) for size in (32, 64)]
    joined = join(parts)
    assert joined is not None
    assert joined.tokens(2) == [4, 8]
    assert torch.equal(joined.values[:16], parts[0].values)
    assert join([]) is None
    with pytest.raises(DataError, match="too long"):
        cut(np.zeros((2, 500, 3), np.uint8), config, least=1, most=64)
