"""The correction of an enlarged picture by the small one."""

from __future__ import annotations

import cv2
import numpy as np

from visionsmith.evaluate.similarity import psnr
from visionsmith.papers.latent_upscaler import Enlarger
from visionsmith.papers.latent_upscaler.faithful import back_projected
from visionsmith.papers.latent_upscaler.samples import halved


def _blocks() -> np.ndarray:
    """Flat areas with sharp edges, as drawings have."""
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[9:41, 11:50] = (210, 60, 40)
    cv2.circle(picture, (40, 40), 13, (30, 90, 200), -1)
    return picture


def test_halves_are_the_small_picture() -> None:
    true = _blocks()
    small = halved(true[None])[0]
    wrong = true.astype(np.float32) * 0.8 + 20
    found = back_projected(wrong, small, rounds=40)
    error = np.abs(cv2.resize(found, (32, 32), interpolation=cv2.INTER_AREA) - small)
    assert error.mean() < 0.5
    assert psnr(found.round().astype(np.uint8), true) > psnr(wrong.round().astype(np.uint8), true) + 10


def test_what_agrees_already_stays() -> None:
    true = _blocks()
    assert np.abs(back_projected(true, halved(true[None])[0]) - true).max() <= 2


def test_an_enlarged_picture_is_corrected_unless_it_is_not_wanted(enlarger: Enlarger) -> None:
    small = halved(_blocks()[None])[0]
    plain = enlarger.enlarge(small, steps=2, faithful=False)
    corrected = enlarger.enlarge(small, steps=2)
    together = enlarger.enlarge_batch(small[None], steps=2)[0]
    off = [np.abs(halved(one[None])[0].astype(int) - small).mean() for one in (plain, corrected, together)]
    assert max(off[1:]) < off[0] / 4
