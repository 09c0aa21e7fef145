"""Faces in photographs, found by YuNet.

W. Wu, H. Peng and S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023,
run by OpenCV's `FaceDetectorYN`. The network is an ONNX file of about 0.3 MB that the user brings: this
project ships none. Two places that publish it: the repository opencv/opencv_zoo
(models/face_detection_yunet, MIT licence) and ShiqiYu/libfacedetection.train (onnx, Apache-2.0 licence).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from visionsmith.errors import CheckpointError
from visionsmith.image.channels import convert, to_eight_bits
from visionsmith.image.checks import check_image, check_number
from visionsmith.image.draw import Anchor, circle, rectangle, text
from visionsmith.image.network import read_onnx
from visionsmith.image.paint import Color
from visionsmith.image.quiet import quiet

__all__ = ["Face", "detect_faces", "draw_faces", "read_yunet"]

_OUTPUTS = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}
_LONGEST = 1024
_OVERLAP = 0.3
_MOST = 5000
_LANDMARKS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
# Right and left are the person's own: orange and blue, the nose white, which the colour-blind can tell apart.
_COLOURS = ("#e69f00", "#56b4e9", "#ffffff", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Face:
    """A face: where it is, in pixels of the picture (from its top left pixel), and how sure the network is."""

    left: float
    """Left edge of the box; a face at the border may reach outside the picture."""
    top: float
    """Upper edge."""
    width: float
    """Of the box."""
    height: float
    """Of the box."""
    score: float
    """0 to 1."""
    right_eye: tuple[float, float]
    """(x, y); right and left are the person's own."""
    left_eye: tuple[float, float]
    """(x, y)."""
    nose: tuple[float, float]
    """(x, y) of its tip."""
    right_mouth: tuple[float, float]
    """(x, y) of the corner."""
    left_mouth: tuple[float, float]
    """(x, y) of the corner."""

    @property
    def landmarks(self) -> tuple[tuple[float, float], ...]:
        """Right eye, left eye, nose, right and left corner of the mouth."""
        return tuple(getattr(self, name) for name in _LANDMARKS)


def detect_faces(image: np.ndarray, model: str | Path, *, score: float = 0.7) -> list[Face]:
    """Faces in a photograph, the surest first.

    YuNet was trained to find faces of about 10 to 300 px, so a picture whose longer side exceeds 1,024 px is made
    smaller first. For small faces in a large picture, search tiles of it.

    Args:
        image: HW, HWC RGB or HWC RGBA (laid on white); uint8, uint16, or float32 in [0, 1].
        model: the ONNX file of YuNet.
        score: least score, above 0 and at most 1.

    Raises:
        DataError: the array is no picture.
        CheckpointError: the file is missing or is not YuNet.
        ConfigError: the score is out of range.
    """
    check_image(image, "detect_faces")
    least = check_number(score, "score", "detect_faces", above=0, most=1)
    pixels = convert(image, "rgb")
    pixels = np.rint(pixels * 255).astype(np.uint8) if pixels.dtype == np.float32 else to_eight_bits(pixels)
    height, width = pixels.shape[:2]
    factor = min(1.0, _LONGEST / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if factor < 1:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    rows = _detect(model, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), size, least)
    back = np.array([width / size[0], height / size[1]], np.float64)
    faces = [_face(row, back) for row in rows]
    return sorted(faces, key=lambda face: -face.score)


def draw_faces(
    image: np.ndarray, faces: Sequence[Face], *, color: Color = "#00e676", thickness: int | None = None
) -> np.ndarray:
    """A copy of a picture with the faces' boxes, landmarks and scores.

    Args:
        image: the picture that they were found in.
        faces: what to draw.
        color: of the boxes.
        thickness: of the boxes, pixels; by default a 250th of the longer side.

    Raises:
        DataError: the array is no picture.
        ConfigError: a colour or thickness that cannot be.
    """
    check_image(image, "draw_faces")
    width = max(1, round(max(image.shape[:2]) / 250)) if thickness is None else thickness
    for face in faces:
        corner = face.left + face.width, face.top + face.height
        image = rectangle(image, (face.left, face.top), corner, color=color, thickness=width)
        for place, colour in zip(face.landmarks, _COLOURS, strict=True):
            image = circle(image, place, width + 1, color=colour, filled=True)
    for face in faces:
        size = max(10, round(face.width / 6))
        label = f"{face.score:.2f}"
        # Above the box, or inside it where there is no room above.
        above = face.top >= 1.6 * size
        place = face.left + size / 4, face.top - size / 3 if above else face.top + size / 3
        anchor: Anchor = "left-bottom" if above else "left-top"
        image = text(image, label, place, size=size, color="black", background=color, anchor=anchor)
    return np.array(image)


def read_yunet(model: str | Path) -> bytes:
    """Content of the ONNX file of YuNet.

    Raises:
        CheckpointError: the file is missing, or is another network.
    """
    data, _, outputs = read_onnx(Path(model))
    if set(outputs) != _OUTPUTS:
        listed = ", ".join(list(outputs)[:4])
        raise CheckpointError(
            f"is not YuNet, which finds faces (its outputs are {listed})",
            where=model,
            do="take face_detection_yunet_2023mar.onnx of opencv_zoo, or another of the same network",
        )
    return data


def _detect(model: str | Path, pixels: np.ndarray, size: tuple[int, int], score: float) -> np.ndarray:
    """Rows of left, top, width, height, five points and the score, as OpenCV gives them."""
    data = np.frombuffer(read_yunet(model), np.uint8)
    with quiet():
        try:
            detector = cv2.FaceDetectorYN.create(
                "onnx", data, np.empty(0, np.uint8), size, score, _OVERLAP, _MOST
            )
            _, rows = detector.detect(pixels)
        except cv2.error as error:
            raise CheckpointError(
                f"OpenCV {cv2.__version__} cannot run it", where=model, do="take another file of YuNet"
            ) from error
    return np.empty((0, 15)) if rows is None else np.asarray(rows, np.float64)


def _face(row: np.ndarray, back: np.ndarray) -> Face:
    """One row of OpenCV's, in pixels of the whole picture."""
    places = [(float(x), float(y)) for x, y in row[:14].reshape(7, 2) * back]
    (left, top), (width, height), *points = places
    return Face(left, top, width, height, float(row[14]), *points)
