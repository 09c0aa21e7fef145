from __future__ import annotations

from pathlib import Path

import pytest

from visionsmith.data.queries import balance, build_queries, read_queries
from visionsmith.errors import ConfigError, DataError


def test_cap_holds_for_every_query_and_rare_texts_stay() -> None:
    texts = ["a red car"] * 50 + ["a blue car"] * 3 + ["nothing here"] * 5
    found = balance(texts, ["red", "blue"], cap=10)
    assert found.by_query == {"red": 10, "blue": 3}
    assert len(found.kept) == 13
    assert {50, 51, 52} <= set(found.kept)
    assert found.matched == 53
    assert found.seen == 58


def test_a_text_stays_while_any_of_its_queries_has_room() -> None:
    texts = ["red car"] * 5 + ["red bicycle"]
    found = balance(texts, ["red", "bicycle"], cap=1, seed=3)
    assert 5 in found.kept
    assert found.by_query["bicycle"] == 1
    assert found.by_query["red"] == 1


def test_phrases_match_words_in_a_row_only() -> None:
    found = balance(["a hot dog", "a dog that is hot", "HOT   Dog!", "hotdog"], ["hot dog"])
    assert found.kept == [0, 2]


def test_the_kept_texts_are_a_random_sample_and_repeat_with_the_seed() -> None:
    texts = ["car"] * 100
    first, again, other = (balance(texts, ["car"], cap=10, seed=seed).kept for seed in (1, 1, 2))
    assert first == again != other
    assert max(first) > 30, "a full query must not hold the first texts only"


def test_build_queries() -> None:
    texts = ["san francisco is a city", "the city of san francisco", "a city a day"] * 40 + ["rare word"]
    queries = build_queries(texts, min_count=80, min_pair_count=80, min_information=2.0)
    assert {"city", "san", "francisco", "a", "san francisco"} <= set(queries)
    assert "rare" not in queries
    assert "a city" not in queries, "words that merely meet often carry little information about each other"


def test_read_queries(tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("# words\nred car\n\n blue \n")
    assert read_queries(file) == ["red car", "blue"]
    file.write_text("# nothing\n")
    with pytest.raises(DataError, match="holds no query"):
        read_queries(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_queries(tmp_path / "absent.txt")


@pytest.mark.parametrize(("queries", "cap"), [([], 5), ([" "], 5), (["red"], 0)])
def test_mistakes(queries: list[str], cap: int) -> None:
    with pytest.raises(ConfigError):
        balance(["red"], queries, cap=cap)
