"""Training recipes of C3: functions that return a frozen config."""

from __future__ import annotations

import dataclasses

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.c3.config import C3Config, LanguageConfig, published
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = ["C3Recipe", "MixConfig", "paper", "tiny"]


@config
class MixConfig:
    """Of what kinds the training samples are; what is left over is text to repeat, a whole chunk of it."""

    asked: float = 0.0
    """Share of the batches that are dialogues about scenes of the built-in world, told in words. The other shares are
    of the samples of the other batches."""
    turns: int = 20
    """Questions of such a dialogue."""

    random: float = 0.0
    """Share of strings of random tokens to repeat, which no knowledge of the language helps with."""
    told: float = 0.0
    """Share of such scenes, told in words, to repeat."""
    short: float = 0.0
    """Share of texts that are shorter than a chunk, of any length."""
    hidden: float = 0.0
    """Mean share of an answer's tokens that the decoder does not see when it says the next, so that it reads the
    latents instead of guessing from what came before; it differs from sample to sample."""

    def __post_init__(self) -> None:
        for name in ("asked", "random", "told", "short"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ConfigError(f"mix.{name} = {value} is out of range", do="choose a share from 0 to 1")
        if self.random + self.told > 1:
            raise ConfigError(
                f"mix.random + mix.told = {self.random + self.told:g} is more than all samples",
                do="choose smaller shares",
            )
        if self.turns < 1:
            raise ConfigError(f"mix.turns = {self.turns} is not positive", do="choose at least 1")
        if not 0 <= self.hidden <= 0.5:
            raise ConfigError(
                f"mix.hidden = {self.hidden} is out of range", do="choose a mean share from 0 to 0.5"
            )


@config
class C3Recipe:
    """A C3 and how to train it."""

    model: C3Config
    """Its sizes; of a learned vocabulary, size and special tokens are replaced by its own."""
    train: TrainConfig
    mix: MixConfig = MixConfig()
    words: int | None = None
    """Size of the vocabulary that is learned from the training texts; null: that of `initial`."""
    initial: str | None = None
    """Weights to start from: a checkpoint, or a folder in the published layout. Its sizes replace those of `model`."""
    loss_chunk: int | None = None
    """Positions whose logits are held at once; null holds all."""
    checkpointing: bool = False
    """Whether layers are computed again in the backward pass, for less memory."""

    def __post_init__(self) -> None:
        if (self.words is None) == (self.initial is None):
            raise ConfigError(
                "exactly one of words and initial is needed",
                do="set words for a model from scratch, or initial to a folder with weights and tokenizer",
            )


def tiny() -> C3Recipe:
    """About forty minutes on one CPU core: chunks of 128 tokens in 32 latents, four tokens each."""
    part = LanguageConfig(width=192, layers=2, heads=8, key_heads=8, hidden=512, rope_theta=10_000.0)
    return C3Recipe(
        model=C3Config(
            latents=32,
            stride=4,
            chunk=128,
            compressor=part,
            decoder=dataclasses.replace(part, layers=3),
            vocab_size=1024,
            image_start=3,
            image_end=4,
            image_pad=5,
            system="",
        ),
        words=1024,
        mix=MixConfig(asked=0.75, random=0.3, told=0.2, short=0.1, hidden=0.4),
        train=TrainConfig(
            steps=4000,
            optim=OptimConfig(
                optimizer="muon",
                lr=3e-3,
                momentum=0.95,
                warmup_steps=50,
                final_lr=0.02,
                beta2=0.95,
                weight_decay=0.01,
            ),
            batch_size=8,
            precision="fp32",
            threads=1,
            save_every=100,
            evaluate_every=250,
        ),
    )


def paper() -> C3Recipe:
    """As published: batches of 256, AdamW at 1e-5, cosine, 40,000 steps, no decay.

    The million pages of the paper were not published, and the weights to start from are Qwen2.5-1.5B and 3B; give a
    folder in the published layout with initial=FOLDER and pages with --data.
    """
    return C3Recipe(
        model=published(),
        initial="C3",
        train=TrainConfig(
            steps=40_000,
            optim=OptimConfig(lr=1e-5, warmup_steps=400, weight_decay=0.0, beta2=0.999, eps=1e-8),
            batch_size=256,
            accumulate=16,
            precision="bf16",
            workers=4,
            save_every=1000,
        ),
        loss_chunk=1024,
        checkpointing=True,
    )
