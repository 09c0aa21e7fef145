"""Frames of a video: which, when, how many; and files that are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from visionsmith.errors import ConfigError, DataError
from visionsmith.image.video import read_frames


def write_video(path: Path, frames: int = 20, rate: float = 10.0) -> Path:
    """Each frame is red of a level that tells its number."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, :, 2] = 10 * number + 20
        writer.write(image)
    writer.release()
    return path


@pytest.mark.parametrize(
    ("count", "numbers"), [(1, [0]), (2, [0, 19]), (5, [0, 5, 10, 14, 19]), (99, list(range(20)))]
)
def test_frames_are_evenly_spread(tmp_path: Path, count: int, numbers: list[int]) -> None:
    found = list(read_frames(write_video(tmp_path / "v.avi"), count))
    assert [frame.number for frame in found] == numbers
    for frame in found:
        assert frame.seconds == pytest.approx(frame.number / 10)
        assert frame.image.shape == (48, 64, 3)
        level = frame.image.reshape(-1, 3).mean(0)
        assert level[0] == pytest.approx(10 * frame.number + 20, abs=4)  # red comes first
        assert level[1:].max() < 6


def test_what_is_no_video_gets_a_sentence_and_nothing_else(tmp_path: Path) -> None:
    junk, cut = tmp_path / "junk.mp4", tmp_path / "cut.avi"
    junk.write_bytes(b"no video" * 100)
    whole = write_video(tmp_path / "whole.avi").read_bytes()
    cut.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DataError, match=r"junk.mp4: is no video that can be decoded \(it cannot be opened\)"):
        list(read_frames(junk, 4))
    with pytest.raises(DataError, match=r"cut\.avi: is no video that can be decoded"):
        list(read_frames(cut, 4))
    with pytest.raises(DataError, match="no such video"):
        list(read_frames(tmp_path / "missing.mp4", 4))
    with pytest.raises(ConfigError, match="frames = 0"):
        list(read_frames(junk, 0))
    with pytest.raises(DataError, match="64 x 48 px, above the limit of 100 pixels"):
        list(read_frames(tmp_path / "whole.avi", 4, max_pixels=100))


def test_ffmpeg_keeps_off_the_terminal(tmp_path: Path) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(200))
    code = (
        "from pathlib import Path\nfrom visionsmith.image.video import read_frames\n"
        "from visionsmith.errors import DataError\n"
        f"try: list(read_frames(Path({str(junk)!r}), 2))\nexcept DataError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")
