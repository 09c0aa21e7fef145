"""What the paper says of C3, measured by short trainings of the `tiny` model, three seeds at each of three ratios."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.papers.claim import Claim, apart, mean, spread

if TYPE_CHECKING:
    from visionsmith.papers.c3.recipes import C3Recipe

__all__ = ["claims", "short_recipe"]

COMMAND = "visionsmith claims c3"
SEEDS = (0, 1, 2)
STEPS = 300
STRIDES = (2, 4, 8)
"""Tokens a latent; the paper's N = 100, 64 and 32 are ratios of 13, 20 and 41 on pages of 1,300 tokens."""
MIDDLE = 4
"""The ratio at which position and order are looked at."""
CHUNKS = 64
"""Test chunks that are restored."""
ALMOST = 0.05
"""Share of the tokens by which random text may be restored worse and still count as "almost as well"."""

Found = dict[tuple[int, str], list[float]]
"""Stride and measure -> value by seed."""


def claims(*, output: Path | None = None, progress: bool = True) -> Sequence[Claim]:
    """Check the claims.

    Args:
        output: where the trainings stay; one that is there already is used again. None: a temporary folder.
        progress: whether to show bars.
    """
    from visionsmith.data.texts import open_texts
    from visionsmith.papers.c3.train import make_task
    from visionsmith.papers.trials import Trials

    texts = open_texts(None, progress=progress)
    found: Found = {}
    with tempfile.TemporaryDirectory(prefix="visionsmith-claims-") as scratch:
        trials = Trials(output or Path(scratch), "c3", progress=progress)
        for stride in STRIDES:
            for seed in SEEDS:
                recipe = short_recipe(stride, seed)
                name = f"stride{stride}-seed{seed}"
                trials.fit(name, recipe, lambda recipe=recipe: make_task(recipe, texts))  # type: ignore[misc]
                for measure, value in _measure(trials.folder / name / "model", texts, seed).items():
                    found.setdefault((stride, measure), []).append(value)
    return [_ratio(found), _position(found), _order(found), _cached(found)]


def short_recipe(stride: int, seed: int) -> C3Recipe:
    """The tiny recipe of one training of the claims: its chunks, with latents for `stride` tokens each."""
    from visionsmith.config import override
    from visionsmith.papers.c3.recipes import tiny
    from visionsmith.train.precision import settle_precision

    base = tiny()
    settings = {
        "model": {"stride": stride, "latents": base.model.chunk // stride},
        "mix": {"asked": 0.0, "told": 0.0, "random": 0.4},
        "train": {"steps": STEPS, "seed": seed, "evaluate_every": 0},
    }
    recipe = override(base, settings)
    return dataclasses.replace(recipe, train=settle_precision(recipe.train))


def _measure(model: Path, texts: Any, seed: int) -> dict[str, float]:
    """Shares of tokens and characters that come back, by kind of text and place, and whether latents are stable."""
    from visionsmith.papers.c3.evaluate import random_tokens, shuffled_words
    from visionsmith.papers.c3.measure import HeldOut, fidelity, join
    from visionsmith.papers.c3.run import load

    codec = load(model)
    chunk = codec.model.config.chunk
    chunks = HeldOut(join(texts.test, codec.speech), chunk, CHUNKS).chunks
    text = fidelity(codec, chunks)
    others = {
        "shuffled": shuffled_words(codec, chunks, seed=seed),
        "random": random_tokens(codec, len(chunks), chunk, seed=seed),
    }
    # In the order of their batches, and one by one: as a file gives them back, and as they would be made again.
    kept = codec.compress_tokens(chunks[:8])
    again = [codec.compress_tokens([ids])[0] for ids in chunks[:8]]
    apart_by = max(float((one - other).abs().max()) for one, other in zip(kept, again, strict=True))
    return {
        "characters": float(text["characters"]),
        "tokens": float(text["tokens"]),
        "first": float(text["by_position"][0]),
        "last": float(text["by_position"][-1]),
        "difference": apart_by,
        **{name: float(fidelity(codec, some)["tokens"]) for name, some in others.items()},
    }


def _ratio(found: Found) -> Claim:
    shares = {stride: found[stride, "characters"] for stride in STRIDES}
    return Claim(
        statement="The more tokens a latent stands for, the less of the text comes back.",
        source="table 1",
        paper="98.4 % precision at about 20 tokens a latent, 93.3 % at about 40 (Fox, English pages)",
        measured="; ".join(f"{stride} tokens: {spread(share)}" for stride, share in shares.items()),
        holds=all(apart(shares[fewer], shares[more]) for fewer, more in pairwise(STRIDES)),
        command=COMMAND,
        note=f"characters restored of {CHUNKS} held-out chunks, free-running; {STEPS} steps from scratch, "
        f"{len(SEEDS)} seeds. So short a training says how fast a ratio is learned, not what it can hold",
        values=tuple((f"characters_{stride}", mean(share)) for stride, share in shares.items()),
    )


def _position(found: Found) -> Claim:
    first, last = found[MIDDLE, "first"], found[MIDDLE, "last"]
    return Claim(
        statement="Errors gather at the end of the text.",
        source="section on the form of forgetting",
        paper="shown in examples; no figure at hand",
        measured=f"first eighth of a chunk {spread(first)}, last eighth {spread(last)} of the characters right",
        holds=apart(first, last),
        command=COMMAND,
        note=f"at {MIDDLE} tokens a latent. These latents have places of their own in the text (stride), which the "
        "published ones have not",
        values=(("first", mean(first)), ("last", mean(last))),
    )


def _order(found: Found) -> Claim:
    text, shuffled, random = (found[MIDDLE, name] for name in ("tokens", "shuffled", "random"))
    return Claim(
        statement="Shuffled and random text is restored almost as well: the latents are a code, not a memory of prose.",
        source="section on random text",
        paper="shown in examples; no figure at hand",
        measured=f"tokens in place: text {spread(text)}, shuffled words {spread(shuffled)}, random tokens "
        f"{spread(random)}",
        holds=all(mean(text) - mean(other) <= ALMOST for other in (shuffled, random)),
        command=COMMAND,
        note=f"at {MIDDLE} tokens a latent; holds: neither is worse by more than {ALMOST:.0%} of the tokens. Of "
        "the training samples 40 % were random tokens",
        values=(("text", mean(text)), ("shuffled", mean(shuffled)), ("random", mean(random))),
    )


def _cached(found: Found) -> Claim:
    most = max(value for stride in STRIDES for value in found[stride, "difference"])
    return Claim(
        statement="Latents can be kept: those of a file are those that would be computed again.",
        source="figure 2: the queries come last and see the text, which does not see them",
        paper="by construction",
        measured=f"largest difference between latents computed in a batch and alone: {most:.1e}",
        holds=most < 1e-4,
        command=COMMAND,
        note="a file keeps them in float16, of which `compress --verify` shows the cost",
        values=(("difference", most),),
    )
