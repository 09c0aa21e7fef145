"""Training recipes of LLaVA: functions that return a frozen config.

`tiny` makes everything from nothing: `tower` trains a small CLIP and `language` a small Llama, each also a preset of
its own, and the two stages of the paper join them. The paper's sizes start from published weights (sec. 4 and 5).
"""

from __future__ import annotations

import dataclasses

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.llava.config import LanguageConfig, LlavaConfig, TowerConfig, llava_7b, llava_13b
from visionsmith.papers.llava.instruct import InstructConfig
from visionsmith.train.recipe import OptimConfig, StageConfig, TrainConfig

__all__ = [
    "LanguageRecipe", "LlavaRecipe", "LoraConfig", "TowerRecipe", "language", "paper_7b", "paper_13b", "quick", "tiny",
    "tower",
]  # fmt: skip

WORDS = 512
"""Size of the small model's vocabulary."""


@config
class TowerRecipe:
    """A small CLIP, of which the vision tower is kept."""

    model: TowerConfig
    train: TrainConfig
    """A batch is counted in groups of four pictures."""
    said: int = 3
    """Captions of a picture; each names one thing."""
    lesson: int = 250
    """Steps after which pictures may hold one thing more, five at most."""
    singles: int = 2
    """Lessons whose pictures show a single thing."""
    text_width: int = 96
    """Width of the text tower, which is thrown away."""
    embed: int = 192
    """Width of the space that pictures and captions share."""

    def __post_init__(self) -> None:
        for name in ("said", "lesson", "singles", "text_width", "embed"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} = {value} is not positive", do="choose at least 1")


@config
class LanguageRecipe:
    """A small Llama that learns to answer from scenes told in words."""

    model: LanguageConfig
    train: TrainConfig
    mix: InstructConfig = InstructConfig(detail=0.1, reasoning=0.1, conversation=0.8)


@config
class LoraConfig:
    """Low-rank updates in place of the language model's own weights in the second stage."""

    rank: int = 128
    alpha: int = 256
    """The update is scaled by alpha / rank."""
    dropout: float = 0.05

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"rank = {self.rank} and dropout = {self.dropout} are out of range",
                do="choose a rank of at least 1 and a dropout from 0 to below 1",
            )


@config
class LlavaRecipe:
    """A LLaVA and how to train it."""

    model: LlavaConfig
    train: TrainConfig
    """Stages `align`, `read` and `instruct`, or some of them in this order; the paper has the first and the last."""
    mix: InstructConfig = InstructConfig()
    """What the built-in conversations are made of."""
    pictures: int = 2048
    """Captioned pictures of the first stage, where they are built in."""
    keep_features: bool = True
    """Whether what the tower sees in the pictures of the first stage is kept on disk and not computed again."""
    tower: str | None = None
    """Vision tower to start from: a checkpoint of the preset `tower`, or a CLIP folder of transformers. Its sizes
    replace those of the model."""
    language: str | None = None
    """Language model to start from: a checkpoint of the preset `language`, or a Llama folder of transformers."""
    initial: str | None = None
    """A whole LLaVA to start from, in any layout that `run` takes."""
    lora: LoraConfig | None = None
    words: int = WORDS
    """Size of the vocabulary that is learned where no tokenizer comes with the language model."""
    loss_chunk: int | None = None
    """Most positions whose logits are held at once; null holds all supervised ones."""
    tower_recipe: TowerRecipe | None = None
    """How to make the tower, when `tower` names none."""
    language_recipe: LanguageRecipe | None = None
    """How to make the language model, when `language` names none."""


def tower() -> TowerRecipe:
    """The small vision tower: pictures of 72 px in 36 patches, trained as CLIP with captions of single things."""
    return TowerRecipe(
        model=TowerConfig(
            image_size=72, patch_size=12, width=128, hidden=384, layers=4, heads=4, activation="gelu"
        ),
        train=TrainConfig(
            steps=3000,
            # Muon came in two minutes nearly as far as AdamW in 39 on a slower machine (docs/log.md).
            optim=OptimConfig(
                optimizer="muon", lr=6e-3, momentum=0.95, warmup_steps=50, weight_decay=0.05, beta2=0.98
            ),
            batch_size=16,
            precision="auto",
            threads=1,
            save_every=200,
            evaluate_every=500,
        ),
    )


def language() -> LanguageRecipe:
    """The small language model: four blocks of width 128 that learn from scenes told in words."""
    return LanguageRecipe(
        model=LanguageConfig(
            vocab_size=WORDS,
            width=128,
            hidden=256,
            layers=4,
            heads=4,
            context=512,
            tied=True,
            # The usual 0.02 is for widths of thousands.
            initial_std=0.06,
        ),
        train=TrainConfig(
            steps=300,
            optim=OptimConfig(
                optimizer="muon",
                lr=6e-3,
                momentum=0.95,
                warmup_steps=50,
                weight_decay=0.05,
                beta2=0.95,
                final_lr=0.05,
            ),
            batch_size=16,
            precision="auto",
            threads=1,
            save_every=100,
        ),
    )


def tiny() -> LlavaRecipe:
    """Everything from nothing: tower, language model, and the paper's two stages."""
    first, second = tower(), language()
    both = OptimConfig(
        optimizer="muon", lr=3e-3, momentum=0.95, warmup_steps=50, weight_decay=0.2, beta2=0.95
    )
    return LlavaRecipe(
        model=LlavaConfig(
            vision=first.model,
            language=second.model,
            image_token=2,
            start_token=1,
            end_token=3,
            # Its conversations are short, and the published words before them are not.
            system="",
        ),
        tower_recipe=first,
        language_recipe=second,
        mix=InstructConfig(conversation=0.8, detail=0.1, reasoning=0.1, two_pictures=0.1),
        train=TrainConfig(
            stages=(
                StageConfig(
                    name="align",
                    steps=100,
                    trainable=("*projector*",),
                    optim=OptimConfig(lr=3e-3, warmup_steps=20, weight_decay=0.0, beta2=0.95),
                ),
                # DIFFERS: the paper's language model can read whatever is put among its words. A small one that was
                # trained for minutes has first to learn that there is something to read.
                StageConfig(
                    name="read",
                    steps=600,
                    trainable=("*projector*", "*language*"),
                    optim=dataclasses.replace(both, final_lr=0.5),
                ),
                StageConfig(
                    name="instruct",
                    steps=7000,
                    trainable=("*projector*", "*language*"),
                    # DIFFERS: 2e-5 keeps what a large language model knows; this one has yet to learn most of it.
                    optim=both,
                ),
            ),
            batch_size=16,
            precision="auto",
            threads=1,
            save_every=200,
            evaluate_every=1000,
        ),
    )


def quick() -> LlavaRecipe:
    """`tiny` with a third of the conversations."""
    recipe = tiny()
    stages = tuple(
        dataclasses.replace(stage, steps=2500) if stage.name == "instruct" else stage
        for stage in recipe.train.stages
    )
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, stages=stages))


def _paper(model: LlavaConfig, *, llama: str) -> LlavaRecipe:
    """Sec. 4.2 and 5: 595K captions, then 158K conversations; AdamW without decay, cosine, 3 % of warm-up."""
    align, instruct = 595_000 // 128, 3 * 158_000 // 128
    return LlavaRecipe(
        model=model,
        tower="openai/clip-vit-large-patch14",
        language=llama,
        loss_chunk=2048,
        # 595,000 pictures x 256 patches x 1,024 numbers of two bytes would be 312 GB.
        keep_features=False,
        train=TrainConfig(
            stages=(
                StageConfig(
                    name="align",
                    steps=align,
                    trainable=("*projector*",),
                    optim=OptimConfig(
                        lr=2e-3, warmup_steps=align * 3 // 100, weight_decay=0.0, beta2=0.999, eps=1e-8
                    ),
                ),
                StageConfig(
                    name="instruct",
                    steps=instruct,
                    trainable=("*projector*", "*language*"),
                    optim=OptimConfig(
                        lr=2e-5, warmup_steps=instruct * 3 // 100, weight_decay=0.0, beta2=0.999, eps=1e-8
                    ),
                ),
            ),
            batch_size=128,
            precision="bf16",
            workers=8,
            save_every=500,
        ),
    )


def paper_7b() -> LlavaRecipe:
    """CLIP ViT-L/14 and Vicuna 7B, as published."""
    return _paper(llava_7b(), llama="lmsys/vicuna-7b-v1.1")


def paper_13b() -> LlavaRecipe:
    """CLIP ViT-L/14 and Vicuna 13B, as published."""
    return _paper(llava_13b(), llama="lmsys/vicuna-13b-v1.1")
