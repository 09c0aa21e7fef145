"""Reading and writing pictures, with Pillow as the independent reader and writer."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from visionsmith.errors import DataError, OutputError
from visionsmith.image.io import (
    ImageHeader,
    decode,
    encode_jpeg,
    encode_png,
    read_header,
    read_image,
    write_image,
)

HEIGHT, WIDTH = 40, 56


def smooth(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A picture without symmetry, smooth enough for JPEG."""
    y, x = np.mgrid[:height, :width]
    planes = [40 + 3 * x + y, 200 - 2 * y - x, 90 + 80 * np.sin(x / 9) + y]
    return np.clip(np.dstack(planes), 0, 255).astype(np.uint8)


RGB = smooth()
ALPHA = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
RGBA = np.dstack([RGB, ALPHA])
PICTURE = Image.fromarray(RGB)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


FILES = {
    "png": encoded(PICTURE, "PNG"),
    "png palette": encoded(PICTURE.quantize(32), "PNG"),
    "png gray": encoded(PICTURE.convert("L"), "PNG"),
    "png 1 bit": encoded(PICTURE.convert("1"), "PNG"),
    "jpeg": encoded(PICTURE, "JPEG"),
    "jpeg progressive": encoded(PICTURE, "JPEG", progressive=True),
    "jpeg gray": encoded(PICTURE.convert("L"), "JPEG"),
    "jpeg stored as rgb": encoded(PICTURE, "JPEG", keep_rgb=True),
    "webp": encoded(PICTURE, "WEBP"),
    "webp lossless": encoded(PICTURE, "WEBP", lossless=True),
    "webp extended": encoded(PICTURE, "WEBP", exif=Image.Exif().tobytes(), icc_profile=b"x" * 9),
    "gif": encoded(PICTURE, "GIF"),
    "bmp": encoded(PICTURE, "BMP"),
    "bmp gray": encoded(PICTURE.convert("L"), "BMP"),
    "bmp palette": encoded(PICTURE.quantize(16), "BMP"),
    "tiff": encoded(PICTURE, "TIFF"),
    "tiff lzw": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    "tiff big": encoded(PICTURE, "TIFF", big_tiff=True),
    "tiff gray": encoded(PICTURE.convert("L"), "TIFF"),
    "animated gif": encoded(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(180)]),
    "animated webp": encoded(
        PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(180)], lossless=True
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_decode_gives_what_pillow_gives(name: str) -> None:
    expected = np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB"))
    image = decode(FILES[name])
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.array_equal(image, expected)


def test_cmyk_jpeg_is_close_to_pillow() -> None:
    data = encoded(PICTURE.convert("CMYK"), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(kind: str) -> None:
    data = encoded(
        Image.fromarray(RGBA), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})
    )
    assert np.abs(decode(data) - on_white(RGBA)).max() <= 1.01
    gray = cv2.cvtColor(on_white(RGBA).round().astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(int)
    assert np.abs(decode(data, channels="gray") - gray).max() <= 2
    with_alpha = decode(data, channels="rgba")
    assert np.array_equal(with_alpha[..., 3], ALPHA)
    # libtiff keeps only premultiplied colours, so straight ones come back within its rounding.
    tolerance = 255 / np.maximum(ALPHA, 1)[..., None] + 1 if kind == "TIFF" else 0
    assert (
        np.abs(with_alpha[..., :3].astype(int) - RGB)[ALPHA > 20]
        <= (tolerance + np.zeros_like(RGB))[ALPHA > 20]
    ).all()


@pytest.mark.parametrize(("bits", "level"), [(8, 100), (4, 7), (2, 1)])
def test_one_transparent_level_of_a_gray_png(bits: int, level: int) -> None:
    plane = (np.arange(256) >> (8 - bits)).astype(np.uint8).reshape(16, 16)
    gray = (plane * (255 // (2**bits - 1))).astype(np.uint8)
    expected = np.dstack([gray, gray, gray, np.where(plane == level, 0, 255).astype(np.uint8)])
    data = gray_png(plane, bits, level)
    assert np.array_equal(decode(data, channels="rgba"), expected)
    assert np.array_equal(decode(data, channels="gray"), np.where(plane == level, 255, gray))
    if bits == 8:  # Pillow looks for the unscaled level in pictures of fewer bits.
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")), expected)


def gray_png(plane: np.ndarray, bits: int, transparent: int) -> bytes:
    """A gray PNG with one transparent level, written by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = plane.shape
    spread = (plane[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(spread.reshape(height, -1).astype(np.uint8), axis=1)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    content = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(">H", transparent)), (b"IDAT", zlib.compress(content))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*chunks, (b"IEND", b"")])


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_sixteen_bits_are_rounded(ending: str) -> None:
    deep = np.arange(0, 65536, 11, dtype=np.uint16)[: 60 * 90].reshape(60, 90)
    expected = np.rint(deep / 257).astype(np.uint8)
    data = cv2.imencode(ending, deep)[1].tobytes()
    assert np.array_equal(decode(data, channels="gray"), expected)
    assert np.array_equal(decode(data), np.dstack([expected] * 3))
    deep_rgb = np.dstack([deep, deep[::-1], deep[:, ::-1]])
    data = cv2.imencode(ending, deep_rgb[..., ::-1])[1].tobytes()
    assert np.array_equal(decode(data), np.rint(deep_rgb / 257).astype(np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(PICTURE, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    for channels in ("rgb", "rgba", "unchanged"):
        assert np.array_equal(decode(data, channels=channels)[..., :3], expected)


def test_channels() -> None:
    gray = np.asarray(PICTURE.convert("L"))
    png, png_gray = encode_png(RGB), encode_png(gray)
    assert np.array_equal(decode(png_gray, channels="unchanged"), gray)
    assert np.array_equal(decode(png_gray, channels="gray"), gray)
    assert np.array_equal(decode(png_gray), np.dstack([gray] * 3))
    assert np.array_equal(decode(png, channels="unchanged"), RGB)
    assert np.array_equal(decode(png, channels="rgba"), np.dstack([RGB, np.full_like(gray, 255)]))
    assert np.abs(decode(png, channels="gray").astype(int) - gray).max() <= 1
    assert np.array_equal(decode(encode_png(RGBA), channels="unchanged"), RGBA)
    luma = decode(FILES["jpeg"], channels="gray")
    assert (
        np.abs(luma.astype(int) - np.asarray(Image.open(io.BytesIO(FILES["jpeg"])).convert("L"))).max() <= 2
    )


@pytest.mark.parametrize("name", FILES)
def test_header_is_read_without_a_decoder(name: str) -> None:
    kind = {"WEBP": "WebP"}.get(Image.open(io.BytesIO(FILES[name])).format, name.split()[0].upper())
    kind = "WebP" if "webp" in name else "GIF" if "gif" in name else kind
    assert read_header(FILES[name]) == ImageHeader(kind, WIDTH, HEIGHT)
    if kind != "TIFF":
        # The size stands in the first bytes, so a beginning is enough.
        assert read_header(FILES[name][:1500]) == ImageHeader(kind, WIDTH, HEIGHT)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(name: str) -> None:
    data = FILES[name]
    last = 0.8 if "animated" in name else 0.97
    for share in (0.0, 0.005, 0.05, 0.4, last):
        cut = data[: int(len(data) * share)]
        with pytest.raises(DataError) as caught:
            decode(cut, where="cat.img")
        assert_one_sentence(str(caught.value), "cat.img")


def test_every_flipped_byte_of_a_png_is_found(capfd: pytest.CaptureFixture[str]) -> None:
    data = FILES["png"]
    for place in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        with pytest.raises(DataError):
            decode(bytes(flipped))
    assert capfd.readouterr() == ("", "")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_raises_nothing_but_data_error(data: st.DataObject) -> None:
    content = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        image = decode(cut, max_pixels=10_000)
    except DataError as error:
        assert_one_sentence(str(error))
    else:
        assert image.dtype == np.uint8
        assert image.shape[0] * image.shape[1] <= 10_000


def test_a_huge_picture_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + b"\0\0\0\0"
    with pytest.raises(DataError, match=r"60,000 x 50,000 px, above the limit of 100,000,000 pixels"):
        decode(bomb)
    with pytest.raises(DataError, match="above the limit"):
        decode(FILES["jpeg"], max_pixels=HEIGHT * WIDTH - 1)
    assert decode(FILES["jpeg"], max_pixels=HEIGHT * WIDTH).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("name", "place", "lie"),
    [
        ("gif", 6, struct.pack("<H", WIDTH - 20)),
        ("bmp", 18, struct.pack("<i", WIDTH + 400)),
        ("webp extended", 24, (WIDTH + 9).to_bytes(3, "little")),
        ("tiff big", 8, b"\xff" * 8),
    ],
)
def test_a_header_that_lies_is_refused(name: str, place: int, lie: bytes) -> None:
    data = FILES[name]
    with pytest.raises(DataError):
        decode(data[:place] + lie + data[place + len(lie) :])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello world, this is text", "is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "PNG"),
        (b"\xff\xd8\xff\xd9", "JPEG"),
        (b"RIFF\0\0\0\0WEBPABCD" + b"\0" * 20, "WebP"),
        (b"BM" + b"\0" * 60, "BMP"),
        (b"II*\0\x08\0\0\0\0\0", "TIFF"),
        (b"GIF89a\0\0\0\0", "0 x 0 px"),
    ],
)
def test_other_contents_get_a_sentence(content: bytes, says: str) -> None:
    for read in (read_header, decode):
        with pytest.raises(DataError, match=says) as caught:
            read(content, where="a file")
        assert_one_sentence(str(caught.value), "a file")


def test_read_image_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(FILES["jpeg"])
    assert np.array_equal(read_image(tmp_path / "a.jpg"), decode(FILES["jpeg"]))
    with pytest.raises(DataError, match=r"missing\.png: cannot be read \(no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)
    (tmp_path / "b.jpg").write_bytes(FILES["jpeg"][:300])
    with pytest.raises(DataError, match=r"b\.jpg"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize(
    "image", [RGB, RGBA, RGB[..., 0], RGB[::-1, ::2]], ids=["rgb", "rgba", "gray", "view"]
)
def test_png_round_trip(image: np.ndarray) -> None:
    data = encode_png(image)
    assert np.array_equal(decode(data, channels="unchanged"), image)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), image)


def test_jpeg_quality() -> None:
    errors = [np.abs(decode(encode_jpeg(RGB, quality)).astype(int) - RGB).mean() for quality in (20, 60, 95)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1
    gray = encode_jpeg(RGB[..., 0], 95)
    assert simplejpeg.decode_jpeg_header(gray)[2] == "Gray"
    assert np.abs(decode(gray, channels="gray").astype(int) - RGB[..., 0]).max() <= 4


def test_write_image(tmp_path: Path) -> None:
    for ending in (".png", ".webp", ".bmp", ".tif"):
        write_image(tmp_path / "deep" / f"a{ending}", RGB)
        assert np.array_equal(read_image(tmp_path / "deep" / f"a{ending}"), RGB)
    write_image(tmp_path / "a.jpg", RGB)
    assert read_header((tmp_path / "a.jpg").read_bytes()).format == "JPEG"
    write_image(tmp_path / "a.jpg", RGB[:10])
    assert read_image(tmp_path / "a.jpg").shape == (10, WIDTH, 3)
    with pytest.raises(OutputError, match=r"'\.xyz' is no ending"):
        write_image(tmp_path / "a.xyz", RGB)
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "a.jpg" / "b.png", RGB)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "folder.png", RGB)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "deep", "folder.png"]


def test_the_decoders_stay_quiet(tmp_path: Path) -> None:
    """OpenCV and its libraries write their complaints past Python; a user sees our sentence only."""
    script = (
        "import sys; from visionsmith.image.io import decode; from visionsmith.errors import DataError\n"
        "import pathlib\n"
        "for name in sys.argv[1:]:\n"
        "    data = pathlib.Path(name).read_bytes()\n"
        "    try: decode(data[: len(data) // 2])\n"
        "    except DataError: pass\n"
        "    else: raise SystemExit('not refused: ' + name)\n"
    )
    names = ("png", "jpeg", "webp", "gif", "bmp", "tiff", "tiff lzw")
    for name in names:
        (tmp_path / name).write_bytes(FILES[name])
    command = [sys.executable, "-c", script, *(str(tmp_path / name) for name in names)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def assert_one_sentence(text: str, *names: str) -> None:
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 300
    for name in names:
        assert name in text
