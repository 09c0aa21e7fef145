"""Make the pictures of docs/guides/drawing_and_networks.md.

python docs/drawing_sheet.py                                   # docs/images/drawing.png
python docs/drawing_sheet.py --yunet face_detection_yunet.onnx # docs/images/faces.jpg too
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from skimage import data

from visionsmith.image import circle, ellipse, half_ellipse, line, rectangle, text, write_image
from visionsmith.image.faces import detect_faces, draw_faces
from visionsmith.image.fonts import font_for

IMAGES = Path(__file__).parent / "images"
INK, SOFT = "#1b1d20", "#5c636c"
SCRIPTS = (
    "Shapes, lines and text",
    "안녕하세요, 우주 비행사!",
    "Ελληνικά · Русский",
    "日本語とかな 中文",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
)


def shapes() -> np.ndarray:
    """A photograph with one of each shape."""
    image = data.astronaut()
    image = rectangle(image, (0, 0), (511, 511), color=(0, 20, 60, 70), filled=True)
    image = circle(image, (224, 112), 74, color="#ffd54f", thickness=4)
    image = line(image, (292, 142), (352, 176), color="#ffd54f", thickness=3)
    image = text(image, "우주 비행사", (356, 180), size=26, color="#1b1d20", background="#ffd54f")
    image = ellipse(image, (390, 435), (112, 92), 12, color="#4dd0e1", thickness=4)
    image = text(
        image, "헬멧", (390, 330), size=24, color="white", background="#00838f", anchor="center-bottom"
    )
    image = half_ellipse(image, (104, 470), (70, 44), 180, color=(239, 83, 80, 200))
    image = circle(image, (104, 400), 14, color="#ef5350", filled=True)
    image = rectangle(image, (16, 16), (150, 64), color="white", thickness=2)
    return text(image, "astronaut", (83, 40), size=20, color="white", anchor="center-middle")


def scripts() -> np.ndarray:
    """One line a script, and below it the font that wrote it."""
    panel = np.full((512, 520, 3), 255, np.uint8)
    for number, content in enumerate(SCRIPTS):
        top = 24 + 80 * number
        panel = text(panel, content, (28, top), size=32, color=INK)
        panel = text(panel, font_for(content).name, (30, top + 42), size=14, color=SOFT)
    return panel


def faces(model: Path) -> np.ndarray:
    """Two photographs with the faces that YuNet finds in them."""
    camera = np.dstack([data.camera()] * 3)
    return np.hstack([draw_faces(image, detect_faces(image, model)) for image in (data.astronaut(), camera)])


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description="Pictures of the guide to drawing and networks.")
    parser.add_argument("--yunet", type=Path, help="the ONNX file of YuNet")
    options = parser.parse_args()
    write_image(IMAGES / "drawing.png", np.hstack([shapes(), scripts()]))
    if options.yunet is not None:
        write_image(IMAGES / "faces.jpg", faces(options.yunet))


if __name__ == "__main__":
    main()
