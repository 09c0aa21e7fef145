"""What the first bytes of a picture say: its format, its size and which way up it is.

Parsed here in plain Python, so that a decoder never sees a file of an unknown format or of an absurd size.
Formats: PNG (ISO 15948), JPEG (T.81), WebP (RFC 9649), GIF 87a and 89a, BMP, TIFF 6.0 and BigTIFF. The
orientation is tag 274 of EXIF 2.3, which JPEG, PNG, WebP and TIFF can carry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from visionsmith.errors import DataError

__all__ = [
    "FORMATS",
    "ImageHeader",
    "png_chunks",
    "read_header",
    "read_orientation",
    "tiff_alpha_kind",
]

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
}
"""The formats that are read, and the endings of their files; the first is the one that is written."""

# Start-of-frame markers of JPEG; C4, C8 and CC are in the same range and mean other things.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM, the restarts, and the start of the picture.
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_TAG_WIDTH, _TAG_HEIGHT, _TAG_ORIENTATION, _TAG_EXTRA_SAMPLES = 256, 257, 274, 338
_READ = "PNG, JPEG, WebP, GIF, BMP or TIFF"


@dataclass(frozen=True)
class ImageHeader:
    """Size and format as the file declares them, before any rotation that its EXIF data ask for."""

    format: str
    """A key of `FORMATS`."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


def read_header(data: bytes, *, where: str | Path | None = None) -> ImageHeader:
    """Format and size of an encoded picture; nothing is decoded.

    Args:
        data: the file's content, or its beginning (JPEG and TIFF may declare their size late in the file).
        where: what to name in an error.

    Raises:
        DataError: the content is empty, of no known format, or ends within the header.
    """
    kind = _kind(data)
    if kind is None:
        raise _unknown(data, where)
    try:
        width, height = _SIZE[kind](data)
    except (struct.error, IndexError, OverflowError) as error:
        raise DataError(
            f"is a {kind} that ends within its header", where=where, do="copy it again"
        ) from error
    except ValueError as error:
        raise DataError(
            f"is a {kind} without a readable header ({error})", where=where, do="copy it again"
        ) from error
    if width < 1 or height < 1:
        raise DataError(f"is a {kind} of {width} x {height} px", where=where, do="export it again")
    return ImageHeader(kind, width, height)


def read_orientation(data: bytes, kind: str) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 when there is none or it makes no sense.

    Args:
        data: the file's content.
        kind: its format, as `read_header` gives it.
    """
    try:
        block = data if kind == "TIFF" else _exif(data, kind)
        value = _first_directory(block.removeprefix(b"Exif\0\0")).get(_TAG_ORIENTATION, 1) if block else 1
    except (struct.error, IndexError, OverflowError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def tiff_alpha_kind(data: bytes) -> int:
    """What a TIFF says of its fourth channel (tag 338): 1 premultiplied alpha, 2 straight alpha, 0 nothing."""
    try:
        return _first_directory(data).get(_TAG_EXTRA_SAMPLES, 0)
    except (struct.error, IndexError, OverflowError, ValueError):
        return 0


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG: type, and where the content begins and ends (its CRC follows).

    Raises:
        ValueError: the file ends before its last chunk.
    """
    place = 8
    while True:
        if place + 12 > len(data):
            raise ValueError("the file is cut short")
        length = int.from_bytes(data[place : place + 4], "big")
        kind, start, end = data[place + 4 : place + 8], place + 8, place + 8 + length
        if end + 4 > len(data):
            raise ValueError("the file is cut short")
        yield kind, start, end
        if kind == b"IEND":
            return
        place = end + 4


def _kind(data: bytes) -> str | None:
    start = data[:16]
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    return "BMP" if start.startswith(b"BM") else None


def _unknown(data: bytes, where: str | Path | None) -> DataError:
    if not data:
        return DataError("is empty", where=where, do="copy it again")
    brand = data[8:12] if data[4:8] == b"ftyp" else data[:4]
    names = {
        b"avif": "AVIF",
        b"heic": "HEIC",
        b"heix": "HEIC",
        b"mif1": "HEIC",
        b"%PDF": "PDF",
        b"8BPS": "PSD",
    }
    if brand in names:
        return DataError(f"is {names[brand]}, which is not read", where=where, do=f"convert it to {_READ}")
    if data[:64].lstrip().startswith((b"<", b"\xef\xbb\xbf<")):
        return DataError("is text (SVG, XML or HTML), not a picture", where=where, do=f"give {_READ}")
    return DataError(
        f"is not a picture (it begins with bytes {data[:4].hex(' ')})", where=where, do=f"give {_READ}"
    )


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR chunk")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Segments up to the first scan: marker, and where the content begins and ends."""
    place = 2
    while True:
        # Garbage between segments is passed over, as decoders do.
        place = data.index(b"\xff", place) + 1
        while (marker := data[place]) == 0xFF:
            place += 1
        place += 1
        if marker == 0x00 or marker in _JPEG_BARE:
            continue
        if marker in (0xD9, 0xDA):
            raise ValueError("no frame before the first scan")
        (length,) = struct.unpack_from(">H", data, place)
        yield marker, place + 2, place + length
        place += max(length, 2)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, start, _ in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            return width, height
    raise AssertionError("the segments end with an error")


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(_exactly(data, 24, 3), "little"), 1 + int.from_bytes(
            _exactly(data, 27, 3), "little"
        )
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError(f"its first chunk is {kind!r}")


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    (length,) = struct.unpack_from("<I", data, 14)
    if length == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    elif 16 <= length <= 124:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        raise ValueError(f"an information block of {length} bytes")
    # A negative height says that the rows go from top to bottom.
    return width, abs(height)


def _tiff_size(data: bytes) -> tuple[int, int]:
    tags = _first_directory(data)
    if _TAG_WIDTH not in tags or _TAG_HEIGHT not in tags:
        raise ValueError("no size in its first directory")
    return tags[_TAG_WIDTH], tags[_TAG_HEIGHT]


def _first_directory(data: bytes) -> dict[int, int]:
    """Whole numbers of a TIFF block's first directory by tag."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("no byte order")
    if data[2:4] in (b"+\0", b"\0+"):
        (offset,) = struct.unpack_from(order + "Q", data, 8)
        (count,) = struct.unpack_from(order + "Q", data, offset)
        first, step, value = offset + 8, 20, 12
    else:
        (offset,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, offset)
        first, step, value = offset + 2, 12, 8
    codes = {1: "B", 3: "H", 4: "I", 16: "Q"}
    found: dict[int, int] = {}
    for entry in range(first, first + step * min(count, 4096), step):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if kind in codes:
            (found[tag],) = struct.unpack_from(order + codes[kind], data, entry + value)
    return found


def _exif(data: bytes, kind: str) -> bytes | None:
    """The EXIF block of a picture, a small TIFF of its own."""
    if kind == "JPEG":
        for marker, start, end in _jpeg_segments(data):
            if marker in _JPEG_FRAMES:
                return None
            if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
                return data[start:end]
    if kind == "PNG":
        for name, start, end in png_chunks(data):
            if name == b"eXIf":
                return data[start:end]
    if kind == "WebP" and data[12:16] == b"VP8X" and data[20] & 0x08:
        place = 12
        while place + 8 <= len(data):
            end = place + 8 + int.from_bytes(data[place + 4 : place + 8], "little")
            if data[place : place + 4] == b"EXIF":
                return data[place + 8 : end]
            place = end + end % 2
    return None


def _exactly(data: bytes, start: int, count: int) -> bytes:
    if len(data) < start + count:
        raise IndexError(start)
    return data[start : start + count]


_SIZE = {
    "PNG": _png_size,
    "JPEG": _jpeg_size,
    "WebP": _webp_size,
    "GIF": _gif_size,
    "BMP": _bmp_size,
    "TIFF": _tiff_size,
}
