"""`visionsmith image` as a user meets it: every verb on real files, and every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from tests.image.command import BROKEN, PHOTO, files, run
from visionsmith.image import (
    blend,
    circle,
    encode_jpeg,
    filter_kernel,
    gaussian,
    half_ellipse,
    line,
    read_image,
    resize,
    rotate,
    text,
    threshold,
    to_gray,
    translate,
    warp,
    write_image,
)

POINTS = "10,5 240,20 220,190 0,170"
VERBS = [
    (["resize", "--width", "120"], lambda image: resize(image, width=120)),
    (["resize", "--factor", "0.5", "--interpolation", "nearest"], None),
    (["crop", "--x", "5", "--y", "6", "--width", "70", "--height", "80"], lambda image: image[6:86, 5:75]),
    (["rotate", "--degrees", "30", "--expand"], lambda image: rotate(image, 30, expand=True)),
    (["rotate", "--degrees", "-30", "--fill", "white"], lambda image: rotate(image, -30, fill="white")),
    (["translate", "--x", "5", "--y", "-7.5"], lambda image: translate(image, x=5, y=-7.5)),
    (
        ["warp", "--corners", POINTS, "--width", "90", "--height", "60"],
        lambda image: warp(image, [(10, 5), (240, 20), (220, 190), (0, 170)], width=90, height=60),
    ),
    (
        ["threshold", "--value", "90", "--method", "tozero"],
        lambda image: threshold(image, 90, method="tozero"),
    ),
    (["threshold", "--otsu", "--channels", "gray"], lambda image: threshold(to_gray(image), "otsu")),
    (["convert", "--channels", "gray"], to_gray),
    (["filter", "gaussian", "--sigma", "2"], lambda image: gaussian(image, sigma=2)),
    (["filter", "median", "--size", "5"], lambda image: cv2.medianBlur(image, 5)),
    (
        ["filter", "custom", "--kernel", "0 -1 0; -1 5 -1; 0 -1 0"],
        lambda image: filter_kernel(image, [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
    ),
    (
        ["draw", "line", "--start", "5,6", "--end", "90,80", "--color", "#00ff00"],
        lambda image: line(image, (5, 6), (90, 80), color=(0, 255, 0)),
    ),
    (
        ["draw", "circle", "--center", "50,60", "--radius", "9", "--filled"],
        lambda image: circle(image, (50, 60), 9, filled=True),
    ),
    (
        ["draw", "half-ellipse", "--center", "50,60", "--axes", "30,20", "--angle", "15"],
        lambda image: half_ellipse(image, (50, 60), (30, 20), 15),
    ),
    (
        ["draw", "text", "--content", "안녕", "--position", "9,9", "--size", "40", "--background", "white"],
        lambda image: text(image, "안녕", (9, 9), size=40, background="white"),
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), VERBS, ids=[" ".join(verb[:2]) for verb, _ in VERBS])
def test_a_verb_does_what_its_function_does(here, capsys, arguments, expected) -> None:
    cut = 2 if arguments[0] in ("filter", "draw") else 1
    out, err = run(capsys, *arguments[:cut], "photo.png", "out.png", *arguments[cut:])
    result = read_image("out.png", channels="unchanged")
    if expected is not None:
        assert np.array_equal(result, expected(PHOTO))
    assert (out, err) == (f"out.png: {result.shape[1]} x {result.shape[0]} px\n", "")


def test_a_folder_keeps_its_structure_depth_and_channels(here, capsys) -> None:
    out, _ = run(capsys, "resize", "album", "small", "--factor", "0.5")
    assert out == "small: 4 pictures\n"
    assert files("small") == ["gray.jpg", "more/deep.tif", "more/two.png", "one.png"]
    deep = read_image("small/more/deep.tif", channels="unchanged", depth="keep")
    assert np.array_equal(deep, resize(PHOTO.astype(np.uint16) * 257, factor=0.5))
    assert read_image("small/more/two.png", channels="unchanged").shape == (100, 150, 4)
    assert read_image("small/gray.jpg", channels="unchanged").shape == (100, 150)
    run(
        capsys,
        "convert",
        "album/**/*.png",
        "jpegs",
        "--format",
        "jpg",
        "--channels",
        "rgb",
        "--quality",
        "40",
    )
    assert files("jpegs") == ["more/two.jpg", "one.jpg"]
    assert Path("jpegs/one.jpg").read_bytes() == encode_jpeg(PHOTO, 40)


def test_what_is_broken_is_named_at_the_end_and_the_rest_is_done(here, capsys) -> None:
    Path("album/cut.jpg").write_bytes(BROKEN)
    Path("album/words.png").write_text("hello")
    out, err = run(capsys, "resize", "album", "small", "--width", "20", code=2)
    assert out == "small: 4 pictures\n"
    assert err.splitlines() == [
        "  album/cut.jpg: is a damaged JPEG (Premature end of JPEG file); copy it again, or leave it out.",
        "  album/words.png: is not a picture (it begins with bytes 68 65 6c 6c); give PNG, JPEG, WebP, GIF, BMP or "
        "TIFF.",
        "error: 2 of 6 pictures failed, the others are done; the reasons are above.",
    ]
    assert len(files("small")) == 4
    out, err = run(capsys, "resize", "album", "again", "--width", "20", "--json", code=2)
    report = json.loads(out)
    assert [entry["input"] for entry in report["failed"]] == ["album/cut.jpg", "album/words.png"]
    assert report["done"][0] == {
        "input": "album/gray.jpg",
        "output": "again/gray.jpg",
        "width": 20,
        "height": 13,
    }


def test_nothing_is_replaced_unless_asked(here, capsys) -> None:
    Path("small").mkdir()
    Path("small/one.png").write_text("precious")
    _, err = run(capsys, "resize", "album", "small", "--width", "20", code=2)
    assert "small/one.png: exists already; add --overwrite, or choose another place." in err
    assert Path("small/one.png").read_text() == "precious"
    assert len(files("small")) == 4
    run(capsys, "resize", "album", "small", "--width", "20", "--overwrite")
    assert read_image("small/one.png").shape == (13, 20, 3)
    before = Path("photo.png").read_bytes()
    _, err = run(capsys, "resize", "photo.png", "photo.png", "--width", "20", code=2)
    assert err == "error: photo.png: exists already; add --overwrite, or choose another place.\n"
    assert Path("photo.png").read_bytes() == before
    run(capsys, "resize", "photo.png", "photo.png", "--width", "20", "--overwrite")
    assert read_image("photo.png").shape == (13, 20, 3)
    assert not [name for name in files(".") if Path(name).name.startswith(".")]


def test_upright_as_exif_asks(here, capsys) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(PHOTO).save("turned.jpg", exif=exif, quality=95)
    run(capsys, "convert", "turned.jpg", "upright.png")
    assert read_image("upright.png").shape == (300, 200, 3)
    out, _ = run(capsys, "info", "turned.jpg", "--json")
    about = json.loads(out)["pictures"][0]
    assert (about["width"], about["height"], about["orientation"]) == (200, 300, 6)


def test_info(here, capsys) -> None:
    Path("album/cut.jpg").write_bytes(BROKEN)
    out, err = run(capsys, "info", "album", "--json", code=2)
    report = json.loads(out)
    kinds = {
        entry["path"]: (entry["format"], entry["channels"], entry["bits"]) for entry in report["pictures"]
    }
    assert kinds == {
        "album/gray.jpg": ("JPEG", "gray", 8),
        "album/one.png": ("PNG", "RGB", 8),
        "album/more/deep.tif": ("TIFF", "RGB", 16),
        "album/more/two.png": ("PNG", "RGBA", 8),
    }
    assert report["failed"][0]["path"] == "album/cut.jpg"
    assert "1 of 5 pictures failed" in err
    table, _ = run(capsys, "info", "photo.png")
    assert table.split()[:8] == [
        "path",
        "format",
        "width",
        "height",
        "channels",
        "bits",
        "orientation",
        "bytes",
    ]
    assert table.split()[8:12] == ["photo.png", "PNG", "300", "200"]


def test_tiles_there_and_back(here, capsys) -> None:
    out, _ = run(capsys, "tile", "album", "tiles", "--width", "128", "--height", "64", "--overlap", "9")
    assert out == "tiles: 4 pictures\n"
    assert files("tiles/one")[:3] == ["y00000_x00000.png", "y00000_x00119.png", "y00000_x00238.png"]
    assert read_image("tiles/one/y00000_x00238.png").shape == (64, 62, 3)
    run(capsys, "untile", "tiles", "back")
    assert files("back") == ["gray.png", "more/deep.png", "more/two.png", "one.png"]
    for name in files("album"):
        result = read_image(f"back/{Path(name).with_suffix('.png')}", channels="unchanged", depth="keep")
        assert np.array_equal(result, read_image(f"album/{name}", channels="unchanged", depth="keep"))
    out, _ = run(capsys, "untile", "tiles/one", "one.tif")
    assert out == "one.tif: 300 x 200 px\n"
    assert np.array_equal(read_image("one.tif"), PHOTO)
    out, _ = run(capsys, "tile", "photo.png", "tiles", "--width", "100")
    assert out == "tiles/photo: 6 tiles\n"


def test_folders_of_tiles_are_replaced_whole_or_not(here, capsys) -> None:
    run(capsys, "tile", "photo.png", "tiles", "--width", "100")
    before = files("tiles")
    _, err = run(capsys, "tile", "photo.png", "tiles", "--width", "60", code=2)
    assert err == "error: tiles/photo: holds tiles already; add --overwrite, or choose another place.\n"
    assert files("tiles") == before
    run(capsys, "tile", "photo.png", "tiles", "--width", "150", "--overwrite")
    assert len(files("tiles")) == 4
    Path("tiles/photo/thesis.txt").write_text("precious")
    _, err = run(capsys, "tile", "photo.png", "tiles", "--width", "60", "--overwrite", code=2)
    assert "holds something that is no tile (thesis.txt)" in err
    assert Path("tiles/photo/thesis.txt").read_text() == "precious"
    Path("tiles/photo/y00000_x00150.png").unlink()
    _, err = run(capsys, "untile", "tiles/photo", "x.png", code=2)
    assert "tiles/photo: untile: 1 of 4 tiles are missing, the first at x = 150, y = 0" in err
    assert not Path("x.png").exists()


def test_blend(here, capsys) -> None:
    write_image("patch.png", data.chelsea()[:80, :90])
    mask = np.zeros((80, 90), np.uint8)
    mask[10:60, 20:80] = 255
    write_image("mask.png", mask)
    settings = ["--source", "patch.png", "--mask", "mask.png", "--center", "150,100", "--method", "mixed"]
    run(capsys, "blend", "album/*.png", "out", *settings)
    expected = blend(PHOTO, data.chelsea()[:80, :90], mask, center=(150, 100), method="mixed")
    assert np.array_equal(read_image("out/one.png"), expected)
    _, err = run(capsys, "blend", "photo.png", "x.png", "--source", "patch.png", "--center", "9,9", code=2)
    assert err.startswith(
        "error: photo.png: blend: at center = (9, 9) the masked part of 88 x 78 px reaches outside"
    )


def test_pipe(here, capsys) -> None:
    Path("steps.yaml").write_text("- resize: {factor: 0.5}\n- gaussian: {sigma: 2}\n")
    run(capsys, "pipe", "steps.yaml", "album", "out")
    assert np.array_equal(read_image("out/one.png"), gaussian(resize(PHOTO, factor=0.5), sigma=2))
    Path("steps.yaml").write_text("- resize: {factor: 0.5}\n- gausian: {sigma: 2}\n")
    _, err = run(capsys, "pipe", "steps.yaml", "album", "new", code=2)
    assert err == "error: steps.yaml: step 2: there is no operation 'gausian'; did you mean 'gaussian'.\n"
    Path("steps.yaml").write_text("- resize: {width: 80}\n- crop: {x: 50, y: 0, width: 40, height: 9}\n")
    _, err = run(capsys, "pipe", "steps.yaml", "photo.png", "new", code=2)
    assert err.startswith(
        "error: photo.png: step 2 (crop): the rectangle ends at (90, 9), and the picture at (80, 53)"
    )
    assert not Path("new").exists()


def test_network(here, capsys) -> None:
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["image"], ["mean"])],
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3, 1, 1])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "mean.onnx")
    out, _ = run(capsys, "network", "photo.png", "out.npz", "--model", "mean.onnx", "--scale", "0.5")
    assert out == "out.npz: mean 1 x 3 x 1 x 1\n"
    with np.load("out.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["mean"].ravel(), PHOTO.mean(axis=(0, 1)) / 2, rtol=1e-5)
    run(capsys, "network", "album", "arrays", "--model", "mean.onnx")
    assert files("arrays") == ["gray.npz", "more/deep.npz", "more/two.npz", "one.npz"]
    _, err = run(capsys, "network", "photo.png", "faces.png", "--model", "mean.onnx", "--faces", code=2)
    assert "mean.onnx: is not YuNet" in err
    Path("old.caffemodel").write_bytes(b"x")
    _, err = run(capsys, "network", "photo.png", "x.npz", "--model", "old.caffemodel", code=2)
    assert "Caffe" in err
    _, err = run(capsys, "network", "photo.png", "x.npz", "--model", "mean.onnx", "--size", "32", code=2)
    assert err == "error: --size '32' is not two whole numbers; write them as 640,480.\n"


def test_help_and_the_package_are_light() -> None:
    heavy = ("torch", "cv2", "numpy", "matplotlib")
    for code in (
        "import visionsmith.image",
        "from visionsmith.cli import main\ntry: main(['image', '--help'])\nexcept SystemExit: pass",
        "from visionsmith.cli import main\ntry: main(['image', 'resize', '--help'])\nexcept SystemExit: pass",
    ):
        script = f"import sys\n{code}\nprint([name for name in {heavy} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", code


def test_every_name_of_the_package_is_there() -> None:
    import visionsmith.image as package

    assert sorted(package.__all__) == sorted(name for names in package._HOMES.values() for name in names)
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'gausian'"):
        package.gausian  # noqa: B018
