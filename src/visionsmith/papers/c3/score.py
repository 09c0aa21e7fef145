"""How much of a text came back.

| measure          | what it is                                                                                      |
|------------------|-------------------------------------------------------------------------------------------------|
| `characters`     | 1 - edit distance / characters of the original, at least 0: insertions, losses and swaps count  |
| `word_precision` | share of the distinct words of the restored text that the original has, the Fox benchmark's own |
| `word_recall`    | share of the distinct words of the original that the restored text has                          |
| `exact`          | whether it is the original                                                                      |

Fox's precision, which the paper and DeepSeek-OCR report, compares sets of words: it does not see their order, nor what
is missing. So `characters` is the figure to trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

__all__ = ["Score", "differences", "edit_distance", "edit_places", "mean_score", "score"]

AROUND = 16
"""Characters shown on either side of a difference."""
MOST = 5
"""Differences that are told."""

Score = dict[str, float]
"""The measures of the module's table."""


def score(original: str, restored: str) -> Score:
    """Measure one text; each figure is from 0 to 1."""
    true, found = set(original.split()), set(restored.split())
    both = len(true & found)
    return {
        "characters": max(0.0, 1 - edit_distance(original, restored) / max(1, len(original))),
        "word_precision": both / len(found) if found else float(not true),
        "word_recall": both / len(true) if true else 1.0,
        "exact": float(original == restored),
    }


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean over texts, as Fox takes it over pages."""
    return {name: sum(one[name] for one in scores) / len(scores) for name in scores[0]}


def edit_distance(first: str, second: str) -> int:
    """Least number of characters to put in, leave out or exchange that turns one text into the other."""
    return int(_table(first, second, keep=False)[-1][-1])


def edit_places(original: str, restored: str) -> np.ndarray:
    """Which characters of the original came back: bool, one a character, by a best alignment."""
    rows = _table(original, restored, keep=True)
    right = np.zeros(len(original), dtype=bool)
    i, j = len(original), len(restored)
    while i and j:
        if original[i - 1] == restored[j - 1] and rows[i][j] == rows[i - 1][j - 1]:
            right[i - 1] = True
            i, j = i - 1, j - 1
        elif rows[i][j] == rows[i - 1][j - 1] + 1:
            i, j = i - 1, j - 1
        elif rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return right


def differences(originals: Sequence[str], restored: Sequence[str]) -> dict[str, Any]:
    """Measures of a text that was restored in chunks, and where it first differs.

    Args:
        originals: the chunks.
        restored: what came back of each.

    Returns:
        The measures of the module's table, weighted by length ("exact" of the whole), and "first": of the first chunks
        that differ the first difference: its character in the whole text, and what stands there in either.
    """
    scores = [score(own, found) for own, found in zip(originals, restored, strict=True)]
    sizes = [max(1, len(own)) for own in originals]
    weighted = {
        name: sum(one[name] * size for one, size in zip(scores, sizes, strict=True)) / sum(sizes)
        for name in scores[0]
    }
    first: list[dict[str, Any]] = []
    start = 0
    for own, found in zip(originals, restored, strict=True):
        if own != found and len(first) < MOST:
            place, other = _first_difference(own, found)
            first.append(
                {
                    "character": start + place + 1,
                    "original": own[max(0, place - AROUND) : place + AROUND],
                    "restored": found[max(0, other - AROUND) : other + AROUND],
                }
            )
        start += len(own)
    return {**weighted, "exact": float(list(originals) == list(restored)), "first": first}


def _first_difference(own: str, found: str) -> tuple[int, int]:
    for kind, place, _, other, _ in SequenceMatcher(None, own, found, autojunk=False).get_opcodes():
        if kind != "equal":
            return place, other
    raise AssertionError("the texts are equal")


def _table(first: str, second: str, *, keep: bool) -> list[np.ndarray]:
    """The rows of the dynamic programme, or its last one alone."""
    other = np.frombuffer(second.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    places = np.arange(len(other) + 1)
    row = places.copy()
    rows = [row]
    for number, letter in enumerate(first):
        step = np.empty_like(row)
        step[0] = number + 1
        step[1:] = np.minimum(row[1:] + 1, row[:-1] + (other != ord(letter)))
        # Each further character put in costs one: the least of what lies to the left, with the way from there.
        row = np.minimum.accumulate(step - places) + places
        if keep:
            rows.append(row)
    return rows if keep else [row]
