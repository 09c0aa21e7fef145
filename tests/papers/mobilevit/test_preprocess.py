"""Blue first, from 0 to 1, nothing else: and what happens when a picture is fed otherwise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

from tests.papers.mobilevit.library import SMALL, library_model
from visionsmith.data.photographs import photograph
from visionsmith.errors import ConfigError, DataError
from visionsmith.nn.pixels import normalise
from visionsmith.papers.mobilevit import MobileViT, MobileViTClassifier, from_official, prepare, show
from visionsmith.papers.mobilevit.transformers_layout import state_from_transformers


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return photograph("cat")


def test_transformers_prepares_alike(cat: np.ndarray) -> None:
    # The settings of the published checkpoints.
    processor = MobileViTImageProcessorPil(
        size={"shortest_edge": 288},
        crop_size={"height": 256, "width": 256},
        resample=Image.Resampling.BILINEAR,
    )
    square = np.ascontiguousarray(cat[:300, :300])  # of a side that leaves nothing to rounding
    expected = processor(square, return_tensors="pt")["pixel_values"]
    found = prepare(torch.from_numpy(show(square, 256, 288))[None])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_input_is_what_opencv_reads(tmp_path, cat: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "cat.png"), cv2.cvtColor(cat, cv2.COLOR_RGB2BGR))
    read = cv2.imread(str(tmp_path / "cat.png"))
    expected = torch.from_numpy(read).permute(2, 0, 1)[None] / 255
    found = prepare(torch.from_numpy(cat)[None])
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(prepare(torch.from_numpy(cat)[None].float()), found), "mixed pictures come as float"


def test_a_picture_that_is_fed_wrongly_gives_other_answers(cat: np.ndarray) -> None:
    theirs = library_model(SMALL)
    ours = from_official(state_from_transformers(theirs.state_dict(), SMALL), SMALL).eval()
    classifier = MobileViTClassifier(ours, [str(n) for n in range(7)], size=64, resize=72)
    pixels = torch.from_numpy(show(cat, 64, 72))[None]
    with torch.no_grad():
        right = ours(prepare(pixels)).softmax(1)
        red_first = ours(pixels.permute(0, 3, 1, 2) / 255).softmax(1)
        normalised = ours(normalise(pixels).flip(1)).softmax(1)
    assert torch.equal(classifier.probabilities([cat]), right)
    assert (right - red_first).abs().max() > 0.01
    assert (right - normalised).abs().max() > 0.01


@pytest.mark.parametrize("shape", [(40, 90, 3), (300, 31, 3), (1, 1, 3), (64, 64, 3)])
def test_pictures_of_any_shape_are_shown_at_one_size(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    classifier = MobileViTClassifier(MobileViT(SMALL).eval(), [str(n) for n in range(7)], size=64, resize=72)
    for side in (32, 64, 100):
        assert classifier.at(side).show(image).shape == (side, side, 3)
    assert classifier.at(128).resize == 144
    assert classifier.at(32).probabilities([image]).shape == (1, 7)


def test_what_is_no_picture_or_no_size() -> None:
    with pytest.raises(DataError, match="not an RGB picture"):
        show(np.zeros((8, 8), np.uint8), 8)
    with pytest.raises(ConfigError, match=r"size = 31 px is smaller .* choose at least 32"):
        MobileViTClassifier(MobileViT(SMALL), ["a"], size=31, resize=None)
