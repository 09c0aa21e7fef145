"""The table for C++ users: both columns of every row are run, and give the same pixels.

The C++ column is rewritten into Python by a few rules and run against `Cpp`, whose functions take their
arguments in C++'s order and hand them to cv2, on a picture in OpenCV's order of channels.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from skimage import data

import visionsmith
import visionsmith.image
from visionsmith.image.network import network
from visionsmith.image.pipe import OPERATIONS

PAGE = Path(visionsmith.__file__).parents[2] / "docs" / "reference" / "opencv.md"
PICTURE = data.astronaut()
SIDE = 512


class Row(NamedTuple):
    operation: str
    ours: str
    cpp: str


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[0] != "operation" and set(cells[0]) != {"-"}:
            found.append(Row(cells[0], cells[1].strip("`"), cells[2].strip("`")))
    return found


ROWS = rows()
FILES = ("read", "read as gray", "read unchanged", "write")
DRAWN = ("line", "circle", "filled circle", "rectangle", "ellipse", "half ellipse, filled")
LEVELS = ("binary", "binary-inv", "trunc", "tozero", "tozero-inv")
ALL = ("rgb", "gray", "rgba", "deep", "float")
KINDS = {
    "size and channels": ("rgb",),
    "to gray": ("rgb", "rgba", "deep", "float"),
    "put tiles back": ("rgb",),
    "Otsu": ("gray", "deep gray"),
    "network": ("rgb",),
    **dict.fromkeys(FILES, ("rgb", "gray")),
    **dict.fromkeys(DRAWN, ("rgb",)),
    **dict.fromkeys(LEVELS, ("rgb", "gray", "rgba", "deep")),
    **dict.fromkeys(("blend, normal", "blend, mixed", "blend, monochrome"), ("rgb", "gray", "rgba")),
}
CASES = [(row, kind) for row in ROWS for kind in KINDS.get(row.operation, ALL)]


def picture(kind: str, pixels: np.ndarray = PICTURE) -> np.ndarray:
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return {
        "rgb": pixels,
        "gray": gray,
        "rgba": np.dstack([pixels, np.full_like(gray, 255)]),
        "deep": pixels.astype(np.uint16) * 257 - (pixels > 0),
        "deep gray": gray.astype(np.uint16) * 257,
        "float": pixels.astype(np.float32) / 255,
    }[kind]


def swapped(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels[:, :, ::-1]) if pixels.ndim == 3 else pixels


class Cpp:
    """OpenCV's functions with their arguments in C++'s order."""

    def __getattr__(self, name: str) -> Any:
        return getattr(cv2, name)

    Size = staticmethod(lambda *sides: sides or (0, 0))
    Point = Point2f = staticmethod(lambda x, y: (x, y))
    Scalar = staticmethod(lambda *values: values or (0, 0, 0))
    dnn = SimpleNamespace(
        readNetFromONNX=cv2.dnn.readNetFromONNX,
        blobFromImage=lambda src, *rest: cv2.dnn.blobFromImage(src, *rest),
    )

    def hconcat(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return cv2.hconcat([left, right])

    def resize(self, src: np.ndarray, size: Any, fx: float, fy: float, flag: int) -> np.ndarray:
        return cv2.resize(src, size, fx=fx, fy=fy, interpolation=flag)

    def warpAffine(self, src: np.ndarray, m: Any, size: Any, flag: int) -> np.ndarray:
        return cv2.warpAffine(src, m, size, flags=flag)

    def warpPerspective(self, src: np.ndarray, m: Any, size: Any, flag: int) -> np.ndarray:
        return cv2.warpPerspective(src, m, size, flags=flag)

    def getPerspectiveTransform(self, corners: Any, target: Any) -> np.ndarray:
        return cv2.getPerspectiveTransform(np.float32(corners), np.float32(target))

    def threshold(self, *arguments: Any) -> np.ndarray:
        return cv2.threshold(*arguments)[1]

    def bilateralFilter(self, src: np.ndarray, *rest: Any) -> np.ndarray:
        if src.dtype != np.uint16:
            return cv2.bilateralFilter(src, *rest)
        return np.rint(cv2.bilateralFilter(src.astype(np.float32), *rest)).astype(np.uint16)

    def seamlessClone(self, source: Any, target: Any, mask: Any, place: Any, flag: int) -> np.ndarray:
        if target.ndim == 3:
            return cv2.seamlessClone(source, target, mask.copy(), place, flag)
        source, target = (cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) for image in (source, target))
        return cv2.seamlessClone(source, target, mask.copy(), place, flag)[:, :, 0]


RULES = [
    (r"std::vector<cv::Point2f> ", ""),
    (r"(cv::Mat|cv::dnn::Net) (?=\w+ =)", ""),
    (r"\(cv::Mat_<(\w+)>\((\d), (\d)\) << ([^)]*)\)", r"np.array([\4], np.\1).reshape(\2, \3)"),
    (r"np\.float\b", "np.float32"),
    (r"\.at<double>\(0, 2\)", "[0, 2]"),
    (r"\.at<double>\(1, 2\)", "[1, 2]"),
    (r"src\(cv::Rect\((\d+), (\d+), (\d+), (\d+)\)\)\.clone\(\)", r"src[\2:\2 + \4, \1:\1 + \3].copy()"),
    (r"cv::seamlessClone\((.*), dst, ", r"dst = cv.seamlessClone(\1, "),
    (r"cv::hconcat\(left, right, dst\)", "dst = cv.hconcat(left, right)"),
    (r"cv::(\w+)\((src|colours), dst, ", r"dst = cv.\1(\2, "),
    (r"src\.size\(\)", "(src.shape[1], src.shape[0])"),
    (r"\{src\.rows, src\.cols, src\.channels\(\)\}", "src.shape"),
    (r"src\.clone\(\)", "src.copy()"),
    (r"::", "."),
    (r"\{", "["),
    (r"\}", "]"),
    (r"\btrue\b", "True"),
    (r"\bfalse\b", "False"),
    (r"; ", "\n"),
]


def run_cpp(code: str, names: dict[str, Any]) -> Any:
    for pattern, replacement in RULES:
        code = re.sub(pattern, replacement, code)
    names = {"cv": Cpp(), "np": np, **names}
    exec(code, names)
    return names.get("dst")


def run_ours(code: str, names: dict[str, Any]) -> Any:
    known = {name: getattr(visionsmith.image, name) for name in visionsmith.image.__all__}
    return eval(code, {**known, "network": network, **names})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A convolution with random weights, as an ONNX file."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights"], ["output"], pads=[1, 1, 1, 1])],
        "convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 24, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4, 24, 32])],
        [numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(made)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    save(made, path)
    return str(path)


def test_the_table_is_there() -> None:
    assert len(ROWS) >= 38, [row.operation for row in ROWS]
    assert len({row.operation for row in ROWS}) == len(ROWS)
    assert set(KINDS) <= {row.operation for row in ROWS}
    used = " ".join(row.ours for row in ROWS)
    operations = set(OPERATIONS) | {
        "blend",
        "tile",
        "untile",
        "read_image",
        "write_image",
    }
    assert {name for name in operations if f"{name}(" not in used} == {"text"}


@pytest.mark.parametrize(("row", "kind"), CASES, ids=[f"{row.operation}-{kind}" for row, kind in CASES])
def test_both_columns_give_the_same_pixels(row: Row, kind: str, tmp_path: Path, model: str) -> None:
    image = picture(kind)
    image.setflags(write=False)
    patch = picture(kind, data.chelsea()[50:250, 100:300])
    names: dict[str, Any] = {"path": str(tmp_path / "in.png"), "model": model}
    cv2.imwrite(names["path"], swapped(image))
    opaque = kind == "rgba"
    source = swapped(image[:, :, :3] if opaque else image)
    mine = {**names, "image": image, "source": patch, "out": str(tmp_path / "ours.png")}
    theirs = {**names, "src": source, "source": swapped(patch[:, :, :3] if opaque else patch)}
    theirs |= {"mask": np.full((200, 200), 255, np.uint8), "out": str(tmp_path / "theirs.png")}
    mine |= {"left": image[:, :256], "right": image[:, 256:]}
    theirs |= {"left": source[:, :256], "right": source[:, 256:]}
    columns = [row.ours, row.cpp]
    if kind.startswith("deep") and row.operation in (*LEVELS, "Otsu"):
        columns = [re.sub(r"\b255\b", "65535", re.sub(r"\b127\b", "32639", code)) for code in columns]
    result, expected = run_ours(columns[0], mine), run_cpp(columns[1], theirs)
    if row.operation == "write":
        result, expected = (cv2.imread(names["out"], cv2.IMREAD_UNCHANGED) for names in (mine, theirs))
    elif row.operation == "size and channels":
        assert result == expected == (SIDE, SIDE, 3)
        return
    elif row.operation != "network":
        expected = swapped(expected)
    compare(row, image, np.asarray(result), np.asarray(expected), opaque=opaque)
    assert not np.shares_memory(result, image)


def compare(row: Row, image: np.ndarray, result: np.ndarray, expected: np.ndarray, *, opaque: bool) -> None:
    if row.operation == "network":
        np.testing.assert_allclose(result, expected, atol=1e-4)
        assert np.ptp(result) > 0.1
        return
    if opaque and result.ndim == 3:
        # Where something transparent came into view, premultiplied colours differ on purpose.
        whole = result[:, :, 3] == 255
        assert whole.mean() > 0.4
        difference = np.abs(result[whole][:, :3].astype(int) - expected[whole])
        assert difference.max() <= 1
        assert difference.mean() < 0.2
        return
    assert result.dtype == image.dtype or row.operation in FILES
    assert result.shape == expected.shape
    if result.dtype == np.float32:
        np.testing.assert_allclose(result, np.clip(expected, 0, 1), atol=1e-6)
    else:
        assert np.array_equal(result, expected)
    if row.operation not in ("identity", "copy", *FILES, "put tiles back"):
        assert result.shape != image.shape or not np.array_equal(result, image), "the row shows no effect"
