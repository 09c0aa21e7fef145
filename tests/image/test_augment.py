"""Augmentations against closed forms, and chance that comes from the stream alone."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import pytest

from visionsmith.errors import ConfigError
from visionsmith.image import augment
from visionsmith.image.rand_augment import CHANGES, LARGEST, rand_augment
from visionsmith.image.views import centre_crop

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)

ALL: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "square_crop": lambda image, rng: augment.random_square_crop(image, rng, 16),
    "resized_crop": lambda image, rng: augment.random_resized_crop(image, rng, (12, 20)),
    "flip": augment.horizontal_flip,
    "affine": lambda image, rng: augment.random_affine(image, rng, degrees=20, shift=0.1, scale=(0.8, 1.2)),
    "jitter": lambda image, rng: augment.colour_jitter(
        image, rng, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
    ),
    "gray": augment.random_gray,
    "erasing": lambda image, rng: augment.random_erasing(image, rng, 1.0),
    "rand_augment": rand_augment,
}


@pytest.mark.parametrize("name", sorted(ALL))
def test_chance_comes_from_the_stream_and_the_input_stays(name: str) -> None:
    before = PICTURE.copy()
    first, second = (ALL[name](PICTURE, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
    assert first.shape[2] == 3
    assert np.array_equal(before, PICTURE)
    others = [ALL[name](PICTURE, np.random.default_rng(seed)) for seed in range(12)]
    assert any(other.shape != first.shape or not np.array_equal(other, first) for other in others)


def test_resized_crop_covers_the_share_and_ratio_it_was_asked_for() -> None:
    # A picture that holds its own coordinates shows what was cut.
    rows, columns = np.mgrid[0:200, 0:250]
    coordinates = np.dstack([rows, columns, np.zeros_like(rows)]).astype(np.uint8)
    shares, ratios = [], []
    for seed in range(300):
        crop = augment.random_resized_crop(
            coordinates, np.random.default_rng(seed), (200, 250), scale=(0.2, 0.5), ratio=(0.5, 2.0)
        ).astype(int)
        height, width = np.ptp(crop[..., 0]) + 1, np.ptp(crop[..., 1]) + 1
        shares.append(height * width / (200 * 250))
        ratios.append(width / height)
    assert 0.18 < min(shares) < 0.25
    assert 0.45 < max(shares) < 0.53
    assert 0.47 < min(ratios) < 0.6
    assert 1.7 < max(ratios) < 2.1


def test_resized_crop_of_a_picture_that_no_draw_fits() -> None:
    strip = np.zeros((4, 400, 3), dtype=np.uint8)
    strip[:, 195:205] = 255
    crop = augment.random_resized_crop(strip, np.random.default_rng(0), 8, scale=(0.9, 1.0))
    assert crop.shape == (8, 8, 3)
    assert crop.min() == 255, "the centre is taken"


def test_multi_crop_gives_each_group_its_size_and_count() -> None:
    crops = augment.multi_crop(
        PICTURE, np.random.default_rng(0), sizes=(24, 12), counts=(2, 3), scales=((0.4, 1), (0.05, 0.4))
    )
    assert [crop.shape[:2] for crop in crops] == [(24, 24)] * 2 + [(12, 12)] * 3
    assert not np.array_equal(crops[0], crops[1])


def test_flip_and_gray_happen_as_often_as_asked() -> None:
    streams = [np.random.default_rng(seed) for seed in range(400)]
    flipped = sum(
        np.array_equal(augment.horizontal_flip(PICTURE, rng, 0.3), PICTURE[:, ::-1]) for rng in streams
    )
    assert 90 < flipped < 150
    assert np.array_equal(augment.horizontal_flip(PICTURE, streams[0], 0.0), PICTURE)
    gray = augment.random_gray(PICTURE, streams[0], 1.0)
    luma = PICTURE @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray - luma[..., None]).max() <= 1


@pytest.mark.parametrize(("kind", "place"), [("brightness", 0), ("contrast", 1), ("saturation", 2)])
def test_jitter_scales_about_its_anchor(kind: str, place: int) -> None:
    work = PICTURE.astype(float)
    luma = work @ np.array([0.299, 0.587, 0.114])
    anchor = [np.zeros(1), luma.mean(), luma[..., None]][place]
    for seed in range(5):
        changed = augment.colour_jitter(PICTURE, np.random.default_rng(seed), **{kind: 0.4}).astype(float)
        inside = (changed > 1) & (changed < 254) & (np.abs(work - anchor) > 20)
        factors = (changed - anchor)[inside] / (work - anchor)[inside]
        assert np.ptp(factors) < 0.06, "one factor for the whole picture"
        assert 0.57 < factors.mean() < 1.43
        assert abs(factors.mean() - 1) > 0.001


def test_jitter_turns_the_hue_and_keeps_the_rest() -> None:
    flat = np.full((4, 4, 3), (200, 80, 40), dtype=np.uint8)
    turns = []
    for seed in range(40):
        colour = augment.colour_jitter(flat, np.random.default_rng(seed), hue=0.1)[0, 0] / 255
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        before = colorsys.rgb_to_hsv(200 / 255, 80 / 255, 40 / 255)
        assert saturation == pytest.approx(before[1], abs=0.02)
        assert value == pytest.approx(before[2], abs=0.01)
        turns.append((hue - before[0] + 0.5) % 1 - 0.5)
    assert -0.105 < min(turns) < -0.05
    assert 0.05 < max(turns) < 0.105


def test_erasing_changes_one_rectangle_of_the_size_asked_for() -> None:
    flat = np.full((60, 60, 3), 128, dtype=np.uint8)
    for seed in range(20):
        erased = augment.random_erasing(
            flat, np.random.default_rng(seed), 1.0, area=(0.1, 0.2), ratio=(0.5, 2)
        )
        rows, columns = np.nonzero((erased != flat).any(axis=2))
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert 0.07 < box / 3600 < 0.22
        assert len(rows) > 0.95 * box, "every pixel of the rectangle is random"
    assert augment.random_erasing(flat, np.random.default_rng(0), 0.0) is flat


# Strength zero does nothing in these; "auto_contrast", "equalize" and "invert" have no strength.
NEUTRAL = (
    "rotate",
    "colour",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


@pytest.mark.parametrize("name", NEUTRAL)
def test_changes_of_strength_zero_do_nothing_and_grow(name: str) -> None:
    rows, columns = np.mgrid[0:64, 0:64]
    waves = 128 + 60 * np.sin(rows / 2) * np.cos(columns / 2)
    smooth = np.dstack([rows * 3, columns * 3, waves]).astype(np.uint8)
    moved = [
        np.abs(CHANGES[name](smooth, strength).astype(int) - smooth).mean() for strength in (0.0, 0.3, 0.9)
    ]
    assert moved[0] < 0.01
    assert moved[0] < moved[1] < moved[2]


def test_changes_without_a_direction() -> None:
    dim = (PICTURE // 4 + 60).astype(np.uint8)
    stretched = CHANGES["auto_contrast"](dim, 0.9)
    assert stretched.min(axis=(0, 1)).tolist() == [0] * 3
    assert stretched.max(axis=(0, 1)).tolist() == [255] * 3
    flat = np.full((3, 3, 3), 7, dtype=np.uint8)
    assert np.array_equal(CHANGES["auto_contrast"](flat, 0.9), flat)
    assert np.array_equal(CHANGES["invert"](PICTURE, 0.5), 255 - PICTURE)
    assert np.unique(CHANGES["posterize"](PICTURE, 0.5)).tolist() == [0, 64, 128, 192], "two bits are kept"
    assert np.array_equal(CHANGES["posterize"](PICTURE, -0.5), CHANGES["posterize"](PICTURE, 0.5))
    threshold = 256 - 128
    solarized = CHANGES["solarize"](PICTURE, 0.5)
    assert np.array_equal(solarized, np.where(threshold > PICTURE, PICTURE, 255 - PICTURE))
    added = CHANGES["solarize_add"](PICTURE, 0.5)
    assert np.array_equal(added, np.where(PICTURE < 128, np.minimum(PICTURE.astype(int) + 55, 255), PICTURE))
    equal = CHANGES["equalize"](dim, 0.9)
    assert (
        np.ptp(np.histogram(equal[..., 0], bins=4, range=(0, 256))[0])
        < 0.2 * PICTURE.shape[0] * PICTURE.shape[1]
    )


def test_rand_augment_uses_every_change_and_refuses_a_magnitude_out_of_range() -> None:
    seen = set()
    for seed in range(400):
        result = rand_augment(
            PICTURE, np.random.default_rng(seed), operations=1, magnitude=LARGEST, deviation=0
        )
        for name, change in CHANGES.items():
            if any(np.array_equal(result, change(PICTURE, sign)) for sign in (1.0, -1.0)):
                seen.add(name)
    assert seen == set(CHANGES)
    with pytest.raises(ConfigError, match="magnitude = 11"):
        rand_augment(PICTURE, np.random.default_rng(0), magnitude=11)


def test_centre_crop_keeps_the_centre_and_the_proportions() -> None:
    picture = np.zeros((60, 100, 3), dtype=np.uint8)
    picture[20:40, 40:60] = 255
    shown = centre_crop(picture, 30)
    assert shown.shape == (30, 30, 3)
    assert shown[15, 15].tolist() == [255] * 3
    bright = (shown[..., 0] > 127).sum()
    assert bright == pytest.approx((20 / 2) ** 2, rel=0.15)
    closer = centre_crop(picture, 30, resize=60)
    assert (closer[..., 0] > 127).sum() == pytest.approx(20 * 20, rel=0.1)
    assert centre_crop(picture, (10, 50)).shape == (10, 50, 3)
