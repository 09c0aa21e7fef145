from __future__ import annotations

import numpy as np

from visionsmith.papers.clip.captions import reword


def said(caption: str, times: int = 400, **meta) -> set[str]:
    rng = np.random.default_rng(0)
    return {reword(caption, meta, rng) for _ in range(times)}


def test_variants_of_a_person() -> None:
    found = said("man running, dark skin tone", aliases=["running man"])
    assert {
        "man running dark skin tone",
        "a man running with dark skin",
        "the man running with dark skin tone",
        "running man dark skin tone",
        "a running man with dark skin",
        "dark skin tone man running",
        "dark skin tone running man",
    } <= found
    assert all("dark skin" in text and "man" in text and "running" in text for text in found)


def test_articles_fit() -> None:
    found = said("astronaut")
    assert found == {"astronaut", "an astronaut", "the astronaut"}
    assert not any(text.startswith("a ") for text in said("women wrestling"))


def test_a_long_head_may_lose_a_word_but_never_its_first() -> None:
    found = said("flag of Japan")
    assert {"flag of", "flag Japan", "a flag of Japan"} <= found
    assert all(" ".join(text.split()[-2:]) != "of Japan" or "flag" in text for text in found)


def test_two_details() -> None:
    found = said("men wrestling, light skin tone, dark skin tone")
    assert "men wrestling with light skin and with dark skin" in found
    assert all(text.index("light") < text.index("dark") for text in found), (
        "the order of two people must stay"
    )


def test_the_same_stream_says_the_same() -> None:
    texts = [
        reword("man running, dark skin tone", {}, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4, 5)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 2
