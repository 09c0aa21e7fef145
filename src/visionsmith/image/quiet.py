"""Keep OpenCV's own lines off the terminal, where the error that follows says what is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

__all__ = ["quiet"]

_LOCK = threading.Lock()
_inside = 0
_level = 0


@contextmanager
def quiet() -> Iterator[None]:
    """No logging of OpenCV within; the level comes back when the last of several threads has left."""
    global _inside, _level
    with _LOCK:
        if not _inside:
            _level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                cv2.utils.logging.setLogLevel(_level)
