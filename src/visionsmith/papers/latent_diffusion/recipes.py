"""Training recipes: functions that return a frozen config."""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.latent_diffusion.config import (
    AutoencoderConfig,
    DenoiserConfig,
    LatentDiffusionConfig,
    NoiseConfig,
    TextConfig,
)
from visionsmith.train.recipe import OptimConfig, StageConfig, TrainConfig

__all__ = ["AutoencoderRecipe", "LatentDiffusionRecipe", "autoencoder", "paper", "tiny"]


@config
class AutoencoderRecipe:
    """An autoencoder and how to train it."""

    model: AutoencoderConfig
    train: TrainConfig
    edges: float = 0.5
    """Weight of the error of differences between neighbouring pixels."""
    kl: float = 1e-4
    """Weight of the pull of the latents towards N(0, 1)."""


@config
class LatentDiffusionRecipe:
    """A latent diffusion model and how to train it."""

    model: LatentDiffusionConfig
    train: TrainConfig
    train_autoencoder: TrainConfig | None = None
    """How an autoencoder is trained first, where none is named."""
    autoencoder: str | None = None
    """A checkpoint, or a folder of diffusers, whose autoencoder is used as it is."""
    text: str | None = None
    """A CLIP that reads the captions, frozen: a checkpoint or a folder of transformers; none: the one that ships."""
    reword: float = 0.5
    """Chance that a caption of a record with other names is said in other words."""
    drop_text: float = 0.1
    """Chance that the caption is left out, for guidance without a classifier."""
    min_snr: float | None = None
    """Cut of the loss weights (Hang et al. 2023, arXiv:2303.09556), or none: the error of the prediction as it is."""
    initial: str | None = None
    """A checkpoint to start from; its sizes, autoencoder and text encoder take the place of the recipe's."""

    def __post_init__(self) -> None:
        for name in ("reword", "drop_text"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is out of range", do="choose 0 to 1")
        if self.initial is None and self.autoencoder is None and self.train_autoencoder is None:
            raise ConfigError(
                "there is no autoencoder", do="name one with autoencoder=FOLDER, or give train_autoencoder"
            )


AUTOENCODER = AutoencoderConfig(
    widths=(16, 32, 64), layers=1, groups=8, attention=False, image_size=64, scale=1.0
)


def _train_autoencoder(steps: int) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        optim=OptimConfig(
            optimizer="muon",
            muon_convolutions=True,
            adamw_for=("*conv_in*", "*conv_out*", "*quant_conv*"),
            lr=4e-3,
            momentum=0.95,
            warmup_steps=30,
            weight_decay=0.01,
        ),
        batch_size=16,
        threads=1,
        save_every=250,
        evaluate_every=250,
    )


def tiny() -> LatentDiffusionRecipe:
    """From nothing on a laptop CPU: pictures of 64 px, latents of 16 x 16 x 4."""
    return LatentDiffusionRecipe(
        model=LatentDiffusionConfig(
            autoencoder=AUTOENCODER,
            # Read off the CLIP that ships.
            text=TextConfig(),
            denoiser=DenoiserConfig(widths=(64, 128), attends=(False, True), layers=1, heads=4, groups=16),
            noise=NoiseConfig(prediction="v_prediction", zero_snr=True),
        ),
        train=TrainConfig(
            stages=(
                StageConfig(
                    name="denoiser",
                    steps=2800,
                    trainable=("unet.*",),
                    optim=OptimConfig(
                        optimizer="muon",
                        muon_convolutions=True,
                        adamw_for=("*conv_in*", "*conv_out*"),
                        lr=2.5e-3,
                        momentum=0.95,
                        warmup_steps=100,
                        weight_decay=0.05,
                    ),
                ),
            ),
            batch_size=32,
            ema=0.999,
            # A quarter faster where the processor has it.
            precision="auto",
            threads=1,
            save_every=200,
            evaluate_every=700,
        ),
        train_autoencoder=_train_autoencoder(2500),
    )


def autoencoder() -> AutoencoderRecipe:
    """The autoencoder of `tiny` alone."""
    return AutoencoderRecipe(model=AUTOENCODER, train=_train_autoencoder(2500))


def paper() -> LatentDiffusionRecipe:
    """Stable Diffusion 1's sizes; the autoencoder is the published one, the text is read by CLIP ViT-L/14."""
    return LatentDiffusionRecipe(
        model=LatentDiffusionConfig(),
        train=TrainConfig(
            stages=(
                StageConfig(
                    name="denoiser",
                    steps=237_000,
                    trainable=("unet.*",),
                    optim=OptimConfig(
                        lr=1e-4, schedule="constant", warmup_steps=10_000, beta2=0.999, weight_decay=0.01
                    ),
                ),
            ),
            batch_size=2048,
            accumulate=2,
            precision="bf16",
            ema=0.9999,
            workers=8,
        ),
        autoencoder="stable-diffusion-v1-5/stable-diffusion-v1-5",
        text="openai/clip-vit-large-patch14",
    )
