"""Pictures as arrays: reading and writing them, and changing them. Arrays in, arrays out.

    from visionsmith.image import gaussian, read_image, resize, step, write_image

    small = step(resize, factor=0.5) >> step(gaussian, sigma=2)
    write_image("small.png", small(read_image("photo.jpg")))

Pictures: HW gray, HWC in the order R, G, B, A (straight alpha); uint8 [0, 255], uint16 [0, 65535] or float32
[0, 1]. No function changes the array that it is given. Coordinates are (x, y), pixels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.image.channels import to_gray
    from visionsmith.image.clone import blend
    from visionsmith.image.draw import circle, ellipse, half_ellipse, line, rectangle, text
    from visionsmith.image.faces import Face, detect_faces, draw_faces
    from visionsmith.image.filters import bilateral, box, filter_kernel, gaussian, identity, median, sharpen
    from visionsmith.image.fonts import font_for
    from visionsmith.image.geometry import crop, resize, rotate, translate, warp
    from visionsmith.image.io import decode, encode_jpeg, encode_png, read_header, read_image, write_image
    from visionsmith.image.levels import threshold
    from visionsmith.image.network import OnnxNetwork
    from visionsmith.image.pipe import Pipe, read_pipe, step
    from visionsmith.image.tiles import Tile, tile, untile

__all__ = [
    "Face",
    "OnnxNetwork",
    "Pipe",
    "Tile",
    "bilateral",
    "blend",
    "box",
    "circle",
    "crop",
    "decode",
    "detect_faces",
    "draw_faces",
    "ellipse",
    "encode_jpeg",
    "encode_png",
    "filter_kernel",
    "font_for",
    "gaussian",
    "half_ellipse",
    "identity",
    "line",
    "median",
    "read_header",
    "read_image",
    "read_pipe",
    "rectangle",
    "resize",
    "rotate",
    "sharpen",
    "step",
    "text",
    "threshold",
    "tile",
    "to_gray",
    "translate",
    "untile",
    "warp",
    "write_image",
]

# Where each name lives; looked up when it is first used, so that importing the package does not load OpenCV.
_HOMES = {
    "channels": ("to_gray",),
    "clone": ("blend",),
    "draw": ("circle", "ellipse", "half_ellipse", "line", "rectangle", "text"),
    "faces": ("Face", "detect_faces", "draw_faces"),
    "filters": ("bilateral", "box", "filter_kernel", "gaussian", "identity", "median", "sharpen"),
    "fonts": ("font_for",),
    "geometry": ("crop", "resize", "rotate", "translate", "warp"),
    "io": ("decode", "encode_jpeg", "encode_png", "read_header", "read_image", "write_image"),
    "levels": ("threshold",),
    "network": ("OnnxNetwork",),
    "pipe": ("Pipe", "read_pipe", "step"),
    "tiles": ("Tile", "tile", "untile"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
