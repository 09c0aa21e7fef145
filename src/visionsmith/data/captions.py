"""What the captions of a data set are like: their lengths, words and repetitions."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter

__all__ = ["CaptionFigures"]

MOST_WORDS = 1_000_000
"""Different words that are counted at a time; at more, those that came once so far are forgotten."""
KEPT_CHARACTERS = 200
"""Beginning of a repeated caption that is kept."""

_WORD = re.compile(r"\w+(?:['’\-]\w+)*")


class CaptionFigures:
    """Figures of captions, taken in one by one; of each caption three numbers are kept."""

    def __init__(self) -> None:
        self.characters = array("q")
        """Lengths, one entry a caption; likewise below."""
        self.words = array("q")
        self.vocabulary: Counter[str] = Counter()
        """Words in lower case, and how often they came."""
        self.repeated: Counter[str] = Counter()
        """Captions that came more than once (their beginnings), and how often."""
        self._seen: set[int] = set()

    def add(self, caption: str) -> None:
        """Take in a caption that is not empty."""
        words = _WORD.findall(caption.lower())
        self.characters.append(len(caption))
        self.words.append(len(words))
        self.vocabulary.update(words)
        if len(self.vocabulary) > MOST_WORDS:
            self.vocabulary = Counter({word: count for word, count in self.vocabulary.items() if count > 1})
        digest = int.from_bytes(hashlib.sha256(caption.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        if digest in self._seen:
            text = caption[:KEPT_CHARACTERS]
            self.repeated[text] += 1 if text in self.repeated else 2
        self._seen.add(digest)
