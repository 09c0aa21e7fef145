"""Training recipes of SwimBird: functions that return a frozen config."""

from __future__ import annotations

import dataclasses

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.swimbird.chat import SYSTEM
from visionsmith.papers.swimbird.config import SwimBirdConfig, TextConfig, VisionConfig
from visionsmith.train.recipe import OptimConfig, StageConfig, TrainConfig

__all__ = ["ROUND", "SwimBirdRecipe", "paper", "tiny"]

ROUND = 50
"""Batches of the endless built-in world that count as an epoch; a stage is a multiple of it."""


@config
class SwimBirdRecipe:
    """A SwimBird and how to train it."""

    model: SwimBirdConfig
    train: TrainConfig
    system: str = SYSTEM
    """What every dialogue begins with."""
    vocabulary: int = 640
    """Tokens that are learned from the built-in texts; a model that is started from brings its own."""
    side: int = 72
    """Of the built-in pictures, pixels."""
    name_steps: int = 0
    """Steps at the beginning, on single things that are cut out, and their names."""
    sight_steps: int = 0
    """Steps after them, on captions and plain answers: what the published model brings from Qwen3-VL."""
    lesson: int = 150
    """Steps of sight after which pictures may hold one thing more, five at most; the first show one."""
    caption_share: float = 0.6
    """Of the samples of these steps: captions; the others are questions with an answer at once."""
    looks: bool = True
    """Whether the built-in exercises are reasoned with looks; without them words alone are left, an ablation."""
    initial: str | None = None
    """A checkpoint, a SwimBird or a Qwen3-VL folder to start from."""

    def __post_init__(self) -> None:
        for name in ("name_steps", "sight_steps"):
            if (steps := getattr(self, name)) % ROUND:
                raise ConfigError(f"{name} = {steps} is no multiple of {ROUND}", do="choose one, or 0")
        if self.lesson < 1:
            raise ConfigError(f"lesson = {self.lesson} is not positive", do="choose at least 1")
        if not 0 <= self.caption_share <= 1:
            raise ConfigError(
                f"caption_share = {self.caption_share} is out of range", do="choose a share from 0 to 1"
            )


def tiny() -> SwimBirdRecipe:
    """From nothing on a laptop CPU: it learns names, then to see and speak, then, with the tower frozen, to think."""
    names, sight, think = 150, 1800, 1600
    # With Muon names are learned within a hundred steps; AdamW was not tried on them.
    optim = OptimConfig(
        optimizer="muon", lr=6e-3, momentum=0.95, warmup_steps=50, beta2=0.98, weight_decay=0.2, final_lr=0.2
    )
    # At the rate that is best for names, places are not learned: the tower changes faster than what reads it.
    slower = dataclasses.replace(optim, lr=2e-3)
    return SwimBirdRecipe(
        model=SwimBirdConfig(
            vision=VisionConfig(
                depth=4,
                hidden_size=96,
                intermediate_size=256,
                num_heads=4,
                # A token of a picture is one of its three by three places.
                patch_size=12,
                num_position_embeddings=36,
                deepstack_visual_indexes=(1,),
            ),
            text=TextConfig(
                vocab_size=640,
                hidden_size=128,
                intermediate_size=384,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=32,
                max_position_embeddings=1024,
                mrope_section=(6, 5, 5),
                rope_theta=10_000.0,
            ),
            tie_word_embeddings=True,
            # The learned vocabulary begins with the special tokens, in the order of `chat.SPECIAL`.
            end_id=2,
            vision_start_id=3,
            vision_end_id=4,
            image_id=5,
            latent_id=6,
            latent_start_id=7,
            latent_end_id=8,
            max_latent_token=9,
            # A larger picture is seen at the size of the built-in ones.
            max_image_token=9,
            # DIFFERS: a place that was never supervised says anything, and a small model says it often.
            supervise_stay=True,
        ),
        train=TrainConfig(
            stages=(
                StageConfig(name="names", steps=names, optim=optim),
                StageConfig(name="sight", steps=sight, optim=slower),
                # The tower and its mergers are frozen, as published.
                StageConfig(
                    name="think",
                    steps=think,
                    trainable=("model.qwen.model.language_model.*",),
                    optim=dataclasses.replace(slower, final_lr=0.02),
                ),
            ),
            batch_size=32,
            precision="fp32",
            threads=1,
            save_every=100,
            log_every=10,
            evaluate_every=450,
        ),
        system="",
        name_steps=names,
        sight_steps=sight,
    )


def paper() -> SwimBirdRecipe:
    """As published: Qwen3-VL-8B, one epoch of 92,300 samples in batches of 128 (sec. 4.1)."""
    steps = 92_300 // 128
    return SwimBirdRecipe(
        model=SwimBirdConfig(),
        train=TrainConfig(
            stages=(
                StageConfig(
                    name="think",
                    steps=steps,
                    trainable=("model.qwen.model.language_model.*", "model.qwen.lm_head.*"),
                    optim=OptimConfig(lr=1e-5, warmup_steps=steps // 10, weight_decay=0.1, beta2=0.999),
                ),
            ),
            batch_size=128,
            accumulate=16,
            precision="bf16",
            workers=8,
        ),
        initial="Qwen/Qwen3-VL-8B-Instruct",
    )
