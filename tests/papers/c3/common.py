"""A C3 of a few thousand weights, and its vocabulary."""

from __future__ import annotations

import dataclasses

import torch
from tokenizers import Tokenizer

from visionsmith.config import override
from visionsmith.papers.c3.codec import Codec
from visionsmith.papers.c3.config import C3Config, LanguageConfig
from visionsmith.papers.c3.model import C3
from visionsmith.papers.c3.recipes import C3Recipe, tiny
from visionsmith.papers.c3.speech import SPECIAL
from visionsmith.papers.vocabulary import learn_byte_pairs

WORDS = [
    *("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"),
    *("while", "seven", "wizards", "mix", "bright", "potions", "in", "old", "jars"),
]


def vocabulary() -> Tokenizer:
    return learn_byte_pairs([" ".join(WORDS)] * 3, size=320, special=SPECIAL)


def config(*, stride: int | None = 4, **settings) -> C3Config:
    """Two layers each, of other widths and with shared keys in the decoder."""
    plain = C3Config(
        vocab_size=320,
        latents=6,
        stride=stride,
        chunk=24,
        compressor=LanguageConfig(width=16, layers=2, heads=4, key_heads=2, hidden=24, rope_theta=100.0),
        decoder=LanguageConfig(width=24, layers=2, heads=4, key_heads=2, hidden=40, rope_theta=100.0),
        image_start=3,
        image_end=4,
        image_pad=5,
    )
    return dataclasses.replace(plain, **settings)


def model(*, stride: int | None = 4, **settings) -> C3:
    """Random weights, large enough that outputs depend on every input."""
    made = C3(config(stride=stride, **settings))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


def codec(*, stride: int | None = 4) -> Codec:
    return Codec(model(stride=stride), vocabulary())


def mini(**settings) -> C3Recipe:
    """The tiny recipe, smaller still."""
    part = {"width": 64, "layers": 1, "heads": 4, "key_heads": 4, "hidden": 64}
    base = {
        "model": {"latents": 4, "stride": 4, "chunk": 16, "compressor": part, "decoder": part},
        "words": 300,
        "train": {"steps": 4, "batch_size": 8, "save_every": 2, "log_every": 1, "evaluate_every": 0},
    }
    return override(override(tiny(), base), [f"{key}={value}" for key, value in settings.items()])
