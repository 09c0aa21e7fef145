"""The sentence for each mistake in what an operation on pictures is given."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from skimage import data

from visionsmith.errors import ConfigError, DataError, VisionsmithError
from visionsmith.image import (
    Tile,
    bilateral,
    blend,
    box,
    crop,
    filter_kernel,
    gaussian,
    median,
    resize,
    rotate,
    sharpen,
    threshold,
    tile,
    translate,
    untile,
    warp,
)

PICTURE = data.astronaut()[40:240, 120:370]
ALPHA = np.full(PICTURE.shape[:2], 255, np.uint8)
CORNERS = [(10, 5), (240, 20), (220, 190), (0, 170)]
RGB = PICTURE
DEEP = PICTURE.astype(np.uint16)
FLOAT = PICTURE.astype(np.float32) / 255
BAD = FLOAT.copy()
BAD[3, 4, 1] = np.nan
MISTAKES: list[tuple[Callable[[], object], type[VisionsmithError], str]] = [
    # pictures
    (
        lambda: gaussian(PICTURE.astype(float) / 255, sigma=1),
        DataError,
        "is float64, not uint8, uint16 or float32",
    ),
    (lambda: box(PICTURE > 5), DataError, r"is bool, .*astype\(np.uint8\) \* 255"),
    (lambda: box(PICTURE.astype(int)), DataError, "is int64"),
    (lambda: box([[1, 2], [3, 4]]), DataError, "is a list, not a NumPy array"),
    (lambda: box(PICTURE[5:5]), DataError, r"is empty \(shape \(0, 250, 3\)\)"),
    (lambda: box(PICTURE[:, :, :1]), DataError, r"drop the last axis: image\[:, :, 0\]"),
    (lambda: box(PICTURE.transpose(2, 0, 1)), DataError, r"channels last: image.transpose\(1, 2, 0\)"),
    (lambda: box(PICTURE[None]), DataError, "one by one"),
    (lambda: box(PICTURE[:, :, :2]), DataError, r"has shape \(200, 250, 2\)"),
    (lambda: box(BAD), DataError, "holds NaN or infinity, first at row, column 3, 4"),
    (lambda: box(PICTURE.astype(np.float32)), DataError, "values from 0 to 255, not 0 to 1"),
    # sizes
    (lambda: resize(RGB), ConfigError, "there is no size; give width, height or factor"),
    (lambda: resize(RGB, factor=2, width=3), ConfigError, "a factor and a size"),
    (lambda: resize(RGB, width=0), ConfigError, "width = 0 is out of range"),
    (lambda: resize(RGB, width=-5, height=5), ConfigError, "width = -5 is out of range"),
    (lambda: resize(RGB, width=2.5), ConfigError, "width = 2.5 is not a whole number"),
    (lambda: resize(RGB, factor=0), ConfigError, "factor = 0 is out of range; choose a number above 0"),
    (lambda: resize(RGB, factor=float("nan")), ConfigError, "factor = nan is not a number"),
    (lambda: resize(RGB, factor=0.001), DataError, "would be 0 x 0 px"),
    (lambda: resize(RGB, factor=1e6), DataError, "above the limit of 100,000,000 pixels"),
    (lambda: resize(RGB, width=5, interpolation="cubik"), ConfigError, "did you mean 'cubic'"),
    (lambda: crop(RGB, x=240, y=0, width=20, height=5), DataError, r"ends at \(260, 5\)"),
    (lambda: crop(RGB, x=0, y=0, width=0, height=5), ConfigError, "width = 0 is out of range"),
    (lambda: crop(RGB, x=-1, y=0, width=1, height=5), ConfigError, "x = -1 is out of range"),
    (lambda: tile(RGB, width=0), ConfigError, "width = 0"),
    (
        lambda: tile(RGB, width=8, overlap=8),
        ConfigError,
        "overlap = 8 is out of range; choose a number from 0 to 7",
    ),
    (lambda: untile([]), DataError, "there are no tiles"),
    (
        lambda: untile(tile(RGB, width=100)[:-1]),
        DataError,
        "1 of 6 tiles are missing, the first at x = 200, y = 100",
    ),
    (lambda: untile(tile(RGB, width=100)[1:2]), DataError, "nothing covers x = 0 to 100"),
    (
        lambda: untile([Tile(RGB, 0, 0), Tile(RGB[:, :, 0], 250, 0)]),
        DataError,
        r"the tile at x = 250, y = 0 is uint8 of shape \(200, 250\), the first",
    ),
    (
        lambda: untile([Tile(RGB, 0, 0), Tile(RGB[:9], 0, 0)]),
        DataError,
        "tiles at y = 0 are 9 and 200 px long",
    ),
    # moving
    (lambda: rotate(RGB, float("inf")), ConfigError, "degrees = inf is not a number"),
    (lambda: rotate(RGB, 5, interpolation="area"), ConfigError, "interpolation = 'area' is not known"),
    (lambda: rotate(RGB, 5, fill=(1, 2)), DataError, "fill has 2 values, and the picture 3 channels"),
    (lambda: rotate(RGB, 5, fill=300), DataError, "fill = 300 is above white, which is 255 for uint8"),
    (lambda: rotate(RGB, 5, fill="bleu"), ConfigError, "there is no colour 'bleu'; did you mean 'blue'"),
    (lambda: translate(RGB, x="a"), ConfigError, "x = 'a' is not a number"),
    (lambda: warp(RGB, CORNERS[:3], width=5, height=5), ConfigError, "3 points were given as corners"),
    (lambda: warp(RGB, [*CORNERS[:3], (1,)], width=5, height=5), ConfigError, "corner 4 = "),
    (
        lambda: warp(RGB, [CORNERS[i] for i in (0, 2, 1, 3)], width=5, height=5),
        ConfigError,
        "no convex quadr",
    ),
    (lambda: warp(RGB, [(0, 0), (9, 9), (5, 5), (0, 9)], width=5, height=5), ConfigError, "no convex quadr"),
    (lambda: warp(RGB, [(0, 0), (0, 0), (5, 5), (0, 9)], width=5, height=5), ConfigError, "no convex quadr"),
    (lambda: warp(RGB, CORNERS, width=1, height=5), ConfigError, "width = 1 is out of range"),
    # thresholds
    (lambda: threshold(RGB, 300), DataError, "value = 300 is above white, which is 255 for uint8"),
    (lambda: threshold(FLOAT, 127), DataError, "value = 127 is above white, which is 1 for float32"),
    (lambda: threshold(RGB, 5, method="bin"), ConfigError, "did you mean 'binary'"),
    (lambda: threshold(RGB, "otsu"), DataError, "needs a gray picture, and this one has colours"),
    (
        lambda: threshold(FLOAT[..., 0], "otsu"),
        DataError,
        "needs uint8 or uint16, and this picture is float32",
    ),
    (lambda: threshold(RGB, "auto"), ConfigError, "value = 'auto' is not a number"),
    # filters
    (lambda: box(RGB, size=4), ConfigError, "size = 4 is even, .*; choose 3 or 5"),
    (lambda: gaussian(RGB, sigma=0), ConfigError, "sigma = 0 is out of range"),
    (lambda: gaussian(RGB, sigma=1, size=2), ConfigError, "size = 2 is even"),
    (lambda: median(RGB, size=0), ConfigError, "size = 0 is out of range"),
    (lambda: median(RGB, size=257), ConfigError, "size = 257 is out of range"),
    (lambda: median(DEEP, size=7), DataError, "size = 7 works for uint8 only, and this picture is uint16"),
    (lambda: median(FLOAT, size=9), DataError, "size = 9 works for uint8 only"),
    (lambda: sharpen(RGB, amount=-1), ConfigError, "amount = -1 is out of range"),
    (lambda: bilateral(RGB, sigma_color=0), ConfigError, "sigma_color = 0 is out of range"),
    (lambda: filter_kernel(RGB, [[1, 2], [3]]), ConfigError, "is not a rectangle of numbers"),
    (lambda: filter_kernel(RGB, [1, 2, 3]), ConfigError, r"the kernel has shape \(3,\)"),
    (lambda: filter_kernel(RGB, [[1, 2], [3, 4]]), ConfigError, "is 2 x 2, and an even one has no middle"),
    (lambda: filter_kernel(RGB, [[np.inf]]), ConfigError, "not finite"),
    # seamless cloning
    (lambda: blend(DEEP, RGB), DataError, "the target is uint16, and seamless cloning works on uint8 only"),
    (lambda: blend(RGB, FLOAT), DataError, "the source is float32"),
    (
        lambda: blend(RGB, RGB[:50, :50], np.ones((50, 50))),
        DataError,
        "the mask is float64, not bool or uint8",
    ),
    (lambda: blend(RGB, RGB[:50, :50], np.ones((49, 50), bool)), DataError, r"the mask has shape \(49, 50\)"),
    (lambda: blend(RGB, RGB[:50, :50], np.zeros((50, 50), bool)), DataError, "covers 0 x 0 px"),
    (
        lambda: blend(RGB[:40], RGB[:50, :50]),
        DataError,
        "is 48 x 48 px, larger than the target of 250 x 40 px",
    ),
    (
        lambda: blend(RGB, RGB[:50, :50], center=(5, 50)),
        DataError,
        "choose x from 24 to 226 and y from 24 to 176",
    ),
    (lambda: blend(RGB, RGB[:50, :50], center=(50.5, 50)), ConfigError, "not of whole pixels"),
    (lambda: blend(RGB, RGB[:50, :50], method="mix"), ConfigError, "did you mean 'mixed'"),
    (lambda: blend(RGB, RGB[:2, :2]), DataError, "cover at least 3 x 3 px"),
]


@pytest.mark.parametrize(("call", "kind", "says"), MISTAKES, ids=[says for _, _, says in MISTAKES])
def test_a_mistake_gets_one_sentence(
    call: Callable[[], object], kind: type[VisionsmithError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        call()
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 250


def test_limits_of_opencv_are_where_we_say() -> None:
    """What we refuse is refused by OpenCV too: the guard goes when the limit goes."""
    for image, size in ((DEEP, 7), (FLOAT, 7)):
        with pytest.raises(cv2.error):
            cv2.medianBlur(image, size)
    with pytest.raises(cv2.error):
        cv2.bilateralFilter(np.dstack([RGB, ALPHA]), 5, 50, 50)
    with pytest.raises(cv2.error):
        cv2.threshold(RGB, 0, 255, cv2.THRESH_OTSU)
    with pytest.raises(cv2.error):
        cv2.GaussianBlur(RGB, (4, 4), 1)
    assert median(RGB, size=255).shape == RGB.shape
    assert median(RGB[:3, :4], size=255).shape == (3, 4, 3)
