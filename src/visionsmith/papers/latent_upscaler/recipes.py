"""Training recipes: functions that return a frozen config."""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.latent_upscaler.config import UpscalerConfig
from visionsmith.train.recipe import OptimConfig, StageConfig, TrainConfig

__all__ = ["UpscalerRecipe", "paper", "tiny"]

LEARNS = (
    "unet.conv_in.*",
    "unet.conv_out.*",
    "unet.time_embedding.*",
    "unet.down_blocks.*",
    "unet.up_blocks.*",
)
"""All but the frequencies of the time, which are drawn once, and the text encoder."""


@config
class UpscalerRecipe:
    """An upscaler and how to train it; its channels and text width are read off the base."""

    model: UpscalerConfig
    train: TrainConfig
    log_mean: float = 0.7
    """Mean of the logarithm of the noise levels. Higher than for painting: the small latents say nearly all, and what
    the first steps estimate from them is what the picture comes to."""
    log_std: float = 1.2
    drop_text: float = 0.1
    """Chance that the caption is left out."""

    def __post_init__(self) -> None:
        if not 0 <= self.drop_text <= 1:
            raise ConfigError(f"drop_text = {self.drop_text} is out of range", do="choose 0 to 1")
        if self.log_std <= 0:
            raise ConfigError(f"log_std = {self.log_std} is out of range", do="choose a positive one")


def tiny() -> UpscalerRecipe:
    """On a laptop CPU: from pictures of 64 px to 128 px, latents of 16 x 16 to 32 x 32."""
    return UpscalerRecipe(
        model=UpscalerConfig(
            widths=(64, 64), attends=(False, True), layers=2, head_width=32, text_width=128, sample_size=32
        ),
        train=TrainConfig(
            stages=(
                StageConfig(
                    name="upscaler",
                    steps=2000,
                    trainable=LEARNS,
                    optim=OptimConfig(
                        optimizer="muon",
                        muon_convolutions=True,
                        adamw_for=("*conv_in*", "*conv_out*"),
                        lr=2.5e-3,
                        momentum=0.95,
                        warmup_steps=60,
                        weight_decay=0.02,
                    ),
                ),
            ),
            batch_size=8,
            ema=0.998,
            threads=1,
            save_every=250,
            evaluate_every=500,
        ),
    )


def paper() -> UpscalerRecipe:
    """The published sizes. How the published weights were trained is not published: the settings are plain ones."""
    return UpscalerRecipe(
        model=UpscalerConfig(base="stable-diffusion-v1-5/stable-diffusion-v1-5"),
        train=TrainConfig(
            stages=(
                StageConfig(
                    name="upscaler",
                    steps=500_000,
                    trainable=LEARNS,
                    optim=OptimConfig(lr=1e-4, schedule="constant", warmup_steps=10_000, weight_decay=0.01),
                ),
            ),
            batch_size=256,
            precision="bf16",
            ema=0.9999,
            workers=8,
        ),
    )
