"""Query-balanced data sets (CLIP, Radford et al. 2021, sec. 2.2).

The paper searched for pairs whose text contains one of 500,000 queries, and kept at most 20,000 pairs a query, so that
frequent things do not crowd out rare ones. The queries were the words that occur at least 100 times in the English
Wikipedia, two-word phrases of high pointwise mutual information, names of frequent articles, and WordNet synsets; the
first two are built here from any text.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from visionsmith.errors import ConfigError, DataError

__all__ = ["Balance", "balance", "build_queries", "read_queries"]

CAP = 20_000
"""Pairs a query, as in the paper."""

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text, in lower case; hyphens and apostrophes inside a word stay."""
    return _WORD.findall(text.lower())


def build_queries(
    texts: Iterable[str], *, min_count: int = 100, min_pair_count: int = 100, min_information: float = 5.0
) -> list[str]:
    """Queries from texts: frequent words, and two-word phrases whose words belong together.

    Args:
        texts: any text, e.g. the captions themselves.
        min_count: occurrences of a word.
        min_pair_count: occurrences of a phrase.
        min_information: least pointwise mutual information of a phrase, bits.

    Returns:
        Words and phrases, most frequent first within each kind.
    """
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for text in texts:
        found = words(text)
        singles.update(found)
        pairs.update(pairwise(found))
    total, total_pairs = sum(singles.values()), sum(pairs.values())

    def information(pair: tuple[str, str], count: int) -> float:
        return math.log2(count / total_pairs * total / singles[pair[0]] * total / singles[pair[1]])

    frequent = [word for word, count in singles.most_common() if count >= min_count]
    phrases = [
        " ".join(pair)
        for pair, count in pairs.most_common()
        if count >= min_pair_count and information(pair, count) >= min_information
    ]
    return frequent + phrases


def read_queries(path: Path) -> list[str]:
    """Queries from a text file, one a line; blank lines and lines that begin with # are left out.

    Raises:
        DataError: the file cannot be read, or holds no query.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "cannot be read as text", where=path, do="give a file with one query a line"
        ) from error
    queries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not queries:
        raise DataError("holds no query", where=path, do="write one query a line")
    return queries


@dataclass
class Balance:
    """Which texts are kept, and how the queries filled up."""

    kept: list[int] = field(default_factory=list)
    """Places of the kept texts, ascending."""
    by_query: Counter[str] = field(default_factory=Counter)
    """Kept texts of each query; a text counts for every query that had room for it."""
    matched: int = 0
    """Texts that contain at least one query."""
    seen: int = 0


def balance(texts: Sequence[str], queries: Sequence[str], *, cap: int = CAP, seed: int = 0) -> Balance:
    """Keep a text when at least one of the queries that it contains still has room.

    The texts are visited in a random order, so that a full query holds a fair sample of its texts.

    Args:
        texts: captions.
        queries: words or phrases; a text contains a query when its words contain the query's words in a row.
        cap: most texts a query is credited with.
        seed: of the order.

    Raises:
        ConfigError: there is no query, or the cap is not positive.
    """
    if cap < 1:
        raise ConfigError(f"cap = {cap} is not positive", do="choose at least 1")
    known = {tuple(words(query)): query for query in queries}
    known.pop((), None)
    if not known:
        raise ConfigError("there are no queries", do="give at least one word")
    longest = max(map(len, known))
    result = Balance(seen=len(texts))
    for place in np.random.default_rng(seed).permutation(len(texts)).tolist():
        contained = {known[run] for run in _runs(words(texts[place]), longest) if run in known}
        result.matched += bool(contained)
        open_queries = [query for query in contained if result.by_query[query] < cap]
        if open_queries:
            result.kept.append(place)
            result.by_query.update(open_queries)
    result.kept.sort()
    return result


def _runs(found: list[str], longest: int) -> Iterator[tuple[str, ...]]:
    for start in range(len(found)):
        for end in range(start + 1, min(start + longest, len(found)) + 1):
            yield tuple(found[start:end])
