"""Training recipes: functions that return a frozen config."""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.icedit.config import AdapterConfig, TransformerConfig
from visionsmith.train.recipe import OptimConfig, StageConfig, TrainConfig

__all__ = ["PUBLISHED_TEMPLATE", "EditRecipe", "FillerRecipe", "filler", "paper", "tiny"]

TEMPLATE = "side by side, the same picture, but {instruction}"
"""Of the prompt; `{instruction}` stands for what is asked for."""
PUBLISHED_TEMPLATE = (
    "A diptych with two side-by-side images of the same scene. On the right, the scene is exactly the same as on the "
    "left but {instruction}"
)
"""The prompt that published weights were trained with."""


@config
class FillerRecipe:
    """A model that fills half of a diptych, and how to train it."""

    transformer: TransformerConfig
    train: TrainConfig
    painter: str | None = None
    """A checkpoint of latent diffusion, whose autoencoder and text encoder are used; none: the one that ships."""
    drop_text: float = 0.1
    seen: float = 1.0
    """Weight of the half that may be seen, against 1 of the hidden one."""

    def __post_init__(self) -> None:
        _share("drop_text", self.drop_text)
        _share("seen", self.seen)


@config
class EditRecipe:
    """An adapter for edits beside a filler, and how to train it."""

    adapter: AdapterConfig
    train: TrainConfig
    train_filler: FillerRecipe | None = None
    """How a filler is trained first, where none is named."""
    filler: str | None = None
    """Used as it is: a checkpoint of this paper, or a folder of FLUX.1 Fill, or a hub id of one."""
    template: str = TEMPLATE
    drop_text: float = 0.1
    balance: float = 0.01
    """Weight of the error that keeps the experts equally busy."""
    shift: float = 1.0
    """Of the times that are trained at towards noise, see `flow_error`; 1: as published."""
    checkpointing: bool = False
    """Whether the filler's blocks are computed again in the backward pass, for less memory."""

    def __post_init__(self) -> None:
        _share("drop_text", self.drop_text)
        if self.shift <= 0:
            raise ConfigError(
                f"shift = {self.shift} is out of range", do="choose more than 0; 1 is as published"
            )
        if "{instruction}" not in self.template:
            raise ConfigError("the template has no {instruction}", do="say where the instruction stands")
        if self.filler is None and self.train_filler is None:
            raise ConfigError("there is no filler", do="name one with filler=FOLDER, or give train_filler")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} = {value} is out of range", do="choose 0 to 1")


def filler() -> FillerRecipe:
    """The small filler of `tiny` alone."""
    return FillerRecipe(
        transformer=TransformerConfig(
            heads=4,
            head_width=48,
            rotary=(8, 20, 20),
            dual=1,
            single=6,
            text_width=128,
            pooled_width=128,
            guidance=False,
        ),
        seen=0.1,
        train=TrainConfig(
            stages=(
                StageConfig(
                    name="filler",
                    steps=4000,
                    trainable=("transformer.*", "text_encoder.*"),
                    optim=OptimConfig(
                        optimizer="muon",
                        adamw_for=("*x_embedder*", "transformer.proj_out.weight", "*_embedding.weight"),
                        lr=2.5e-3,
                        momentum=0.95,
                        warmup_steps=100,
                        weight_decay=0.02,
                    ),
                ),
            ),
            batch_size=32,
            ema=0.998,
            precision="auto",
            threads=1,
            save_every=200,
        ),
    )


def tiny() -> EditRecipe:
    """From nothing on a laptop CPU: diptychs of two pictures of 64 px."""
    return EditRecipe(
        adapter=AdapterConfig(rank=16, alpha=16.0, experts=4),
        train=TrainConfig(
            steps=4000,
            optim=OptimConfig(
                optimizer="muon",
                adamw_for=("*lora_route*",),
                lr=4e-3,
                momentum=0.95,
                warmup_steps=50,
                beta2=0.99,
                weight_decay=0.01,
            ),
            batch_size=16,
            precision="auto",
            threads=1,
            save_every=200,
            evaluate_every=1000,
        ),
        train_filler=filler(),
        # DIFFERS: the first steps of the sampler decide what is edited. Published times are beyond 0.9 once in seventy
        # draws, these once in seven.
        shift=3.0,
    )


def paper() -> EditRecipe:
    """As published: four experts of rank 32 beside FLUX.1 Fill, batches of 16, some 53,000 edits (sec. 4.1).

    DIFFERS: AdamW in place of Prodigy, which finds its rate itself. How many steps were made is not published; these
    are three epochs.
    """
    return EditRecipe(
        filler="black-forest-labs/FLUX.1-Fill-dev",
        adapter=AdapterConfig(rank=32, alpha=32.0, experts=4),
        template=PUBLISHED_TEMPLATE,
        train=TrainConfig(
            steps=3 * 53_047 // 16,
            optim=OptimConfig(
                lr=1e-4, schedule="constant", warmup_steps=100, weight_decay=0.01, clip_norm=0.5
            ),
            batch_size=16,
            accumulate=8,
            precision="bf16",
            save_every=500,
            workers=4,
        ),
        checkpointing=True,
    )
