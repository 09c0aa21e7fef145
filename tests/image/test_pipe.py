"""Pipes: the same pixels as calls one after the other, from Python and from YAML, and checked before they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

from visionsmith.errors import ConfigError, DataError
from visionsmith.image import (
    Pipe,
    blend,
    circle,
    filter_kernel,
    gaussian,
    read_pipe,
    resize,
    rotate,
    step,
    text,
    threshold,
    to_gray,
    warp,
)
from visionsmith.image.pipe import OPERATIONS

PICTURE = data.chelsea()
CORNERS = [(10, 5), (240, 20), (220, 190), (0, 170)]
LAPLACE = np.array([[0, 1, 0], [1, -3, 1], [0, 1, 0.0]])

LONG = (
    step(resize, factor=0.5, interpolation="area")
    >> step(rotate, degrees=10, fill="#336699")
    >> step(warp, corners=CORNERS, width=200, height=150)
    >> step(filter_kernel, kernel=LAPLACE)
    >> step(circle, center=(50, 60), radius=20, color=(255, 0, 0), filled=True)
    >> step(text, content="안녕: 'x', #1", position=(5, 5))
    >> step(gaussian, sigma=1e-1)
    >> step(to_gray)
    >> step(threshold, value="otsu", method="tozero")
)


def test_a_pipe_is_its_calls_in_order() -> None:
    by_hand = gaussian(resize(PICTURE, factor=0.5), sigma=2)
    small, soft = step(resize, factor=0.5), step(gaussian, sigma=2)
    assert np.array_equal((small >> soft)(PICTURE), by_hand)
    assert not np.array_equal((soft >> small)(PICTURE), by_hand)
    assert ((small >> soft) >> small).steps == (small >> (soft >> small)).steps


def test_yaml_there_and_back() -> None:
    written = LONG.to_yaml()
    again = Pipe.from_yaml(written)
    assert np.array_equal(again(PICTURE), LONG(PICTURE))
    assert again.to_yaml() == written
    assert [one.name for one in again.steps] == [one.name for one in LONG.steps]


def test_yaml_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / "steps.yaml").write_text(
        "# smaller, then soft\n"
        "- resize: {factor: 5e-1}\n"
        "- gaussian:\n    sigma: 2\n"
        "- to_gray:\n"
        "- identity\n"
        "- circle: {center: [20, 30], radius: 5, color: red}\n"
    )
    expected = circle(to_gray(gaussian(resize(PICTURE, factor=0.5), sigma=2)), (20, 30), 5, color="red")
    assert np.array_equal(read_pipe(tmp_path / "steps.yaml")(PICTURE), expected)


def test_a_function_of_the_users_own() -> None:
    def darker(image: np.ndarray, share: float = 0.5) -> np.ndarray:
        return (image * share).astype(image.dtype)

    pipe = step(darker, share="0.25") >> step(resize, width=10)
    assert np.array_equal(pipe(PICTURE), resize((PICTURE * 0.25).astype(np.uint8), width=10))
    with pytest.raises(ConfigError, match=r"darker: there is no argument 'shar'; did you mean 'share'"):
        step(darker, shar=1)
    with pytest.raises(
        ConfigError, match=r"step 1 \(darker\): 'darker' has no name in YAML; keep it in Python"
    ):
        pipe.to_yaml()
    set_in = step(blend, source=PICTURE[:60, :60])
    assert np.array_equal(set_in(PICTURE), blend(PICTURE, PICTURE[:60, :60]))
    with pytest.raises(ConfigError, match="'blend' has no name in YAML"):
        set_in.to_yaml()


MISTAKES: list[tuple[str, str]] = [
    ("- resiz: {factor: 1}", "step 1: there is no operation 'resiz'; did you mean 'resize'"),
    ("- resize: {factor: 1}\n- zzz", "step 2: there is no operation 'zzz'; known here: resize, crop"),
    (
        "- to_gray\n- gaussian: {sgma: 2}",
        r"step 2 \(gaussian\): there is no argument 'sgma'; did you mean 'sigma'",
    ),
    ("- to_gray: {sigma: 2}", "there is no argument 'sigma'; it takes none"),
    ("- gaussian: {sigma: soft}", r"step 1 \(gaussian\): sigma = 'soft': input should be a valid number"),
    ("- gaussian: {sigma: [2]}", r"sigma = \[2\]: input should be a valid number"),
    ("- resize: {factor: true}", "factor = True: it is not a switch"),
    ("- rotate: {degrees: 5, expand: maybe}", "expand = 'maybe': input should be a valid boolean"),
    (
        "- rotate: {degrees: 5, interpolation: area}",
        "interpolation = 'area': input should be 'nearest', 'linear' or",
    ),
    ("- crop: {x: 0, y: 0, width: 1.5, height: 2}", "width = 1.5: input should be a valid integer"),
    ("- crop: {x: 0, y: 0, width: 2}", r"step 1 \(crop\): the argument 'height' is missing"),
    ("- gaussian: 2", r"2 has no name; write it as `- gaussian: {sigma: 2}`"),
    ("- gaussian: {sigma: 1}\n  box: {size: 3}", "step 1 is 2 names, not one operation"),
    ("- 7", "step 1 is 7, not one operation"),
    ("- [resize]", r"step 1 is \['resize'\], not one operation"),
    ("resize: {factor: 1}", "holds no list of steps"),
    ("", "holds no list of steps"),
    ("- a: [1\n", r"is not YAML \(line 2\)"),
    ("- !!python/object/apply:os.system ['true']", "is not YAML"),
]


@pytest.mark.parametrize(("content", "says"), MISTAKES, ids=[says for _, says in MISTAKES])
def test_a_mistake_is_named_before_anything_runs(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "steps.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=says) as caught:
        read_pipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read \(no such file"):
        read_pipe(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not text in UTF-8"):
        read_pipe(tmp_path / "bytes.yaml")


@pytest.mark.parametrize(
    ("pipe", "kind", "says"),
    [
        (
            step(to_gray) >> step(gaussian, sigma=-1),
            ConfigError,
            r"step 2 \(gaussian\): sigma = -1.0 is out of range",
        ),
        (
            step(resize, width=50) >> step(OPERATIONS["crop"], x=40, y=0, width=20, height=5),
            DataError,
            r"step 2 \(crop\): the rectangle ends at \(60, 5\), and the picture at \(50, 33\); choose",
        ),
    ],
)
def test_an_error_while_it_runs_names_the_step(pipe: Pipe, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        pipe(PICTURE)


def test_every_operation_can_be_named_in_yaml() -> None:
    given: dict[str, dict[str, Any]] = {
        "resize": {"width": 90},
        "crop": {"x": 1, "y": 2, "width": 30, "height": 40},
        "rotate": {"degrees": 3},
        "warp": {"corners": CORNERS, "width": 20, "height": 30},
        "threshold": {"value": 100},
        "gaussian": {"sigma": 1},
        "filter_kernel": {"kernel": [[2]]},
        "line": {"start": (1, 2), "end": (30, 40)},
        "circle": {"center": (30, 40), "radius": 9},
        "rectangle": {"top_left": (1, 2), "bottom_right": (30, 40)},
        "ellipse": {"center": (30, 40), "axes": (9, 5)},
        "half_ellipse": {"center": (30, 40), "axes": (9, 5)},
        "text": {"content": "a", "position": (3, 4)},
    }
    for name, operation in OPERATIONS.items():
        pipe = step(operation, **given.get(name, {}))
        again = Pipe.from_yaml(pipe.to_yaml())
        assert np.array_equal(again(PICTURE), operation(PICTURE, **given.get(name, {}))), name
