"""Each shift against what it says it does: independent libraries, geometry, and properties."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.data import astronaut
from skimage.transform import rotate

from visionsmith.errors import DataError
from visionsmith.evaluate.shift import blur, jpeg, recolour, rotation, shifts


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.ascontiguousarray(astronaut()[::4, ::3])


def test_every_shift_keeps_form_and_is_deterministic(photo: np.ndarray) -> None:
    changes = shifts()
    assert list(changes) == ["blur", "jpeg", "rotation", "recolour"]
    before = photo.copy()
    for name, change in changes.items():
        changed = change(photo)
        assert (changed.shape, changed.dtype) == (photo.shape, np.uint8), name
        assert not np.array_equal(changed, photo), name
        assert np.array_equal(changed, change(photo)), name
    assert np.array_equal(photo, before), "the picture given is left alone"


@pytest.mark.parametrize("change", shifts().values(), ids=shifts())
def test_a_white_picture_stays_white(change) -> None:  # type: ignore[no-untyped-def]
    white = np.full((40, 64, 3), 255, np.uint8)
    assert np.abs(change(white).astype(int) - 255).max() <= 1


@pytest.mark.parametrize("change", shifts().values(), ids=shifts())
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3)),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_refuses_what_is_not_a_picture(change, image: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="uint8"):
        change(image)


def test_blur_is_a_gaussian_of_a_64th_of_the_shorter_side(photo: np.ndarray) -> None:
    sigma = min(photo.shape[:2]) / 64
    wanted = gaussian_filter(photo.astype(float), (sigma, sigma, 0), mode="mirror")
    assert np.abs(blur(photo) - wanted).max() <= 3
    assert np.abs(blur(photo) - wanted).mean() < 0.5


def test_blur_scales_with_the_picture() -> None:
    spreads = []
    for side in (64, 256):
        point = np.zeros((side, side, 3), np.uint8)
        point[side // 2 - side // 16 : side // 2 + side // 16, side // 2] = 255
        row = blur(point)[side // 2, :, 0].astype(float)
        offsets = np.arange(side) - side // 2
        spreads.append(np.sqrt((row * offsets**2).sum() / row.sum()))
    assert spreads == pytest.approx([1, 4], rel=0.1)


def test_jpeg_loses_as_much_as_another_encoder(photo: np.ndarray) -> None:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=15, subsampling="4:2:0")
    other = np.asarray(Image.open(stream))
    ours = jpeg(photo)

    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((image.astype(float) - photo) ** 2)))

    assert error(ours) == pytest.approx(error(other), rel=0.05)
    assert np.abs(ours.astype(int) - other).mean() < error(ours) / 2, "red and blue are in their places"


def test_rotation_is_counter_clockwise_about_the_centre(photo: np.ndarray) -> None:
    wanted = rotate(photo, 15, order=1, cval=1.0) * 255
    difference = np.abs(rotation(photo) - wanted)
    assert np.median(difference) <= 2
    assert difference.mean() < 3
    assert np.abs(np.flipud(rotation(np.flipud(photo))) - wanted).mean() > 10, "the other way round is not it"


def test_rotation_shows_white_where_nothing_was() -> None:
    turned = rotation(np.zeros((60, 60, 3), np.uint8))
    assert (turned[0, 0] == 255).all()
    assert (turned[25:35, 25:35] == 0).all()


def test_recolour_turns_hues_as_colorsys_does(photo: np.ndarray) -> None:
    pixels = photo[::9, ::9]
    found = recolour(photo)[::9, ::9].reshape(-1, 3)
    for before, after in zip(pixels.reshape(-1, 3) / 255, found, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = np.array(colorsys.hsv_to_rgb((hue + 1 / 6) % 1, saturation, value)) * 255
        assert np.abs(after - wanted).max() <= 1


def test_recolour_keeps_grays_and_closes_the_circle(photo: np.ndarray) -> None:
    red = np.array([[[255, 0, 0], [0, 0, 255], [90, 90, 90], [0, 0, 0]]], np.uint8)
    assert recolour(red).tolist() == [[[255, 255, 0], [255, 0, 255], [90, 90, 90], [0, 0, 0]]]
    turned = photo
    for _ in range(6):
        turned = recolour(turned)
    assert np.abs(turned.astype(int) - photo).max() <= 3
