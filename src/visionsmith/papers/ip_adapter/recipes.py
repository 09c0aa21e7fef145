"""Training recipes: functions that return a frozen config."""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.ip_adapter.config import DropConfig, Form, ResamplerConfig, Variant
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = ["IPAdapterRecipe", "paper", "tiny"]


@config
class IPAdapterRecipe:
    """An adapter and how to train it; the sizes of its layers are read off the base and the encoder."""

    train: TrainConfig
    variant: Variant = "base"
    form: Form = "decoupled"
    tokens: int = 4
    """Image tokens of a picture."""
    resampler: ResamplerConfig = ResamplerConfig()
    """Of the variant "plus"."""
    base: str | None = None
    """Checkpoint of latent diffusion, folder of diffusers (Stable Diffusion or Flux) or hub id; none: the checkpoint
    that ships."""
    encoder: str | None = None
    """Folder of transformers with a CLIP vision tower, or hub id; none: the CLIP that ships."""
    drop: DropConfig = DropConfig()
    reword: float = 0.0
    """Chance that a caption of a record with other names is said in other words."""
    checkpointing: bool = False
    """Whether the base's blocks are computed again in the backward pass, for less memory."""

    def __post_init__(self) -> None:
        if not 0 <= self.reword <= 1:
            raise ConfigError(f"reword = {self.reword} is out of range", do="choose 0 to 1")


def tiny() -> IPAdapterRecipe:
    """On the latent diffusion model that ships, with the CLIP that ships: minutes on a laptop CPU."""
    return IPAdapterRecipe(
        # DIFFERS: the built-in captions say all that a picture shows, and leave little to learn from it. With the
        # published rates and AdamW, 23 % of what was painted without a text was nearest to its prompt.
        drop=DropConfig(text=0.6),
        reword=0.5,
        train=TrainConfig(
            steps=1300,
            optim=OptimConfig(
                optimizer="muon",
                adamw_for=(),
                lr=3e-3,
                momentum=0.95,
                warmup_steps=50,
                beta2=0.99,
                weight_decay=0.01,
            ),
            batch_size=32,
            precision="auto",
            threads=1,
            save_every=250,
            evaluate_every=650,
        ),
    )


def paper() -> IPAdapterRecipe:
    """As published for Stable Diffusion 1.5 (sec. 4.1.2): CLIP ViT-H/14, 8 pictures on each of 8 GPUs."""
    return IPAdapterRecipe(
        base="stable-diffusion-v1-5/stable-diffusion-v1-5",
        encoder="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        train=TrainConfig(
            steps=1_000_000,
            optim=OptimConfig(
                lr=1e-4, schedule="constant", beta2=0.999, eps=1e-8, weight_decay=0.01, decay_all=True
            ),
            batch_size=64,
            precision="fp16",
            save_every=2000,
            evaluate_every=20_000,
            workers=8,
        ),
    )
