"""Mistakes with `visionsmith image`: each gives one clear sentence and exit code 2, and loses nothing."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.command import files, run

MISTAKES = [
    ("resize absent.png out.png --width 5", "absent.png: no such file or folder"),
    ("resize photo.png out.png", "resize: there is no size; give width, height or factor"),
    ("resize album out.png --width 5", "out.png: is one file, and there may be several pictures"),
    ("resize album out --width 0", "resize: width = 0 is out of range"),
    ("resize photo.png out.xyz --width 5", "out.xyz: '.xyz' is no ending of a picture that is written"),
    ("resize photo.png photo.png/out.png --width 5", "photo.png/out.png: cannot be written (file exists)"),
    ("resize photo.png out.jpg --width 5 --format png", "out.jpg: does not end in .png"),
    ("resize words.png out.png --width 5", "words.png: is not a picture"),
    ("resize 'album/*.gif' out --width 5", "album/*.gif: no picture has such a name"),
    ("filter box photo.png out.png --size 4", "box: size = 4 is even"),
    ("filter box photo.png out.png --sigma 4", "box: there is no argument 'sigma'; it takes size"),
    ("filter gaussian photo.png out.png", "gaussian: the argument 'sigma' is missing"),
    (
        "filter custom photo.png out.png --kernel '1 2; 3'",
        "filter_kernel: the kernel is not a rectangle of numbers",
    ),
    ("filter custom photo.png out.png --kernel 'a b'", "--kernel 'a b' is not numbers"),
    ("warp photo.png out.png --corners '0,0 9,0 9,9' --width 5 --height 5", "warp: 3 points were given"),
    (
        "warp photo.png out.png --corners '0,0 9,9 9,0 0,9' --width 5 --height 5",
        "make no convex quadrilateral",
    ),
    (
        "warp photo.png out.png --corners '0 0 9,9 9,0 0,9' --width 5 --height 5",
        "is not points; write them as",
    ),
    ("rotate photo.png out.png --degrees 5 --fill redd", "there is no colour 'redd'; did you mean 'red'"),
    ("threshold photo.png out.png", "exactly one of --value and --otsu is needed"),
    ("threshold photo.png out.png --otsu", "photo.png: threshold: Otsu's method needs a gray picture"),
    (
        "draw circle photo.png out.png --center 5,5 --radius 3 --start 4",
        "circle: there is no argument 'start'",
    ),
    ("draw circle photo.png out.png --center 5 --radius 3", "circle: center = 5"),
    (
        "draw text photo.png out.png --content hi --position 5,5 --font absent.ttf",
        "absent.ttf: there is no such font",
    ),
    ("convert album/more/two.png out.jpg", "out.jpg: JPEG has no alpha"),
    (
        "convert album/more/deep.tif out.webp",
        "out.webp: WebP holds 8 bits a channel, and the picture is uint16",
    ),
    (
        "network photo.png out.png --model absent.onnx --faces --size 32,32",
        "--faces prepares pictures as YuNet needs",
    ),
    ("network photo.png out.npz --model absent.onnx", "absent.onnx: cannot be read (no such file"),
    (
        "network photo.png out.npz --model absent.onnx --format png",
        "--format is for pictures, and outputs are .npz",
    ),
    ("untile album out", "album: no tiles are there"),
    ("tile photo.png out --width 8 --overlap 8", "tile: overlap = 8 is out of range"),
    ("pipe absent.yaml photo.png out.png", "absent.yaml: cannot be read (no such file"),
    ("blend photo.png out.png --source absent.png", "absent.png: cannot be read (no such file"),
]


@pytest.mark.parametrize(("command", "says"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_gets_one_sentence_and_loses_nothing(here, capsys, command: str, says: str) -> None:
    Path("words.png").write_text("hello")
    before = {name: Path(name).read_bytes() for name in files(".")}
    out, err = run(capsys, *shlex.split(command), code=2)
    assert out == ""
    assert says.lower() in err.lower()
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert {name: Path(name).read_bytes() for name in files(".")} == before


def test_a_place_that_may_not_be_written(here, capsys) -> None:
    # A file where a folder should be stands for missing rights, which the superuser of a container does not lack.
    Path("small").write_text("a file")
    _, err = run(capsys, "resize", "album", "small/", "--width", "5", code=2)
    assert "small/one.png: cannot be written" in err
    assert "4 of 4 pictures failed; the reasons are above." in err
    assert Path("small").read_text() == "a file"


def test_a_real_process_ends_with_code_2(here) -> None:
    command = [
        sys.executable,
        "-m",
        "visionsmith",
        "image",
        "filter",
        "median",
        "photo.png",
        "x.png",
        "--size",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    sentence = "error: median: size = 2 is even, and such a window has no middle pixel; choose 1 or 3.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)
