"""Points, kernels and colours as they are written on the command line."""

from __future__ import annotations

import re

from visionsmith.errors import ConfigError

__all__ = ["fill_value", "kernel_rows", "numbers", "points", "whole_pair"]


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Numbers between commas or spaces."""
    try:
        return tuple(float(word) for word in re.split(r"[,\s]+", text.strip()))
    except ValueError as error:
        raise ConfigError(f"{option} '{text}' is not numbers", do="write them as 10,20") from error


def whole_pair(text: str, option: str) -> tuple[int, int]:
    """Two whole numbers."""
    found = numbers(text, option)
    if len(found) != 2 or any(value != round(value) for value in found):
        raise ConfigError(f"{option} '{text}' is not two whole numbers", do="write them as 640,480")
    return int(found[0]), int(found[1])


def points(text: str, option: str) -> list[tuple[float, float]]:
    """Points between spaces, the numbers of each between commas."""
    found = [numbers(word, option) for word in text.split()]
    if any(len(point) != 2 for point in found):
        raise ConfigError(f"{option} '{text}' is not points", do="write them as '10,20 300,15'")
    return [(point[0], point[1]) for point in found]


def kernel_rows(text: str) -> list[tuple[float, ...]]:
    """Rows between semicolons."""
    return [numbers(row, "--kernel") for row in text.strip().strip(";").split(";")]


def fill_value(text: str) -> float | str:
    """A number, or the name of a colour."""
    try:
        return float(text)
    except ValueError:
        return text
