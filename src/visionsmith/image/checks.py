"""What every operation on a picture demands of it and of its numbers, said before OpenCV says it in riddles.

A number that is wrong for any picture is a `ConfigError`; a picture that an operation cannot take is a
`DataError`. Both name the operation.

Arrays: HW gray, HWC RGB or RGBA (straight alpha); uint8 [0, 255], uint16 [0, 65535] or float32 [0, 1].
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from visionsmith.errors import ConfigError, DataError, nearest

__all__ = [
    "MAX_PIXELS",
    "check_choice",
    "check_image",
    "check_level",
    "check_number",
    "check_odd",
    "check_pair",
    "check_size",
    "check_whole",
    "top_of",
]

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded or made unless a caller allows more, pixels."""

_TOPS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
_TOLERANCE = 1e-4


def top_of(image: np.ndarray) -> int:
    """The value of white: 255, 65535 or 1."""
    return _TOPS[image.dtype]


def check_image(image: object, operation: str, name: str = "the picture") -> np.ndarray:
    """A picture, as it came.

    Args:
        image: what the caller gave.
        operation: to name in an error.
        name: of the argument, in words.

    Raises:
        DataError: it is no array, empty, of another type or shape, or holds NaN or values out of range.
    """
    if not isinstance(image, np.ndarray):
        raise DataError(
            f"{name} is a {type(image).__name__}, not a NumPy array",
            where=operation,
            do="read the file with read_image",
        )
    if image.size == 0:
        raise DataError(
            f"{name} is empty (shape {image.shape})",
            where=operation,
            do="look at the slice that it comes from",
        )
    _check_shape(image, operation, name)
    if image.dtype not in _TOPS:
        raise DataError(
            f"{name} is {image.dtype}, not uint8, uint16 or float32",
            where=operation,
            do=_conversion(image.dtype),
        )
    if image.dtype == np.float32:
        _check_range(image, operation, name)
    return image


def check_number(
    value: Any,
    name: str,
    operation: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float | None = None,
) -> float:
    """A finite number from `least` to `most`, or greater than `above`.

    Raises:
        ConfigError: it is anything else.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, str | bytes) or not math.isfinite(number):
        raise ConfigError(f"{name} = {value!r} is not a number", where=operation, do="give a finite number")
    if above is not None and number <= above:
        raise ConfigError(
            f"{name} = {value} is out of range", where=operation, do=f"choose a number above {above:g}"
        )
    if not least <= number <= most:
        allowed = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ConfigError(
            f"{name} = {value} is out of range", where=operation, do=f"choose a number {allowed}"
        )
    return number


def check_level(value: Any, name: str, operation: str, image: np.ndarray) -> float:
    """A value that pixels of a picture can have: 0 to 255, 65535 or 1.

    Raises:
        ConfigError: it is no number, or negative.
        DataError: it is above the picture's white.
    """
    number = check_number(value, name, operation, least=0)
    if number > top_of(image):
        raise DataError(
            f"{name} = {value} is above white, which is {top_of(image)} for {image.dtype}",
            where=operation,
            do="give it in the picture's own range",
        )
    return number


def check_whole(value: Any, name: str, operation: str, *, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`.

    Raises:
        ConfigError: it is anything else.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ConfigError(
            f"{name} = {value!r} is not a whole number", where=operation, do="give a whole number"
        ) from error
    check_number(number, name, operation, least=least, most=math.inf if most is None else most)
    return number


def check_odd(value: Any, name: str, operation: str) -> int:
    """The side of a window that has a middle: odd, at least 1.

    Raises:
        ConfigError: it is even or too small.
    """
    number = check_whole(value, name, operation, least=1)
    if number % 2 == 0:
        raise ConfigError(
            f"{name} = {number} is even, and such a window has no middle pixel",
            where=operation,
            do=f"choose {number - 1} or {number + 1}",
        )
    return number


def check_pair(value: Any, name: str, operation: str) -> tuple[float, float]:
    """A point or a shift (x, y).

    Raises:
        ConfigError: it is not two finite numbers.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray) or len(value) != 2:
        raise ConfigError(f"{name} = {value!r} is not a pair of numbers", where=operation, do="give (x, y)")
    x, y = value
    return check_number(x, f"x of {name}", operation), check_number(y, f"y of {name}", operation)


def check_choice(value: Any, name: str, operation: str, known: Sequence[str]) -> None:
    """One of some words.

    Raises:
        ConfigError: another word; names the nearest.
    """
    if value in known:
        return
    close = nearest(value, known) if isinstance(value, str) else None
    advice = f"did you mean '{close}'" if close else f"choose {', '.join(known)}"
    raise ConfigError(f"{name} = {value!r} is not known", where=operation, do=advice)


def check_size(width: int, height: int, operation: str) -> None:
    """The size of a result.

    Raises:
        DataError: it has no pixel, or more than `MAX_PIXELS`.
    """
    if width < 1 or height < 1:
        raise DataError(
            f"the result would be {width:,} x {height:,} px", where=operation, do="ask for at least 1 x 1 px"
        )
    if width * height > MAX_PIXELS:
        raise DataError(
            f"the result would be {width:,} x {height:,} px, above the limit of {MAX_PIXELS:,} pixels",
            where=operation,
            do="ask for a smaller one",
        )


def _check_shape(image: np.ndarray, operation: str, name: str) -> None:
    shape = image.shape
    if image.ndim == 2 or (image.ndim == 3 and shape[2] in (3, 4)):
        return
    if image.ndim == 3 and shape[2] == 1:
        advice = "drop the last axis: image[:, :, 0]"
    elif image.ndim == 3 and shape[0] in (1, 3, 4):
        advice = "put the channels last: image.transpose(1, 2, 0)"
    elif image.ndim == 4:
        advice = "give the pictures of a batch one by one"
    else:
        advice = "give height x width, or height x width x 3 or 4"
    raise DataError(f"{name} has shape {shape}, not HW, HW3 or HW4", where=operation, do=advice)


def _conversion(dtype: np.dtype[Any]) -> str:
    if dtype == np.bool_:
        return "convert it with image.astype(np.uint8) * 255"
    if dtype.kind == "f":
        return "convert it with image.astype(np.float32), range 0 to 1"
    return "bring it into 0 to 255 and convert it with image.astype(np.uint8)"


def _check_range(image: np.ndarray, operation: str, name: str) -> None:
    low, high = float(image.min()), float(image.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        place = ", ".join(str(int(index)) for index in np.argwhere(~np.isfinite(image))[0][:2])
        raise DataError(
            f"{name} holds NaN or infinity, first at row, column {place}",
            where=operation,
            do="replace it, e.g. with np.nan_to_num",
        )
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise DataError(
            f"{name} is float32 with values from {low:.4g} to {high:.4g}, not 0 to 1",
            where=operation,
            do="divide it by the value of white, e.g. 255",
        )
