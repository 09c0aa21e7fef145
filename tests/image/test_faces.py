"""Faces, with a network of YuNet's form that is built here: its answers follow from the picture in closed form.

The real network is no part of this project: VISIONSMITH_YUNET=FILE runs the last tests with it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.faces import Face, detect_faces, draw_faces

SIDE = 16
"""The only stride of the built network that finds anything: a face is a bright square of a 16-pixel grid."""
BOX = (0.5, 0.5, np.log(3), np.log(4))
"""Centre within the square, and log of the size, in squares: the decoding of YuNet, section 3.1."""
POINTS = (0.1, 0.2, 0.9, 0.2, 0.5, 0.5, 0.2, 0.8, 0.8, 0.8)


@pytest.fixture(scope="module")
def yunet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nodes, constants, outputs = [], {}, []

    def head(name: str, stride: int, weight: np.ndarray, bias: np.ndarray) -> None:
        """A convolution with the stride, as rows of one square each."""
        constants[f"w_{name}"], constants[f"b_{name}"] = weight.astype(np.float32), bias.astype(np.float32)
        constants[f"s_{name}"] = np.array([1, -1, len(bias)], np.int64)
        nodes.extend(
            [
                helper.make_node(
                    "Conv", ["input", f"w_{name}", f"b_{name}"], [f"c_{name}"], strides=[stride, stride]
                ),
                helper.make_node("Transpose", [f"c_{name}"], [f"t_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{name}", f"s_{name}"], [name]),
            ]
        )
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, f"n{stride}", len(bias)]))

    for stride in (8, 16, 32):
        mean = np.full((1, 3, stride, stride), 1 / (3 * stride**2 * 255)) * (stride == SIDE)
        for kind in ("cls", "obj"):
            head(f"{kind}_{stride}", stride, mean, np.zeros(1))
        head(f"bbox_{stride}", stride, np.zeros((4, 3, stride, stride)), np.array(BOX))
        head(f"kps_{stride}", stride, np.zeros((10, 3, stride, stride)), np.array(POINTS))
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path_factory.mktemp("yunet") / "yunet.onnx"
    onnx.save_model(model, path)
    return path


def squares(height: int, width: int, *bright: tuple[int, int, int], side: int = SIDE) -> np.ndarray:
    """A black picture with squares of the grid (row, column, gray level)."""
    image = np.zeros((height, width, 3), np.uint8)
    for row, column, level in bright:
        image[row * side : (row + 1) * side, column * side : (column + 1) * side] = level
    return image


def face_of(row: int, column: int, level: int, side: float = SIDE) -> np.ndarray:
    """Left, top, width, height, five points, score."""
    width, height = 3 * side, 4 * side
    points = [(POINTS[i] + (column, row)[i % 2]) * side for i in range(10)]
    left, top = (column + 0.5) * side - width / 2, (row + 0.5) * side - height / 2
    return np.array([left, top, width, height, *points, level / 255])


def numbers(face: Face) -> np.ndarray:
    corner = [face.left, face.top, face.width, face.height]
    return np.array([*corner, *np.ravel(face.landmarks), face.score])


def test_faces_are_where_the_network_says(yunet: Path) -> None:
    bright = [(3, 4, 200), (8, 12, 255), (2, 17, 230)]
    faces = detect_faces(squares(190, 310, *bright), yunet)
    expected = [face_of(*place) for place in sorted(bright, key=lambda place: -place[2])]
    assert len(faces) == 3
    for face, numbers_of in zip(faces, expected, strict=True):
        assert np.allclose(numbers(face), numbers_of, atol=1e-3)
    first = faces[0]
    assert first.landmarks == (
        first.right_eye,
        first.left_eye,
        first.nose,
        first.right_mouth,
        first.left_mouth,
    )


def test_the_score_selects(yunet: Path) -> None:
    image = squares(190, 310, (3, 4, 200), (8, 12, 255))
    assert len(detect_faces(image, yunet, score=0.5)) == 2
    assert len(detect_faces(image, yunet, score=0.9)) == 1
    assert detect_faces(np.zeros((64, 64), np.uint8), yunet) == []
    for score in (0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="score"):
            detect_faces(image, yunet, score=score)


def test_a_large_picture_is_searched_smaller_and_places_are_its_own(yunet: Path) -> None:
    face, *rest = detect_faces(squares(1000, 3072, (4, 30, 255), side=3 * SIDE), yunet)
    assert not rest
    assert np.allclose(numbers(face), face_of(4, 30, 255, side=3 * SIDE), atol=2)


def test_every_kind_of_picture(yunet: Path) -> None:
    image = squares(190, 310, (8, 12, 255))
    expected = numbers(detect_faces(image, yunet)[0])
    variants = {
        "gray": image[:, :, 0],
        "16 bits": image.astype(np.uint16) * 257,
        "float": image.astype(np.float32) / 255,
        "alpha": np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]),
        "view": np.repeat(image, 2, axis=0)[::2],
    }
    for name, variant in variants.items():
        found = detect_faces(variant, yunet)
        assert len(found) == 1, name
        assert np.allclose(numbers(found[0]), expected, atol=1e-3), name


def test_channels_reach_the_network_in_the_order_of_opencv(yunet: Path, tmp_path: Path) -> None:
    model = onnx.load(yunet)
    for constant in model.graph.initializer:
        if constant.name in ("w_cls_16", "w_obj_16"):
            weight = numpy_helper.to_array(constant).copy()
            weight[:, 1:] = 0  # looks at the first channel only
            constant.CopyFrom(numpy_helper.from_array(weight * 3, constant.name))
    onnx.save_model(model, tmp_path / "blue.onnx")
    image = squares(190, 310, (8, 12, 255))
    assert detect_faces(image * np.uint8([1, 1, 0]), tmp_path / "blue.onnx") == []
    assert len(detect_faces(image * np.uint8([0, 0, 1]), tmp_path / "blue.onnx")) == 1


def test_other_files(yunet: Path, tmp_path: Path) -> None:
    image = squares(64, 64)
    model = onnx.load(yunet)
    del model.graph.output[3:]
    onnx.save_model(model, tmp_path / "other.onnx")
    with pytest.raises(
        CheckpointError, match=r"is not YuNet.*outputs are cls_8, obj_8, bbox_8\); take face_"
    ):
        detect_faces(image, tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match=r"cascade classifier, which OpenCV 5 no longer has; .*YuNet"):
        detect_faces(image, tmp_path / "haarcascade_frontalface_default.xml")
    with pytest.raises(CheckpointError, match="cannot be read"):
        detect_faces(image, tmp_path / "none.onnx")


def test_faces_are_drawn_where_they_are(capfd: pytest.CaptureFixture[str], yunet: Path) -> None:
    image = squares(190, 310, (8, 12, 255), (1, 2, 240))
    before = image.copy()
    faces = detect_faces(image, yunet)
    drawn = draw_faces(image, faces, color=(10, 220, 90))
    assert np.array_equal(image, before)
    for face in faces:
        middle, bottom = round(face.left + face.width / 2), round(face.top + face.height)
        assert tuple(drawn[bottom, middle]) == (10, 220, 90)
        x, y = face.nose
        assert tuple(drawn[round(y), round(x)]) == (255, 255, 255)
    far = drawn[:, 280:]
    assert np.array_equal(far, image[:, 280:])
    untouched = draw_faces(image, [])
    assert np.array_equal(untouched, image)
    assert not np.shares_memory(untouched, image)
    assert draw_faces(image.astype(np.uint16) * 257, faces).dtype == np.uint16
    assert capfd.readouterr() == ("", "")


real = pytest.mark.skipif("VISIONSMITH_YUNET" not in os.environ, reason="VISIONSMITH_YUNET names no file")


@real
def test_the_real_network_finds_the_astronaut() -> None:
    faces = detect_faces(data.astronaut(), os.environ["VISIONSMITH_YUNET"])
    assert len(faces) == 1
    face = faces[0]
    assert face.score > 0.9
    # Read off the picture by eye, to a few pixels.
    assert np.allclose(
        [face.right_eye, face.left_eye, face.nose], [(203, 104), (247, 105), (224, 128)], atol=6
    )


@real
@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_the_real_network_finds_nobody_where_nobody_is(name: str) -> None:
    assert detect_faces(getattr(data, name)(), os.environ["VISIONSMITH_YUNET"]) == []
