"""The measures against a naive programme and by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionsmith.papers.c3.measure import by_position, next_token_baseline, spread_out
from visionsmith.papers.c3.score import differences, edit_distance, edit_places, mean_score, score

SHORT = st.text(alphabet="ab ", max_size=8)


def naive(first: str, second: str) -> int:
    """The definition, by recursion."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        swap = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(swap, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(first), len(second))


@settings(max_examples=200, deadline=None)
@given(SHORT, SHORT)
def test_edit_distance_is_the_naive_one(first: str, second: str) -> None:
    assert edit_distance(first, second) == naive(first, second)
    right = edit_places(first, second)
    assert right.shape == (len(first),)
    # What an alignment does not keep is changed, lost or put in: one each at least, and no more than both texts' rest.
    lost, new = len(first) - right.sum(), len(second) - right.sum()
    assert max(lost, new) <= edit_distance(first, second) <= lost + new


def test_measures_by_hand() -> None:
    found = score("a b b c", "c a x")
    assert found["word_precision"] == pytest.approx(2 / 3), "a and c of a, c, x; the order does not count"
    assert found["word_recall"] == pytest.approx(2 / 3), "a and c of a, b, c"
    assert score("same", "same") == {"characters": 1, "word_precision": 1, "word_recall": 1, "exact": 1}
    assert score("abcd", "abxd")["characters"] == 0.75
    assert score("ab", "something else")["characters"] == 0, "never below 0"
    assert score("words", "") == {"characters": 0, "word_precision": 0, "word_recall": 0, "exact": 0}
    assert mean_score([score("a", "a"), score("a", "b")])["exact"] == 0.5


def test_letters_beyond_the_basic_plane() -> None:
    assert edit_distance("naïve 🦊 한", "naive 🦊 한") == 1


def test_errors_by_position() -> None:
    original = "0123456789abcdef"
    assert by_position([original], [original[:8]]) == [1, 1, 1, 1, 0, 0, 0, 0]
    assert edit_places("abc", "xabc").tolist() == [True, True, True]


def test_differences_name_the_first_ones() -> None:
    chunks = ["the first part ", "the second part ", "the third"]
    assert differences(chunks, chunks)["first"] == []
    found = differences(chunks, [chunks[0], "the seConnd part ", "tHe third"])
    assert [one["character"] for one in found["first"]] == [15 + 7, 31 + 2]
    assert found["exact"] == 0
    weights = [15, 16, 9]
    expected = [1, 1 - 2 / 16, 1 - 1 / 9]
    assert found["characters"] == pytest.approx(np.average(expected, weights=weights))


def test_places_are_spread_out() -> None:
    assert spread_out(100, 3) == [0, 50, 99] or spread_out(100, 3) == [0, 49, 99]
    assert spread_out(2, 8) == [0, 1]
    assert spread_out(1, 8) == [0]


def test_trigram_guesses_what_it_has_seen() -> None:
    train = np.array([1, 2, 3, 1, 2, 3, 1, 2, 4])
    assert next_token_baseline(train, [[1, 2, 3]])["tokens"] == 1, (
        "1 is commonest, 2 follows 1, 3 follows 1 2"
    )
    assert next_token_baseline(train, [[9, 9, 9]])["tokens"] == 0
