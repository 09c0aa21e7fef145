"""Pictures of 16 bits, and TIFF with alpha, with Pillow, tifffile and cv2 as independent readers and writers."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import decode, encode_jpeg, encode_png, read_image, write_image

DEEP = np.random.default_rng(0).integers(0, 65536, (31, 17, 4), dtype=np.uint16)
FORMS = {"gray": DEEP[..., 0], "rgb": DEEP[..., :3], "rgba": DEEP, "view": DEEP[::-1, ::2, :3]}


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("form", FORMS)
def test_sixteen_bits_there_and_back(form: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"deep{ending}"
    write_image(path, FORMS[form])
    assert np.array_equal(read_image(path, channels="unchanged", depth="keep"), FORMS[form])
    rounded = read_image(path, channels="unchanged")
    assert rounded.dtype == np.uint8
    assert np.array_equal(rounded, np.rint(FORMS[form] / 257).astype(np.uint8))
    theirs = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    order = {2: ..., 3: np.s_[..., ::-1], 4: np.s_[..., [2, 1, 0, 3]]}[
        2 if theirs.ndim == 2 else theirs.shape[2]
    ]
    assert np.array_equal(theirs[order], FORMS[form])


def test_channels_of_sixteen_bits() -> None:
    data = encode_png(DEEP)
    alpha = DEEP[..., 3:] / 65535
    white = DEEP[..., :3] * alpha + 65535 * (1 - alpha)
    assert np.abs(decode(data, depth="keep") - white).max() <= 0.51
    luma = white @ (0.299, 0.587, 0.114)
    assert np.abs(decode(data, depth="keep", channels="gray") - luma).max() <= 2
    opaque = decode(encode_png(DEEP[..., :3]), depth="keep", channels="rgba")
    assert (opaque[..., 3] == 65535).all()
    assert decode(encode_png(DEEP[..., 0].astype(np.uint8)), depth="keep").dtype == np.uint8


def test_orientation_of_sixteen_bits() -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(DEEP[..., 0]).save(stream, "PNG", exif=exif)
    upright = decode(stream.getvalue(), channels="unchanged", depth="keep")
    assert np.array_equal(upright, np.rot90(DEEP[..., 0], -1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_with_alpha(dtype: type, tmp_path: Path) -> None:
    """Straight, premultiplied, and without a word about it, as OpenCV and so write_image write it."""
    straight = np.dstack([np.full((9, 9), value) for value in (10, 20, 30, 128)]).astype(dtype)
    straight = straight * (1 if dtype == np.uint8 else 257)
    premultiplied = straight.copy()
    premultiplied[..., :3] = np.rint(straight[..., :3] * (128 / 255))
    for name, pixels, kind in (("s", straight, "unassalpha"), ("p", premultiplied, "assocalpha")):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb", extrasamples=[kind])
    write_image(tmp_path / "w.tif", straight)
    for name in "spw":
        found = read_image(tmp_path / f"{name}.tif", channels="unchanged", depth="keep")
        assert found.dtype == dtype
        slack = 1 if dtype == np.uint16 or name == "w" else 2
        assert np.abs(found.astype(int) - straight).max() <= (0 if name == "w" else slack), name


def test_formats_of_eight_bits_say_so(tmp_path: Path) -> None:
    for ending in ("jpg", "webp", "bmp"):
        with pytest.raises(
            DataError, match=r"holds 8 bits a channel, and the picture is uint16; read it with"
        ):
            write_image(tmp_path / f"a.{ending}", DEEP[..., :3])
    with pytest.raises(DataError, match="PNG holds 8 or 16 bits a channel, and the picture is float32"):
        encode_png(np.zeros((3, 3), np.float32))
    with pytest.raises(DataError, match="JPEG has no alpha, and the picture is RGBA"):
        encode_jpeg(np.zeros((3, 3, 4), np.uint8))
    with pytest.raises(ConfigError, match="quality = 0 is out of range; choose a number from 1 to 100"):
        encode_jpeg(np.zeros((3, 3, 3), np.uint8), 0)
    assert list(tmp_path.iterdir()) == []


def test_quality_of_a_written_jpeg(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    write_image(tmp_path / "a.jpg", image, quality=30)
    assert (tmp_path / "a.jpg").read_bytes() == encode_jpeg(image, 30)
    with Image.open(tmp_path / "a.jpg") as small, Image.open(io.BytesIO(encode_jpeg(image, 90))) as large:
        assert [layer[1:3] for layer in small.layer] == [(2, 2), (1, 1), (1, 1)]
        assert [layer[1:3] for layer in large.layer] == [(1, 1), (1, 1), (1, 1)]


def test_threads_leave_the_log_level_as_it_was() -> None:
    before = cv2.utils.logging.getLogLevel()
    data, broken = encode_png(DEEP), encode_png(DEEP)[:-30]

    def work() -> None:
        for _ in range(50):
            decode(data)
            with pytest.raises(DataError):
                decode(broken)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cv2.utils.logging.getLogLevel() == before
