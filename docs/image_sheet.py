"""Draw docs/images/image_operations.png: the operations of `visionsmith.image` on one photograph.

    python docs/image_sheet.py

The photographs are scikit-image's: `astronaut` (NASA, public domain), `rocket` (SpaceX, CC0) and `chelsea` (Stefan
van der Walt, CC0).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from visionsmith.image import (
    bilateral,
    blend,
    box,
    circle,
    crop,
    ellipse,
    filter_kernel,
    gaussian,
    half_ellipse,
    line,
    median,
    rectangle,
    resize,
    rotate,
    sharpen,
    step,
    text,
    threshold,
    tile,
    to_gray,
    translate,
    warp,
)
from visionsmith.report.sheet import contact_sheet

OUTPUT = Path(__file__).parent / "images" / "image_operations.png"
PHOTO = data.astronaut()
FACE = crop(PHOTO, x=130, y=20, width=200, height=200)
GROUND = "#f5f6f7"
TRAPEZIUM = [(-150, -30), (661, -30), (541, 541), (-30, 541)]
EMBOSS = [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]
METHODS = ("binary", "binary-inv", "trunc", "tozero", "tozero-inv")

Cell = tuple[np.ndarray, str]


def exploded(image: np.ndarray, gap: int = 18) -> np.ndarray:
    """The tiles of a picture with gaps between them."""
    side = image.shape[0] + 2 * gap
    canvas = np.full((side, side, 3), (0xF5, 0xF6, 0xF7), np.uint8)
    for one in tile(image, width=200):
        y, x = (place + gap * (place // 200) for place in (one.y, one.x))
        canvas[y : y + one.image.shape[0], x : x + one.image.shape[1]] = one.image
    return canvas


def moved() -> list[Cell]:
    """Geometry."""
    coarse = resize(resize(PHOTO, width=32), width=512, interpolation="nearest")
    return [
        (PHOTO, "the photograph"),
        (coarse, "resize(image, width=32), seen large"),
        (FACE, "crop(image, x=130, y=20, width=200, height=200)"),
        (exploded(PHOTO), "tile(image, width=200)"),
        (rotate(PHOTO, 20, fill=GROUND), "rotate(image, 20)"),
        (rotate(PHOTO, 20, expand=True, fill=GROUND), "rotate(image, 20, expand=True)"),
        (translate(PHOTO, x=120, y=60, fill=GROUND), "translate(image, x=120, y=60)"),
        (
            warp(PHOTO, TRAPEZIUM, width=512, height=512, fill=GROUND),
            "warp(image, corners, width=512, height=512)",
        ),
    ]


def leveled() -> list[Cell]:
    """Gray and thresholds."""
    gray = to_gray(PHOTO)
    found = [(gray, "to_gray(image)")]
    found += [
        (threshold(gray, 110, method=name), f'threshold(gray, 110, method="{name}")') for name in METHODS
    ]
    found.append((threshold(gray, "otsu"), 'threshold(gray, "otsu")'))
    return [(np.dstack([image] * 3), caption) for image, caption in found]


def filtered() -> list[Cell]:
    """Filters, on the face."""
    speck = np.random.default_rng(0).integers(0, 24, FACE.shape[:2])
    noisy = FACE.copy()
    noisy[speck == 0], noisy[speck == 1] = 0, 255
    smooth = bilateral(FACE, size=15, sigma_color=60, sigma_space=10)
    return [
        (box(FACE, size=9), "box(image, size=9)"),
        (gaussian(FACE, sigma=4), "gaussian(image, sigma=4)"),
        (noisy, "noise, and without it:"),
        (median(noisy, size=5), "median(image, size=5)"),
        (sharpen(FACE), "sharpen(image)"),
        (smooth, "bilateral(image, size=15, ...)"),
        (filter_kernel(FACE, EMBOSS), "filter_kernel(image, [[-2, -1, 0], ...])"),
    ]


def drawn() -> list[Cell]:
    """Shapes and text."""
    framed = rectangle(PHOTO, (130, 20), (330, 250), color="#ffd23f", thickness=6)
    framed = line(framed, (333, 135), (430, 135), color="#ffd23f", thickness=6)
    ringed = circle(PHOTO, (230, 130), 122, color="#ffd23f", thickness=6)
    ringed = circle(ringed, (450, 70), 36, color="#ffd23f", filled=True)
    oval = ellipse(PHOTO, (228, 130), (95, 122), 0, color="#ffd23f", thickness=6)
    oval = half_ellipse(oval, (105, 500), (90, 70), 180, color="#ffd23f")
    name = text(
        PHOTO, "우주 비행사", (256, 486), size=60, color="white", background="#1b1d20", anchor="center-bottom"
    )
    return [
        (framed, "rectangle, line"),
        (ringed, "circle, filled circle"),
        (oval, "ellipse, half_ellipse"),
        (name, "text, in any script"),
    ]


def blended() -> list[Cell]:
    """Seamless cloning, and a pipe."""
    cat = resize(crop(data.chelsea(), x=20, y=0, width=330, height=300), width=200)
    rows, columns = np.mgrid[: cat.shape[0], : cat.shape[1]]
    oval = ((columns - 100) / 92) ** 2 + ((rows - 91) / 85) ** 2 < 1
    target, place = crop(data.rocket(), x=170, y=0, width=427, height=427), (290, 105)
    stencil = step(gaussian, sigma=3) >> step(to_gray) >> step(threshold, value="otsu")
    return [
        (blend(target, cat, oval, center=place), "blend(image, cat, mask)"),
        (blend(target, cat, oval, center=place, method="mixed"), 'blend(..., method="mixed")'),
        (blend(target, cat, oval, center=place, method="monochrome"), 'blend(..., method= "monochrome")'),
        (np.dstack([stencil(PHOTO)] * 3), "step(gaussian) >> step(to_gray) >> ..."),
    ]


def main() -> None:
    """Draw the sheet, in 256 colours, a quarter of the bytes."""
    pictures, captions = zip(*moved(), *leveled(), *filtered(), *drawn(), *blended(), strict=True)
    sheet = contact_sheet(pictures, captions, columns=6, cell=160, title="visionsmith.image")
    stream = io.BytesIO()
    Image.fromarray(sheet).quantize(256).save(stream, "PNG", optimize=True)
    OUTPUT.write_bytes(stream.getvalue())


if __name__ == "__main__":
    main()
