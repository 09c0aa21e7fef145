"""Training recipes: functions that return a frozen config."""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.unclip.config import PriorConfig
from visionsmith.train.recipe import OptimConfig, StageConfig, TrainConfig

__all__ = ["PriorRecipe", "UnclipRecipe", "paper", "prior", "prior_stage", "tiny"]

LEARNED = ("prior.[!c]*",)
"""All of a prior but `clip_mean` and `clip_std`: a loss in units of a deviation that learns falls by raising it."""


@config
class PriorRecipe:
    """A prior and how to train it."""

    model: PriorConfig
    train: TrainConfig
    clip: str | None = None
    """The CLIP whose embeddings are learned; none: the one that ships. Its sizes take the place of the model's."""
    reword: float = 0.5
    """Chance that a caption of a record with other names is said in other words."""
    drop_text: float = 0.1
    """Chance that the caption is left out, for guidance."""

    def __post_init__(self) -> None:
        for name in ("reword", "drop_text"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is out of range", do="choose 0 to 1")


@config
class UnclipRecipe:
    """A decoder with the prior before it, and how to train them."""

    prior: PriorRecipe
    """How a prior is trained first, where none is named."""
    train: TrainConfig
    """Of the decoder."""
    trained_prior: str | None = None
    """A checkpoint whose prior is used as it is."""
    base: str | None = None
    """The latent diffusion model that the decoder starts from; none: the one that ships."""
    extra_tokens: int = 4
    """Tokens that an embedding becomes beside the text's."""
    drop_embedding: float = 0.1
    """Chance that the embedding is left out (section 2.1)."""
    drop_text: float = 0.5
    """Chance that the text is left out (section 2.1)."""

    def __post_init__(self) -> None:
        for name in ("drop_embedding", "drop_text"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is out of range", do="choose 0 to 1")


def _muon(lr: float, warmup: int) -> OptimConfig:
    return OptimConfig(
        optimizer="muon",
        muon_convolutions=True,
        adamw_for=("*conv_in*", "*conv_out*"),
        lr=lr,
        momentum=0.95,
        warmup_steps=warmup,
        weight_decay=0.1,
    )


def prior_stage(steps: int, optim: OptimConfig) -> StageConfig:
    """A prior's training: everything learns but its statistics, which are measured."""
    return StageConfig(name="prior", steps=steps, trainable=LEARNED, optim=optim)


def prior() -> PriorRecipe:
    """A prior of the shipped CLIP's embeddings, in minutes on a laptop CPU."""
    return PriorRecipe(
        model=PriorConfig(heads=6, head_width=32, layers=4),
        train=TrainConfig(
            stages=(prior_stage(1000, _muon(3e-3, 50)),),
            batch_size=64,
            ema=0.998,
            threads=1,
            save_every=250,
            evaluate_every=500,
        ),
    )


def tiny() -> UnclipRecipe:
    """Both, on a laptop CPU: the decoder starts from the shipped latent diffusion model."""
    return UnclipRecipe(
        prior=prior(),
        train=TrainConfig(
            steps=1200,
            optim=_muon(1e-3, 50),
            batch_size=32,
            ema=0.998,
            precision="auto",
            threads=1,
            save_every=200,
            evaluate_every=400,
        ),
    )


def paper() -> PriorRecipe:
    """The prior as published (table in appendix C), at the sizes that the paper gives: 24 layers of 32 heads of 64."""
    return PriorRecipe(
        model=PriorConfig(layers=24),
        train=TrainConfig(
            stages=(
                prior_stage(
                    600_000,
                    OptimConfig(lr=1.1e-4, schedule="constant", beta2=0.96, weight_decay=0.06, eps=1e-6),
                ),
            ),
            batch_size=4096,
            accumulate=4,
            precision="bf16",
            ema=0.9999,
            workers=8,
        ),
        clip="openai/clip-vit-large-patch14",
        reword=0.0,
    )
