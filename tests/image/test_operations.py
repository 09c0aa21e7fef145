"""Operations on pictures: transparency, exact invariants, and the sentence for each mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from visionsmith.errors import DataError
from visionsmith.image import (
    Tile,
    bilateral,
    blend,
    box,
    crop,
    filter_kernel,
    gaussian,
    identity,
    median,
    resize,
    rotate,
    sharpen,
    threshold,
    tile,
    to_gray,
    translate,
    untile,
    warp,
)

PICTURE = data.astronaut()[40:240, 120:370]
HEIGHT, WIDTH = PICTURE.shape[:2]
Y, X = np.mgrid[:HEIGHT, :WIDTH]
# A disc with a soft edge: wholly opaque inside, wholly transparent outside.
ALPHA = np.clip((80 - np.hypot(Y - 100, X - 125)) * 12, 0, 255).astype(np.uint8)
CORNERS = [(10, 5), (240, 20), (220, 190), (0, 170)]

MIXING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "resize smaller": lambda image: resize(image, factor=0.4),
    "resize larger": lambda image: resize(image, width=300, interpolation="linear"),
    "rotate": lambda image: rotate(image, 30, expand=True),
    "translate": lambda image: translate(image, x=3.5, y=-7.25),
    "warp": lambda image: warp(image, CORNERS, width=150, height=120),
    "box": lambda image: box(image, size=7),
    "gaussian": lambda image: gaussian(image, sigma=3),
}
ASIDE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "median": lambda image: median(image, size=5),
    "sharpen": sharpen,
    "bilateral": bilateral,
    "kernel": lambda image: filter_kernel(image, np.ones((5, 5)) / 25),
    "threshold": lambda image: threshold(image, 90 if image.dtype == np.uint8 else 0.35),
}
EVERY = {**MIXING, **ASIDE, "crop": lambda image: crop(image, x=3, y=4, width=50, height=60), "gray": to_gray}
EVERY |= {"nearest": lambda image: rotate(image, 20, interpolation="nearest"), "identity": identity}


def over_black(rgba: np.ndarray) -> np.ndarray:
    return rgba[..., :3].astype(np.float64) * (rgba[..., 3:] / 255)


@pytest.mark.parametrize("name", MIXING)
def test_a_mixed_picture_laid_on_black_is_the_mixed_picture_on_black(name: str) -> None:
    """Laying on black commutes with everything linear, whatever hides under transparent pixels."""
    hidden = PICTURE.copy()
    hidden[ALPHA == 0] = (255, 0, 255)
    rgba = np.dstack([hidden, ALPHA])
    result = MIXING[name](rgba)
    expected = MIXING[name]((over_black(rgba) / 255).astype(np.float32)) * 255
    assert np.abs(over_black(result) - expected).max() <= 1.5
    assert np.abs(result[..., 3].astype(int) - MIXING[name](ALPHA)).max() <= 1


@pytest.mark.parametrize("name", [*MIXING, *(name for name in ASIDE if name != "threshold")])
def test_no_colour_of_invisible_pixels_bleeds(name: str) -> None:
    rgba = np.dstack([np.full_like(PICTURE, (10, 200, 30)), ALPHA])
    rgba[ALPHA == 0, :3] = (255, 0, 255)
    result = EVERY[name](rgba)
    visible = result[..., 3] > 127
    assert visible.sum() > 1000
    assert np.abs(result[visible][:, :3].astype(int) - (10, 200, 30)).max() <= 1


@pytest.mark.parametrize("name", ASIDE)
def test_the_others_leave_alpha_alone(name: str) -> None:
    result = ASIDE[name](np.dstack([PICTURE, ALPHA]))
    assert np.array_equal(result[..., 3], ALPHA)
    inside = cv2.erode((ALPHA > 0).astype(np.uint8), np.ones((11, 11))) > 0
    assert np.array_equal(result[inside][:, :3], ASIDE[name](PICTURE)[inside])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", ["rgb", "gray", "rgba", "deep", "float"])
def test_a_view_that_may_not_be_written_gives_what_its_copy_gives(name: str, kind: str) -> None:
    whole = {
        "rgb": PICTURE,
        "gray": PICTURE[..., 0],
        "rgba": np.dstack([PICTURE, ALPHA]),
        "deep": PICTURE.astype(np.uint16) * 257,
        "float": PICTURE.astype(np.float32) / 255,
    }[kind]
    view = whole[::-1, ::-1]
    view.setflags(write=False)
    before = view.copy()
    result = EVERY[name](view)
    assert np.array_equal(result, EVERY[name](before))
    assert np.array_equal(view, before)
    assert not np.shares_memory(result, view)
    assert result.dtype == view.dtype
    assert result.flags.writeable
    if kind == "float":
        assert result.min() >= 0
        assert result.max() <= 1


def test_a_wholly_transparent_picture_passes() -> None:
    empty = np.dstack([PICTURE, np.zeros_like(ALPHA)])
    for name, operation in EVERY.items():
        if name != "gray":
            assert not operation(empty)[..., 3].any(), name
    assert (to_gray(empty) == 255).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_right_angles_only_move_pixels(turns: int) -> None:
    for image in (PICTURE, PICTURE[:, :-1], np.dstack([PICTURE, ALPHA])):
        result = rotate(image, 90 * turns, expand=True)
        assert result.shape == np.rot90(image, turns).shape
        visible = ... if image.shape[2] == 3 else result[..., 3] > 20
        difference = np.abs(result.astype(int) - np.rot90(image, turns))[visible]
        assert difference.max() <= (0 if image.shape[2] == 3 else 7), "colours of faint pixels are coarse"


def test_whole_shifts_only_move_pixels() -> None:
    result = translate(PICTURE, x=20, y=-30, fill="#336699")
    assert np.array_equal(result[:-30, 20:], PICTURE[30:, :-20])
    assert (result[-30:] == (0x33, 0x66, 0x99)).all()
    assert (result[:, :20] == (0x33, 0x66, 0x99)).all()


def test_warp_of_the_own_corners_changes_nothing() -> None:
    own = [(0, 0), (WIDTH - 1, 0), (WIDTH - 1, HEIGHT - 1), (0, HEIGHT - 1)]
    assert np.array_equal(warp(PICTURE, own, width=WIDTH, height=HEIGHT), PICTURE)
    mirrored = warp(PICTURE, [own[1], own[0], own[3], own[2]], width=WIDTH, height=HEIGHT)
    assert np.array_equal(mirrored, PICTURE[:, ::-1])


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"width": 125}, (125, 100)),
        ({"height": 100}, (125, 100)),
        ({"width": 10, "height": 300}, (10, 300)),
        ({"factor": 0.5}, (125, 100)),
        ({"height": 1}, (1, 1)),
        ({"width": 3}, (3, 2)),
    ],
)
def test_sizes(arguments: dict[str, Any], size: tuple[int, int]) -> None:
    assert resize(PICTURE, **arguments).shape == (size[1], size[0], 3)


def test_a_flat_picture_stays_flat_in_every_depth() -> None:
    for value, dtype in ((77, np.uint8), (30_000, np.uint16), (0.3, np.float32)):
        flat = np.full((20, 30, 3), value, dtype)
        for operation in (box, median, sharpen, bilateral, lambda image: gaussian(image, sigma=2)):
            np.testing.assert_allclose(operation(flat).astype(float), value, rtol=1e-5)


def test_fill_in_every_form() -> None:
    for image, fill, expected in (
        (PICTURE, 9, (9, 9, 9)),
        (PICTURE, (1, 2, 3), (1, 2, 3)),
        (PICTURE, "white", (255, 255, 255)),
        (PICTURE[..., 0], "red", 76),
        (PICTURE.astype(np.uint16), "white", (65535,) * 3),
        (np.dstack([PICTURE, ALPHA]), 0, (0, 0, 0, 0)),
        (np.dstack([PICTURE, ALPHA]), (10, 20, 30), (10, 20, 30, 255)),
        (np.dstack([PICTURE, ALPHA]), "#0a141e80", (10, 20, 30, 128)),
    ):
        assert np.abs(translate(image, x=50, fill=fill)[5, 5].astype(int) - expected).max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_tiles_put_back_give_the_same_pixels(draw: st.DataObject) -> None:
    height, width = draw.draw(st.integers(1, 70)), draw.draw(st.integers(1, 70))
    channels = draw.draw(st.sampled_from([(), (3,), (4,)]))
    dtype = draw.draw(st.sampled_from([np.uint8, np.uint16]))
    image = np.random.default_rng(0).integers(0, 256, (height, width, *channels)).astype(dtype)
    sides = draw.draw(st.integers(1, 40)), draw.draw(st.integers(1, 40))
    overlap = draw.draw(st.integers(0, min(sides) - 1))
    tiles = tile(image, width=sides[0], height=sides[1], overlap=overlap)
    assert all(one.image.shape[0] <= sides[1] and one.image.shape[1] <= sides[0] for one in tiles)
    for one in tiles:
        patch = image[one.y : one.y + one.image.shape[0], one.x : one.x + one.image.shape[1]]
        assert np.array_equal(one.image, patch)
    assert np.array_equal(untile(draw.draw(st.permutations(tiles))), image)


def test_each_tile_gives_its_half_of_an_overlap() -> None:
    tiles = tile(np.zeros((10, 22), np.uint8), width=12, height=10, overlap=4)
    assert [one.x for one in tiles] == [0, 8, 16]
    painted = [Tile(np.full_like(one.image, number), one.x, one.y) for number, one in enumerate(tiles)]
    assert untile(painted)[0].tolist() == [0] * 10 + [1] * 8 + [2] * 4


def test_blend_takes_the_alpha_of_the_source_for_the_mask() -> None:
    source = np.dstack([data.chelsea()[:200, :250], ALPHA])
    by_alpha = blend(data.astronaut(), source)
    by_mask = blend(data.astronaut(), source[..., :3], ALPHA > 0)
    assert np.array_equal(by_alpha, by_mask)
    assert not np.array_equal(by_alpha, data.astronaut())
    mask = (ALPHA > 0).astype(np.uint8)
    blend(data.astronaut(), source, mask)
    assert np.array_equal(mask, ALPHA > 0)


def test_blend_mixes_gray_and_colour() -> None:
    gray = to_gray(data.chelsea()[:200, :250])
    assert np.array_equal(
        blend(data.astronaut(), gray), blend(data.astronaut(), np.dstack([gray, gray, gray]))
    )
    into_gray = blend(to_gray(data.astronaut()), data.chelsea()[:200, :250])
    assert np.array_equal(into_gray, blend(to_gray(data.astronaut()), gray))


@pytest.mark.parametrize(
    ("width", "height", "center"),
    [(20, 14, (10, 7)), (20, 14, (90, 53)), (3, 3, (1, 1)), (15, 19, (7, 50)), (100, 60, (50, 30))],
)
def test_blend_at_the_very_edge(width: int, height: int, center: tuple[int, int]) -> None:
    """What is allowed works, and one pixel further is refused with the range that is allowed, as OpenCV refuses it."""
    target = np.random.default_rng(0).integers(0, 256, (60, 100, 3)).astype(np.uint8)
    source = np.random.default_rng(1).integers(0, 256, (height + 2, width + 2, 3)).astype(np.uint8)
    blend(target, source, center=center)
    mask = np.full(source.shape[:2], 255, np.uint8)
    outward = [1 if 2 * place > side else -1 for place, side in zip(center, (100, 60), strict=True)]
    for further in ((center[0] + outward[0], center[1]), (center[0], center[1] + outward[1])):
        with pytest.raises(
            DataError, match=r"reaches outside the target; choose x from \d+ to \d+ and y from \d+"
        ):
            blend(target, source, center=further)
        with pytest.raises(cv2.error):
            cv2.seamlessClone(source, target, mask.copy(), further, cv2.NORMAL_CLONE)
