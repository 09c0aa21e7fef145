"""Who chooses between two edits: the early filter's judge (sec. 3.4; there a vision-language model of 72B)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from visionsmith.papers.endpoint import Endpoint

__all__ = ["QUESTION", "ClipJudge", "EndpointJudge", "Judge", "NearestJudge", "tournament"]

QUESTION = (
    "The first picture is the original. The second and the third are two edits of it for the instruction: "
    "'{instruction}'. Which edit follows the instruction better and leaves the rest alone? Answer 1 or 2."
)


class Judge(Protocol):
    """Compares two edits."""

    def second_wins(
        self, source: np.ndarray, instruction: str, first: np.ndarray, second: np.ndarray
    ) -> bool:
        """Whether the second edit is better. Pictures: RGB uint8 `h w 3`."""


def tournament(judge: Judge, source: np.ndarray, instruction: str, edits: Sequence[np.ndarray]) -> int:
    """The place of the best of several edits: the champion meets one after the other, in one comparison fewer."""
    best = 0
    for place in range(1, len(edits)):
        if judge.second_wins(source, instruction, edits[best], edits[place]):
            best = place
    return best


class NearestJudge:
    """Knows the true picture: the edit that is nearer to it wins. For measuring how much a perfect judge would give."""

    def __init__(self, truth: np.ndarray) -> None:
        """`truth`: RGB uint8 `h w 3`."""
        self.truth = truth.astype(np.int16)

    def second_wins(
        self, source: np.ndarray, instruction: str, first: np.ndarray, second: np.ndarray
    ) -> bool:
        """See `Judge`."""
        return bool(np.abs(second - self.truth).mean() < np.abs(first - self.truth).mean())


class ClipJudge:
    """The CLIP of the project: the edit that agrees better with a caption of the result wins."""

    def __init__(self, caption: str) -> None:
        """`caption`: what the result should show, in words. An instruction is none, and says little to a CLIP."""
        from visionsmith.papers.clip import load

        self.clip, self.caption = load(), caption

    def second_wins(
        self, source: np.ndarray, instruction: str, first: np.ndarray, second: np.ndarray
    ) -> bool:
        """See `Judge`."""
        text: Tensor = self.clip.encode_texts([self.caption])[0]
        agreement = self.clip.encode_images(np.stack((first, second))) @ text
        return bool(agreement[1] > agreement[0])


class EndpointJudge:
    """A vision-language model behind an OpenAI-compatible endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def second_wins(
        self, source: np.ndarray, instruction: str, first: np.ndarray, second: np.ndarray
    ) -> bool:
        """See `Judge`.

        Raises:
            EndpointError: the endpoint is down or refuses; names it. An answer that names neither edit keeps the first.
        """
        shown = [self.endpoint.image(picture) for picture in (source, first, second)]
        asked = {"type": "text", "text": QUESTION.format(instruction=instruction)}
        reply = self.endpoint.chat([{"role": "user", "content": [*shown, asked]}])
        named = re.search(r"[12]", reply.text)
        return named is not None and named[0] == "2"
