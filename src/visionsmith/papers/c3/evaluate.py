"""Measuring C3 on texts that it has not seen: how much comes back, where the errors lie, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.c3.codec import Codec

__all__ = ["evaluate", "random_tokens", "shuffled_words"]

CHUNKS = 128
"""Test chunks that are restored."""
ASKED = 800
"""Questions about scenes, a hundred of each family; and as many about new ones."""


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a C3.

    Args:
        checkpoint: its folder, or one in the published layout; None for the checkpoint that ships.
        data: texts, of which the test part is measured, as `data.texts.open_texts` takes them; None: the built-in ones.
        progress: whether to show a bar.

    Returns:
        Plain values: "text", "shuffled" and "random" (`measure.fidelity` of test chunks, of their words in another
        order, and of random tokens), "answers" and "new_answers"
        (`measure.answers`: questions about scenes told in words, the second of kinds and colours that training has not
        put together), "baseline" ("unread": the same decoder with
        another chunk's latents; "trigram": next tokens guessed from the true ones before), "model", "data".
    """
    from visionsmith.data.texts import open_texts
    from visionsmith.papers.c3.measure import (
        HeldOut,
        answers,
        fidelity,
        join,
        next_token_baseline,
        unread,
    )
    from visionsmith.papers.c3.run import load
    from visionsmith.papers.c3.scenes import known_questions, new_questions

    codec = load(checkpoint)
    texts = open_texts(data, progress=progress)
    train = join(texts.train, codec.speech)
    chunk = codec.model.config.chunk
    chunks = HeldOut(join(texts.test, codec.speech), chunk, CHUNKS).chunks
    return {
        "text": fidelity(codec, chunks, progress=progress),
        "shuffled": fidelity(codec, shuffled_words(codec, chunks), progress=progress),
        "random": fidelity(codec, random_tokens(codec, len(chunks), chunk), progress=progress),
        "answers": answers(codec, known_questions(ASKED)),
        "new_answers": answers(codec, new_questions(ASKED)),
        "baseline": {
            "unread": unread(codec, chunks),
            "trigram": next_token_baseline(train, chunks),
        },
        "model": {
            "checkpoint": str(checkpoint) if checkpoint else "shipped",
            "parameters": sum(parameter.numel() for parameter in codec.model.parameters()),
            "vocabulary": codec.model.config.vocab_size,
            "chunk": chunk,
            "latents": codec.model.config.latents_of(chunk),
        },
        "data": {"chunks": len(chunks), **texts.about},
    }


def shuffled_words(codec: Codec, chunks: Sequence[Sequence[int]], *, seed: int = 0) -> list[list[int]]:
    """The chunks with their words in random order, cut to the same number of tokens."""
    import numpy as np

    rng = np.random.default_rng(seed)
    found = []
    for chunk in chunks:
        words = codec.speech.decode(chunk).split()
        ids = codec.speech.encode(" ".join(words[place] for place in rng.permutation(len(words))))
        found.append(ids[: len(chunk)])
    return [ids for ids in found if ids]


def random_tokens(codec: Codec, count: int, length: int, *, seed: int = 0) -> list[list[int]]:
    """Strings of tokens drawn evenly from the vocabulary, special ones left out."""
    import numpy as np

    rng = np.random.default_rng(seed)
    strings: list[list[int]] = rng.choice(codec.speech.words, (count, length)).tolist()
    return strings
