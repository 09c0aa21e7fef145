"""Frames of a video, read by OpenCV (FFmpeg): evenly picked, one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from visionsmith.errors import ConfigError, DataError
from visionsmith.image.checks import MAX_PIXELS
from visionsmith.image.quiet import quiet

__all__ = ["VIDEO_ENDINGS", "VideoFrame", "read_frames"]

VIDEO_ENDINGS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
_PROMISED = 0.9
"""A video that ends after this share of the frames that its header names is taken for whole."""


@dataclass(frozen=True)
class VideoFrame:
    """One frame."""

    number: int
    """From 0."""
    seconds: float
    """Its time by the video's own rate; the number itself where the video names no rate."""
    image: np.ndarray
    """RGB HWC uint8."""


def read_frames(path: Path, count: int, *, max_pixels: int = MAX_PIXELS) -> Iterator[VideoFrame]:
    """Frames of a video, evenly spaced from its first to its last.

    Args:
        path: the file; anything that OpenCV's FFmpeg decodes.
        count: how many; fewer where the video has fewer.
        max_pixels: refuse a video that declares more in a frame.

    Raises:
        ConfigError: the count is not positive.
        DataError: the file is not there, is no video, or breaks off in the middle.
    """
    if count < 1:
        raise ConfigError(f"frames = {count} is not positive", do="choose at least 1")
    if not path.is_file():
        raise DataError("no such video", where=path, do="check the path")
    with quiet(), _opened(path) as video:
        width, height = (
            int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > max_pixels:
            raise DataError(
                f"declares frames of {width:,} x {height:,} px, above the limit of {max_pixels:,} pixels",
                where=path,
                do="make it smaller",
            )
        total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        yield from _picked(video, path, total if total > 0 else _counted(path), count)


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    # FFmpeg writes to the terminal by itself; it asks for this when it is first used.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise _damaged(path, "it cannot be opened")
        yield video
    finally:
        video.release()


def _counted(path: Path) -> int:
    """How many frames there are, where the header does not say."""
    total = 0
    with _opened(path) as video:
        while video.grab():
            total += 1
    if not total:
        raise _damaged(path, "it has no frame")
    return total


def _picked(video: cv2.VideoCapture, path: Path, total: int, count: int) -> Iterator[VideoFrame]:
    wanted = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
    rate = video.get(cv2.CAP_PROP_FPS)
    for number in range(total):
        if not video.grab():
            # Headers often promise a few frames too many.
            if number <= _PROMISED * total:
                raise _damaged(path, f"it breaks off at frame {number:,} of {total:,}")
            return
        if number in wanted:
            done, image = video.retrieve()
            if not done or image is None:
                raise _damaged(path, f"frame {number:,} cannot be decoded")
            seconds = number / rate if rate > 0 else float(number)
            yield VideoFrame(number, seconds, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"is no video that can be decoded ({reason})",
        where=path,
        do="copy it again, or convert it to MP4 (H.264)",
    )
