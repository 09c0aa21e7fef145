"""Drawing, with OpenCV's and Pillow's own calls as the oracles, and the algebra of alpha for what they cannot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from visionsmith.errors import ConfigError, DataError
from visionsmith.image.draw import circle, ellipse, half_ellipse, line, rectangle, text
from visionsmith.image.fonts import font_for
from visionsmith.image.paint import parse_color

COLOUR = (250, 120, 30)
AA = cv2.LINE_AA

SHAPES: dict[str, tuple[Callable[..., np.ndarray], Callable[[np.ndarray, Any], object]]] = {
    "line": (partial(line, start=(5, 8), end=(60, 33)), lambda c, v: cv2.line(c, (5, 8), (60, 33), v, 1, AA)),
    "thick line": (
        partial(line, start=(5, 40), end=(60, 3), thickness=6),
        lambda c, v: cv2.line(c, (5, 40), (60, 3), v, 6, AA),
    ),
    "circle": (
        partial(circle, center=(30, 24), radius=17, thickness=3),
        lambda c, v: cv2.circle(c, (30, 24), 17, v, 3, AA),
    ),
    "disc": (
        partial(circle, center=(30, 24), radius=17, filled=True),
        lambda c, v: cv2.circle(c, (30, 24), 17, v, -1, AA),
    ),
    "rectangle": (
        partial(rectangle, top_left=(8, 6), bottom_right=(50, 41), thickness=2),
        lambda c, v: cv2.rectangle(c, (8, 6), (50, 41), v, 2),
    ),
    "filled rectangle": (
        partial(rectangle, top_left=(8, 6), bottom_right=(50, 41), filled=True),
        lambda c, v: cv2.rectangle(c, (8, 6), (50, 41), v, -1),
    ),
    "arc": (
        partial(ellipse, center=(31, 22), axes=(25, 12), angle=30, start=20, end=250, thickness=2),
        lambda c, v: cv2.ellipse(c, (31, 22), (25, 12), 30, 20, 250, v, 2, AA),
    ),
    "sector": (
        partial(ellipse, center=(31, 22), axes=(25, 12), angle=30, start=20, end=250, filled=True),
        lambda c, v: cv2.ellipse(c, (31, 22), (25, 12), 30, 20, 250, v, -1, AA),
    ),
    "half ellipse": (
        partial(half_ellipse, center=(31, 22), axes=(25, 12), angle=10),
        lambda c, v: cv2.ellipse(c, (31, 22), (25, 12), 10, 0, 180, v, -1, AA),
    ),
}


def picture(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, channels), np.uint8)


def over(image: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """A picture with straight alpha laid on an opaque ground, float64 [0, 255]."""
    scaled = image.astype(np.float64) / (1 if image.dtype == np.float32 else np.iinfo(image.dtype).max)
    return (scaled[..., :3] * scaled[..., 3:] + ground / 255 * (1 - scaled[..., 3:])) * 255


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_the_one_of_opencv(name: str) -> None:
    ours, direct = SHAPES[name]
    image = picture()
    expected = image.copy()
    direct(expected, COLOUR)
    assert np.array_equal(ours(image, color=COLOUR), expected)
    assert not np.array_equal(expected, image)
    gray = image[:, :, 0].copy()
    expected = gray.copy()
    direct(expected, (round(0.299 * 250 + 0.587 * 120 + 0.114 * 30),))
    assert np.array_equal(ours(gray, color=COLOUR), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("name", SHAPES)
def test_deep_pictures_are_antialiased_alike(name: str, dtype: type) -> None:
    ours, _ = SHAPES[name]
    image = picture()
    deep = (image.astype(np.uint16) * 257) if dtype == np.uint16 else image.astype(np.float32) / 255
    for plane in (np.s_[:], np.s_[:, :, 0]):
        result = ours(np.ascontiguousarray(deep[plane]), color=COLOUR)
        assert result.dtype == dtype
        eight = result / 257 if dtype == np.uint16 else result * 255
        expected = ours(np.ascontiguousarray(image[plane]), color=COLOUR)
        # OpenCV rounds at each of the overlapping strokes of an edge, to whole levels.
        assert np.abs(eight - expected).max() < 4
        assert np.abs(eight - expected).mean() < 0.1


@pytest.mark.parametrize("name", SHAPES)
def test_opacity_is_a_share_of_the_opaque_mark(name: str) -> None:
    ours, _ = SHAPES[name]
    image = picture().astype(np.float32) / 255
    opaque, clear = ours(image, color=COLOUR), ours(image, color=(*COLOUR, 51))
    assert np.allclose(clear, image + (opaque - image) * 0.2, atol=1e-6)
    assert np.array_equal(ours(image, color=(*COLOUR, 0)), image)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 255), st.integers(0, 2**16))
def test_drawing_and_laying_on_a_ground_commute(name: str, opacity: int, seed: int) -> None:
    ours, _ = SHAPES[name]
    image = picture(seed, channels=4).astype(np.float32) / 255
    image[:20, :, 3] = 0
    ground = picture(seed + 1)
    color = (*COLOUR, opacity)
    laid_first = ours((over(image, ground) / 255).astype(np.float32), color=color) * 255
    assert np.abs(over(ours(image, color=color), ground) - laid_first).max() < 0.01


def test_no_fringe_of_a_hidden_colour() -> None:
    hidden = np.zeros((48, 64, 4), np.uint8)
    hidden[..., 1] = 255
    result = circle(hidden, (30, 24), 17, color="red", filled=True)
    drawn = result[..., 3] > 0
    assert (result[drawn][:, :3] == (255, 0, 0)).all()
    edges = (result[..., 3] > 0) & (result[..., 3] < 255)
    assert edges.sum() > 20
    assert np.array_equal(result[~drawn], hidden[~drawn])


@pytest.mark.parametrize("channels", [3, 4])
def test_the_picture_that_went_in_is_as_it_was(channels: int) -> None:
    wide = picture(channels=channels)
    image = wide[::-1, ::2]
    before = wide.copy()
    wide.flags.writeable = False
    for ours, _ in SHAPES.values():
        result = ours(image, color=COLOUR)
        assert np.array_equal(wide, before)
        assert result.flags.c_contiguous
        assert result.flags.writeable
        assert not np.shares_memory(result, wide)
        assert np.array_equal(result, ours(np.ascontiguousarray(image), color=COLOUR))
    assert np.array_equal(text(image, "Ag", (3, 3)), text(np.ascontiguousarray(image), "Ag", (3, 3)))


@pytest.mark.parametrize("content", ["Wg\nj", "각\n뷁"])
@pytest.mark.parametrize("background", [None, (0, 90, 0, 100)])
def test_text_is_cut_off_at_every_side(content: str, background: Any) -> None:
    image = np.pad(picture(), ((40, 40), (40, 40), (0, 0)))
    write = partial(text, content=content, size=50, color=(*COLOUR, 200), background=background)
    whole = write(image, position=(30, 8))
    assert (whole != image).any(2).sum() > 1000
    for rows, columns in ((np.s_[30:], np.s_[45:]), (np.s_[:40], np.s_[:50]), (np.s_[50:60], np.s_[:])):
        window = image[rows, columns]
        place = 30 - (columns.start or 0), 8 - (rows.start or 0)
        assert np.array_equal(write(window, position=place), whole[rows, columns])


def test_far_outside_draws_nothing_and_a_giant_circle_passes_through() -> None:
    image = picture()
    assert np.array_equal(line(image, (-900, -900), (-5, -5)), image)
    assert np.array_equal(text(image, "x", (90_000, 3)), image)
    far = circle(np.zeros((48, 64), np.uint8), (-39_970, 24), 40_000, color="white")
    assert far[24].argmax() in (29, 30, 31)


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ("red", (255, 0, 0, 255)),
        ("Navy", (0, 0, 128, 255)),
        ("#0a8", (0, 170, 136, 255)),
        ("#0088ff", (0, 136, 255, 255)),
        ("#0088ff40", (0, 136, 255, 64)),
        ((1, 2, 3), (1, 2, 3, 255)),
        ([1, 2, 3, 4], (1, 2, 3, 4)),
        (np.array([9, 8, 7], np.uint8), (9, 8, 7, 255)),
    ],
)
def test_colours(color: Any, expected: tuple[int, ...]) -> None:
    assert parse_color(color) == expected


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda i: line(i, (1, 1), (2, 2), color="rad"), ConfigError, "no colour 'rad'; did you mean 'red'"),
        (lambda i: line(i, (1, 1), (2, 2), color=(1, 2)), ConfigError, r"color = \(1, 2\)"),
        (lambda i: line(i, (1, 1), (2, 2), color=(1, 2, 256)), ConfigError, "from 0 to 255"),
        (lambda i: line(i, (1, 1), (2, 2), color=(0.5, 0, 0)), ConfigError, "whole numbers"),
        (lambda i: line(i, (1, 1), (2, 2), color=7), ConfigError, "color = 7"),
        (lambda i: line(i, (1, 1), (2, 2), thickness=0), ConfigError, "line: thickness = 0"),
        (lambda i: line(i, (1, 1), (2, 2), thickness=1.5), ConfigError, "not a whole number"),
        (lambda i: line(i, (1, 1, 1), (2, 2)), ConfigError, "start"),
        (lambda i: line(i, (1, 1), (2, float("nan"))), ConfigError, "end"),
        (lambda i: line(i, (1, 1), (2, 10**9)), ConfigError, "100,000 px"),
        (lambda i: circle(i, (1, 1), 0), ConfigError, "circle: radius = 0"),
        (lambda i: ellipse(i, (1, 1), (4, -1)), ConfigError, "ellipse: axes = -1"),
        (lambda i: ellipse(i, (1, 1), (4, 4), angle=1e9), ConfigError, "angle"),
        (lambda i: text(i, "x", (1, 1), size=0), ConfigError, "text: size = 0"),
        (lambda i: text(i, "x", (1, 1), anchor="left-topp"), ConfigError, "did you mean 'left-top'"),
        (lambda i: text(i, "x" * 30_000, (1, 1), size=4000), ConfigError, "smaller or shorter"),
        (lambda i: text(i, "x", (1, 1), background="blu"), ConfigError, "did you mean 'blue'"),
        (lambda i: line(i.astype(np.float64), (1, 1), (2, 2)), DataError, "float64"),
        (lambda i: circle(i[:, :, :2], (1, 1), 3), DataError, "shape"),
        (lambda i: rectangle(i[:0], (1, 1), (2, 2)), DataError, "empty"),
        (lambda i: text(i.tolist(), "x", (1, 1)), DataError, "list"),
    ],
)
def test_mistakes(call: Callable[[np.ndarray], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call(picture())
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


GROUND = np.full((120, 420, 3), 255, np.uint8)
HORIZONTAL, VERTICAL = (
    {"left": "l", "center": "m", "right": "r"},
    {"top": "a", "baseline": "s", "bottom": "d"},
)


@pytest.mark.parametrize("across", HORIZONTAL)
@pytest.mark.parametrize("down", VERTICAL)
def test_latin_text_is_the_one_of_pillow(across: str, down: str) -> None:
    content, place = "Ångström Ελλάς жизнь", (200, 60)
    canvas = Image.fromarray(GROUND)
    font = ImageFont.truetype(font_for(content).path, 28)
    ImageDraw.Draw(canvas).text(place, content, (10, 20, 200), font, HORIZONTAL[across] + VERTICAL[down])
    result = text(GROUND, content, place, size=28, color=(10, 20, 200), anchor=f"{across}-{down}")
    expected = np.asarray(canvas).astype(int)
    # Pillow begins centred and right-aligned text between pixels, this project on one.
    shifts = [0] if across == "left" else [-1, 0, 1]
    errors = [np.abs(np.roll(result.astype(int), shift, axis=1) - expected).mean() for shift in shifts]
    assert min(errors) < (0.01 if across == "left" else 0.7)
    assert np.abs(GROUND - expected).mean() > 3


@pytest.mark.parametrize("content", ["안녕하세요, 세계!", "日本語とかな", "✓ 완료 → 뷁"])
def test_hangul_and_han_are_the_ones_of_opencv(content: str) -> None:
    assert font_for(content).path is None, "a font package for Hangul is installed here"
    expected = GROUND.copy()
    cv2.putText(expected, content, (20, 70), (200, 30, 10), cv2.FontFace("uni"), 40)
    result = text(GROUND, content, (20, 70), size=40, color=(200, 30, 10), anchor="left-baseline")
    assert np.abs(result.astype(int) - expected).max() <= 3
    assert (expected != 255).any(2).sum() > 1000


def test_joined_and_right_to_left_scripts_are_set_as_read() -> None:
    for content in ("السلام عليكم", "नमस्ते दुनिया क्षत्रिय"):
        masks = {}
        for layout in (ImageFont.Layout.RAQM, ImageFont.Layout.BASIC):
            canvas = Image.fromarray(GROUND)
            font = ImageFont.truetype(font_for(content).path, 40, layout_engine=layout)
            ImageDraw.Draw(canvas).text((20, 70), content, "black", font, "ls")
            masks[layout] = np.asarray(canvas).astype(int)
        result = text(GROUND, content, (20, 70), size=40, anchor="left-baseline")
        assert np.abs(result - masks[ImageFont.Layout.RAQM]).max() <= 1
        assert np.abs(result - masks[ImageFont.Layout.BASIC]).mean() > 1


def ink_box(image: np.ndarray, ground: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((image != ground).any(2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


@pytest.mark.parametrize("content", ["wide line\ni", "넓은 글줄\n이"])
def test_lines_stand_below_each_other_and_follow_the_anchor(content: str) -> None:
    both = {}
    for across in ("left", "center", "right"):
        whole = text(GROUND, content, (210, 10), size=30, anchor=f"{across}-top")
        first = text(GROUND, content.split("\n")[0], (210, 10), size=30, anchor=f"{across}-top")
        second = np.where(first != GROUND, GROUND, whole)
        both[across] = ink_box(first, GROUND), ink_box(second, GROUND)
    for (left, _, right, bottom), (left_2, top_2, right_2, _) in both.values():
        assert top_2 > bottom - 12
        assert left <= left_2 + 4
        assert right_2 <= right + 4
    offset = {name: below[0] - above[0] for name, (above, below) in both.items()}
    assert offset["left"] + 30 < offset["center"]
    assert offset["center"] + 30 < offset["right"]


def test_a_background_holds_the_whole_text() -> None:
    result = text(GROUND, "Éjpg안", (50, 30), size=30, color="black", background="yellow")
    left, top, right, bottom = ink_box(result, GROUND)
    plain = ink_box(text(GROUND, "Éjpg안", (50, 30), size=30), GROUND)
    assert left < plain[0] - 3
    assert top < plain[1] - 3
    assert right > plain[2] + 3
    assert bottom > plain[3] + 3
    assert (result[top : bottom + 1, left] == (255, 255, 0)).all()
    see_through = text(GROUND, "x", (50, 30), background=(0, 0, 0, 128))
    assert see_through[30, 50].tolist() == [127, 127, 127]


def test_empty_text_changes_nothing() -> None:
    assert np.array_equal(text(GROUND, "", (10, 10)), GROUND)
    assert np.array_equal(text(GROUND, " \n ", (10, 10)), GROUND)
