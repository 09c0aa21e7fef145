"""How well a C3 keeps texts that it has not seen: chunks restored free-running, questions, and baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from visionsmith.errors import DataError
from visionsmith.papers.c3.codec import Codec, Packed
from visionsmith.papers.c3.scenes import Told
from visionsmith.papers.c3.score import edit_places, mean_score, score
from visionsmith.papers.c3.speech import Speech

__all__ = [
    "HeldOut",
    "answers",
    "by_position",
    "fidelity",
    "join",
    "next_token_baseline",
    "position_plot",
    "spread_out",
    "unread",
]

PARTS = 8
"""Stretches of a chunk by which its errors are told."""
ANSWER = 16
"""Most tokens of an answer about a scene."""


def join(texts: Sequence[str], speech: Speech) -> np.ndarray:
    """The tokens of all texts behind one another, each after two line breaks: int64."""
    gap = speech.encode("\n\n")
    return np.array([token for text in texts for token in [*speech.encode(text), *gap]], dtype=np.int64)


class HeldOut:
    """Whole chunks of the test texts, evenly spread."""

    def __init__(self, stream: np.ndarray, chunk: int, count: int) -> None:
        """Choose the chunks.

        Args:
            stream: int64, tokens of the test texts.
            chunk: tokens a chunk.
            count: most chunks.

        Raises:
            DataError: the texts have not one chunk.
        """
        whole = len(stream) // chunk
        if not whole:
            raise DataError(
                f"the test texts have {len(stream):,} tokens, less than a chunk of {chunk}",
                do="give more text, or set model.chunk lower",
            )
        self.chunks = [
            stream[place * chunk : (place + 1) * chunk].tolist() for place in spread_out(whole, count)
        ]


def spread_out(total: int, count: int) -> list[int]:
    """At most `count` of `total` places, evenly spread, the first and the last among them."""
    places: list[int] = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()
    return places


def fidelity(codec: Codec, chunks: Sequence[Sequence[int]], *, progress: bool = False) -> dict[str, Any]:
    """Restore chunks and compare.

    Args:
        codec: its model in evaluation mode.
        chunks: tokens.
        progress: whether to show a bar.

    Returns:
        The measures of `score.score` (means over the chunks), "tokens" (share that stands in its place), "ratio"
        (tokens a latent), "characters_a_latent", "by_position" (see there).
    """
    packed = Packed(codec.compress_tokens(chunks), tuple(map(len, chunks)))
    restored = codec.restore_tokens(packed, progress=progress)
    texts = [codec.speech.decode(ids) for ids in chunks]
    found = [codec.speech.decode(ids) for ids in restored]
    same = [np.mean(np.array(ids) == np.array(own)) for ids, own in zip(restored, chunks, strict=True)]
    return {
        **mean_score([score(text, other) for text, other in zip(texts, found, strict=True)]),
        "tokens": float(np.mean(same)),
        "ratio": packed.ratio,
        "characters_a_latent": sum(map(len, texts)) / sum(map(len, packed.latents)),
        "by_position": by_position(texts, found),
    }


def by_position(texts: Sequence[str], restored: Sequence[str]) -> list[float]:
    """Share of the characters that came back, for each eighth of the texts from the first to the last."""
    rights = [edit_places(text, other) for text, other in zip(texts, restored, strict=True)]
    stretches = zip(*(np.array_split(right, PARTS) for right in rights), strict=True)
    return [float(np.concatenate(stretch).mean()) for stretch in stretches]


def position_plot(series: Mapping[str, Sequence[float]]) -> bytes:
    """Where in a chunk characters are lost, as a PNG.

    Args:
        series: by name, shares as `by_position` gives them.
    """
    from visionsmith.report.plots import curves

    lost = {
        name: (range(1, len(shares) + 1), [1 - share for share in shares]) for name, shares in series.items()
    }
    return curves(lost, x="eighth of the chunk, from its beginning", y="share of characters lost")


def answers(codec: Codec, asked: Sequence[Told]) -> dict[str, Any]:
    """Ask questions about scenes that are told in words, each of its own scene's latents.

    Returns:
        "exact" (share of answers right to the letter), "families" (the same by family), "unread" (the share when each
        question is asked of the next scene's latents), "majority" (the share of the commonest answer of each family).
    """
    # A model of small chunks hears the beginning, as in its training.
    chunks = [codec.speech.encode(told.text)[: codec.model.config.chunk] for told in asked]
    latents = codec.compress_tokens(chunks)
    true = [told.question.answer for told in asked]
    families = np.array([told.question.family for told in asked])

    def right(of: Sequence[Tensor]) -> np.ndarray:
        found = codec.ask(of, [told.question.text for told in asked], limit=ANSWER)
        return np.array([one.text == answer for one, answer in zip(found, true, strict=True)])

    own = right(latents)
    by_family = {
        name: [answer for answer, other in zip(true, families, strict=True) if other == name]
        for name in dict.fromkeys(families.tolist())
    }
    commonest = sum(Counter(answers).most_common(1)[0][1] for answers in by_family.values())
    return {
        "exact": float(own.mean()),
        "families": {name: float(own[families == name].mean()) for name in by_family},
        "unread": float(right([*latents[1:], latents[0]]).mean()),
        "majority": commonest / len(asked),
    }


def unread(codec: Codec, chunks: Sequence[Sequence[int]]) -> dict[str, float]:
    """The decoder as it is, given the latents of another chunk: what it restores without having read the text."""
    latents = codec.compress_tokens(chunks)
    turned = Packed((*latents[1:], latents[0]), tuple(map(len, chunks)))
    found = codec.restore_tokens(turned)
    decode = codec.speech.decode
    return mean_score([score(decode(ids), decode(other)) for ids, other in zip(chunks, found, strict=True)])


def next_token_baseline(
    train: np.ndarray, chunks: Sequence[Sequence[int]], *, order: int = 3
) -> dict[str, float]:
    """What knowledge of the language alone gives: the commonest next token after the true last `order - 1` tokens.

    It is shown the true text up to each token, which a free-running decoder is not. Where the longer history was never
    seen, the shorter one decides.

    Returns:
        "tokens": share of tokens guessed right.
    """
    best: list[dict[tuple[int, ...], int]] = []
    for size in range(order):
        counts: dict[tuple[int, ...], dict[int, int]] = {}
        for place in range(size, len(train)):
            history = tuple(train[place - size : place].tolist())
            following = counts.setdefault(history, {})
            following[int(train[place])] = following.get(int(train[place]), 0) + 1
        best.append(
            {history: max(following, key=following.__getitem__) for history, following in counts.items()}
        )
    right = total = 0
    for chunk in chunks:
        for place, token in enumerate(chunk):
            for size in range(min(order - 1, place), -1, -1):
                guess = best[size].get(tuple(chunk[place - size : place]))
                if guess is not None:
                    right += guess == token
                    break
            total += 1
    return {"tokens": right / total}
