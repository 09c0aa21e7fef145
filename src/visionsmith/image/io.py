"""Reading and writing pictures.

A file's header is checked before a decoder sees it. JPEG is decoded by libjpeg-turbo (simplejpeg), which
reports damage that other decoders paint over; everything else by OpenCV. Colours are not managed: profiles
in a file are ignored. Of an animation the first frame is read.

Arrays: height x width x channels (HWC) in the order R, G, B, A; gray is height x width. Safe in threads.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import simplejpeg

from visionsmith.durable import write_whole
from visionsmith.errors import DataError, OutputError
from visionsmith.image.channels import Channels, convert, to_eight_bits
from visionsmith.image.checks import MAX_PIXELS, check_image, check_whole
from visionsmith.image.header import (
    FORMATS,
    ImageHeader,
    png_chunks,
    read_header,
    read_orientation,
    tiff_alpha_kind,
)
from visionsmith.image.quiet import quiet

__all__ = [
    "MAX_PIXELS",
    "Channels",
    "Depth",
    "ImageHeader",
    "decode",
    "encode_jpeg",
    "encode_png",
    "read_bytes",
    "read_header",
    "read_image",
    "writable_format",
    "write_image",
]

Depth = Literal[8, "keep"]

_DEEP = ("PNG", "TIFF")
"""Formats that hold 16 bits."""

# What libjpeg complains of although the picture is whole: oddities of some cameras and editors, and padding
# between segments. Anything else (in the compressed data: before a restart or the end) is damage.
_HARMLESS = re.compile(
    r"Invalid SOS parameters|Unknown Adobe color transform|unknown JFIF revision|"
    r"extraneous bytes before marker 0x(?!d[0-9])"
)


def decode(
    data: bytes,
    *,
    where: str | Path | None = None,
    max_pixels: int = MAX_PIXELS,
    channels: Channels = "rgb",
    depth: Depth = 8,
) -> np.ndarray:
    """Decode a picture, turned upright as its EXIF data ask.

    Args:
        data: a PNG, JPEG, WebP, GIF, BMP or TIFF.
        where: what to name in an error: a file or a record.
        max_pixels: refuse a picture that declares more.
        channels: "rgb": HWC, transparent parts laid on white. "gray": HW, luma of the same. "rgba": HWC,
            straight alpha, opaque where the file has none. "unchanged": HW, RGB or RGBA, as the file has it.
        depth: 8: 16-bit files are rounded to 8 bits. "keep": they give uint16.

    Returns:
        uint8 [0, 255], or uint16 [0, 65535].

    Raises:
        DataError: unknown format, too large, truncated or damaged.
    """
    header = read_header(data, where=where)
    if header.width * header.height > max_pixels:
        raise DataError(
            f"declares {header.width:,} x {header.height:,} px, above the limit of {max_pixels:,} pixels",
            where=where,
            do="make it smaller, or allow more with max_pixels",
        )
    try:
        image = _decode_jpeg(data, channels) if header.format == "JPEG" else _decode_other(data, header)
    except ValueError as error:
        raise DataError(
            f"is a damaged {header.format} ({error})", where=where, do="copy it again, or leave it out"
        ) from error
    # OpenCV turns TIFF upright by itself, whatever it is told.
    orientation = read_orientation(data, header.format) if header.format != "TIFF" else 1
    image = to_eight_bits(image) if depth == 8 else image
    return np.ascontiguousarray(_turn(convert(image, channels), orientation))


def read_image(
    path: str | Path,
    *,
    where: str | Path | None = None,
    max_pixels: int = MAX_PIXELS,
    channels: Channels = "rgb",
    depth: Depth = 8,
) -> np.ndarray:
    """Read a picture file. Arguments and result as `decode`; errors name the path unless `where` is given.

    Raises:
        DataError: the file cannot be read or decoded.
    """
    where = path if where is None else where
    data = read_bytes(path, where=where)
    return decode(data, where=where, max_pixels=max_pixels, channels=channels, depth=depth)


def read_bytes(path: str | Path, *, where: str | Path | None = None) -> bytes:
    """Content of a picture file, encoded. Raises DataError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f"cannot be read ({reason})", where=where or path, do="give the path of a picture"
        ) from error


def encode_png(image: np.ndarray) -> bytes:
    """PNG of a picture, lossless. `image`: uint8 or uint16, HW, HWC RGB or HWC RGBA."""
    return _encode_cv(_checked(image, "PNG"), ".png")


def encode_jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """JPEG of a picture.

    Args:
        image: uint8, HW or HWC RGB.
        quality: 1 to 100; from 90 on the colours keep the full resolution (4:4:4, below it 4:2:0).

    Raises:
        DataError: the picture is not uint8, or has alpha.
        ConfigError: the quality is out of range.
    """
    image = _checked(image, "JPEG")
    quality = check_whole(quality, "quality", "JPEG", least=1, most=100)
    if image.ndim == 2:
        plane = np.ascontiguousarray(image[:, :, None])
        return bytes(simplejpeg.encode_jpeg(plane, quality, "GRAY", "Gray"))
    sampling = "444" if quality >= 90 else "420"
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", sampling))


def write_image(path: str | Path, image: np.ndarray, *, quality: int = 90) -> None:
    """Write a picture in the format of the path's ending; the file appears whole or not at all.

    Args:
        path: ends in .png, .webp (lossless both), .bmp, .tif or .jpg.
        image: HW, HWC RGB or HWC RGBA (not for .jpg); uint8, for .png and .tif also uint16.
        quality: of a JPEG, as `encode_jpeg` takes it.

    Raises:
        OutputError: the ending is unknown or the place cannot be written.
        DataError: the format does not hold such a picture.
    """
    path = Path(path)
    kind = writable_format(path)
    data = (
        encode_jpeg(image, quality) if kind == "JPEG" else _encode_cv(_checked(image, kind), FORMATS[kind][0])
    )
    # Pictures are written by the thousand and can be made again: not worth a wait for the disk each.
    write_whole(path, data, synced=False)


def writable_format(path: Path) -> str:
    """The format in which a file of this name is written, a key of `FORMATS`.

    Raises:
        OutputError: its ending is unknown, or that of a format that is only read.
    """
    kind = next((kind for kind, endings in FORMATS.items() if path.suffix.lower() in endings), None)
    if kind is None or kind == "GIF":
        known = ", ".join(endings[0] for kind, endings in FORMATS.items() if kind != "GIF")
        raise OutputError(
            f"'{path.suffix}' is no ending of a picture that is written", where=path, do=f"use {known}"
        )
    return kind


def _decode_jpeg(data: bytes, channels: Channels) -> np.ndarray:
    try:
        colours = simplejpeg.decode_jpeg_header(data, strict=False)[2]
    except KeyError as error:  # simplejpeg's own failure on a header that ends early
        raise ValueError("its header is incomplete") from error
    if colours in ("CMYK", "YCCK"):
        # simplejpeg reads the inks' values as they are; OpenCV knows that Adobe stores them inverted.
        return _decode_cv(data)
    wanted = "GRAY" if channels == "gray" or colours == "Gray" else "RGB"
    try:
        image: np.ndarray = simplejpeg.decode_jpeg(data, wanted)
    except ValueError as error:
        if not _HARMLESS.search(str(error)):
            raise
        image = simplejpeg.decode_jpeg(data, wanted, strict=False)
    return image[:, :, 0] if wanted == "GRAY" else image


def _decode_other(data: bytes, header: ImageHeader) -> np.ndarray:
    chunks = _checked_chunks(data) if header.format == "PNG" else {}
    image = _decode_cv(data)
    if sorted(image.shape[:2]) != sorted((header.height, header.width)):
        raise ValueError(f"its header declares {header.width} x {header.height} px, its content differs")
    if header.format == "PNG" and image.ndim == 2 and b"tRNS" in chunks:
        image = _key_out(image, chunks[b"tRNS"], bits=data[24])
    if header.format == "TIFF" and image.ndim == 3 and image.shape[2] == 4:
        # libtiff multiplies 8-bit colours by an alpha that the file declares; deeper ones come as they are.
        kind = tiff_alpha_kind(data)
        if kind == 1 or (kind == 2 and image.dtype == np.uint8):
            image = _unmultiply(image)
    return image


def _decode_cv(data: bytes) -> np.ndarray:
    """RGB(A) or gray in the file's depth, not turned (TIFF excepted)."""
    with quiet():
        try:
            image = cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
            )
        except cv2.error as error:
            raise ValueError("the decoder refuses it") from error
    if image is None:
        raise ValueError("its content cannot be decoded")
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"it holds {image.dtype} values, not 8 or 16 bits")
    if image.ndim == 3:
        order = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        image = cv2.cvtColor(image, order)
    return np.asarray(image)


def _checked_chunks(data: bytes) -> dict[bytes, bytes]:
    """A PNG's small chunks; libpng reports a wrong CRC on the terminal, so it is found here first."""
    found = {}
    for kind, start, end in png_chunks(data):
        if zlib.crc32(memoryview(data)[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError(f"its chunk {kind.decode('latin-1')!r} at byte {start - 8} has changed")
        if kind == b"tRNS":
            found[kind] = data[start:end]
    return found


def _key_out(gray: np.ndarray, chunk: bytes, bits: int) -> np.ndarray:
    """RGBA of a gray PNG in which one gray level is transparent, which OpenCV ignores."""
    level = int.from_bytes(chunk[:2], "big")
    top = np.iinfo(gray.dtype).max
    if bits < 8:
        level = level * 255 // (2**bits - 1)
    alpha = np.where(gray == level, 0, top).astype(gray.dtype)
    return np.dstack([gray, gray, gray, alpha])


def _unmultiply(image: np.ndarray) -> np.ndarray:
    """Straight alpha from premultiplied."""
    top = np.iinfo(image.dtype).max
    alpha = image[:, :, 3:].astype(np.uint64)
    colour = (image[:, :, :3] * np.uint64(top) + alpha // 2) // np.maximum(alpha, 1)
    return np.dstack([np.minimum(colour, top).astype(image.dtype), image[:, :, 3]])


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Upright from one of the eight orientations of EXIF: a transposition for 5 to 8, then flips."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _checked(image: np.ndarray, kind: str) -> np.ndarray:
    """A picture that the format holds."""
    image = check_image(image, kind)
    if image.dtype == np.float32 or (image.dtype == np.uint16 and kind not in _DEEP):
        holds = "8 or 16 bits" if kind in _DEEP else "8 bits"
        raise DataError(
            f"{kind} holds {holds} a channel, and the picture is {image.dtype}",
            do="multiply it by 255 and make it uint8"
            if image.dtype == np.float32
            else "read it with depth 8, or write .png or .tif",
        )
    if kind == "JPEG" and image.ndim == 3 and image.shape[2] == 4:
        raise DataError(
            "JPEG has no alpha, and the picture is RGBA",
            do="write .png or .webp, or read it with channels rgb, on white",
        )
    return image


def _encode_cv(image: np.ndarray, ending: str) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    settings = [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else []
    done, data = cv2.imencode(ending, image, settings)
    assert done, f"OpenCV did not encode a picture of shape {image.shape} as {ending}"
    return bytes(data)
