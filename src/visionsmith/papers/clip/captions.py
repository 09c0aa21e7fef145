"""Captions as people write them: other names, articles, another order, a word less.

A caption is a head with details after commas, "woman farmer, dark skin tone". A small data set has one caption a
picture, in one style; without variety the text tower learns that style and stumbles over "a farmer with dark skin".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["reword"]


def reword(caption: str, meta: Mapping[str, Any], rng: np.random.Generator) -> str:
    """Say the same in other words.

    Args:
        caption: head and details, separated by ", ".
        meta: of the record; "aliases" lists other heads.
        rng: random stream.
    """
    head, *details = caption.split(", ")
    aliases = list(meta.get("aliases", ()))
    if aliases and rng.random() < 0.5:
        head = aliases[rng.integers(len(aliases))]
    words = head.split()
    if len(words) > 2 and rng.random() < 0.25:
        del words[rng.integers(1, len(words))]
    if details and rng.random() < 0.15:
        return " ".join([*details, *words])
    if words[0] not in _PLURAL and rng.random() < 0.5:
        words.insert(0, "the" if rng.random() < 0.25 else _article(words[0]))
    said = [_detail(detail, rng) for detail in details]
    joint = " and " if len(said) == 2 and rng.random() < 0.5 else " "
    return " ".join([*words, joint.join(said)]).strip()


_PLURAL = frozenset({"men", "women", "people"})


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"


def _detail(detail: str, rng: np.random.Generator) -> str:
    """From "dark skin tone" to the same, "with dark skin tone" or "with dark skin"; "red hair" likewise."""
    short = detail.removesuffix(" tone")
    forms = [detail, f"with {detail}", f"with {short}"] if short != detail else [detail, f"with {detail}"]
    return forms[rng.integers(len(forms))]
