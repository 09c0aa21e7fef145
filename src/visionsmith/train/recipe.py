"""Settings of the loop, the same for every paper."""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["OptimConfig", "StageConfig", "TrainConfig"]


def _require(name: str, value: object, holds: bool, do: str) -> None:
    if not holds:
        raise ConfigError(f"{name} = {value!r} is out of range", do=do)


@config
class OptimConfig:
    """The optimiser and its learning-rate schedule."""

    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """"muon": Muon for the matrices of linear layers, AdamW for the rest; see `train.muon`."""
    adamw_for: tuple[str, ...] = ("*head*",)
    """Of Muon: name patterns of weights of linear layers that AdamW updates all the same."""
    muon_convolutions: bool = False
    """Whether Muon also updates the weights of convolutions, as matrices of outputs by inputs and places."""
    lr: float = 5e-4
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant", "step"] = "cosine"
    """How the rate falls after the warm-up."""
    warmup_steps: int = 0
    """Steps over which the rate rises linearly."""
    initial_lr: float = 0.0
    """Rate before the first step of the warm-up, as a share of the peak."""
    final_lr: float = 0.0
    """Rate at the last step, as a share of the peak. Of a "step" schedule: the factor at each of `drops`."""
    drops: tuple[float, ...] = ()
    """Where a "step" schedule multiplies the rate by `final_lr`, as shares of the stage's steps."""
    beta1: float = 0.9
    """Of AdamW."""
    beta2: float = 0.98
    """Of AdamW."""
    eps: float = 1e-6
    """Of AdamW."""
    momentum: float = 0.9
    """Of SGD and of Muon, whose usual one is 0.95."""
    weight_decay: float = 0.2
    """Decoupled in AdamW and Muon, added to the gradient in SGD."""
    decay_all: bool = False
    """Whether gains, biases, embeddings of one dimension and temperatures decay too; else they are spared."""
    clip_norm: float | None = 1.0
    """Largest norm of the gradient over all parameters, or none."""

    def __post_init__(self) -> None:
        _require("lr", self.lr, self.lr > 0, "choose a positive rate")
        _require("warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "choose 0 or more")
        _require("initial_lr", self.initial_lr, 0 <= self.initial_lr <= 1, "choose a share from 0 to 1")
        _require("momentum", self.momentum, 0 <= self.momentum < 1, "choose 0 <= momentum < 1")
        _require(
            "drops", self.drops, all(0 < place < 1 for place in self.drops), "choose shares between 0 and 1"
        )
        _require("final_lr", self.final_lr, 0 <= self.final_lr <= 1, "choose a share from 0 to 1")
        _require("beta1", self.beta1, 0 <= self.beta1 < 1, "choose 0 <= beta1 < 1")
        _require("beta2", self.beta2, 0 <= self.beta2 < 1, "choose 0 <= beta2 < 1")


@config
class StageConfig:
    """A stretch of steps with its own trainable parameters and optimiser."""

    name: str = "main"
    steps: int
    """Optimiser steps of this stage."""
    trainable: tuple[str, ...] = ("*",)
    """Name patterns (`visual.*`) of the parameters that learn; the others are frozen."""
    optim: OptimConfig = OptimConfig()

    def __post_init__(self) -> None:
        _require("steps", self.steps, self.steps >= 1, "choose at least 1")


@config
class TrainConfig:
    """How long, how large, how often."""

    steps: int = 1000
    """Optimiser steps."""
    optim: OptimConfig = OptimConfig()
    stages: tuple[StageConfig, ...] = ()
    """Several stretches with settings of their own, in place of `steps` and `optim`."""
    batch_size: int = 256
    """Samples of one optimiser step over all processes and micro-batches."""
    accumulate: int = 1
    """Micro-batches a step in each process; exact also for losses that couple the samples of a batch."""
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    """Compute type under autocast; the weights stay float32. "auto": bf16 where the machine has it, else fp32."""
    ema: float | None = None
    """Decay of the moving average of the weights, or none. The average is what is evaluated and exported."""
    workers: int = 0
    """Loader processes."""
    threads: int | None = None
    """CPU threads of torch, or its default. Part of what makes a run repeatable bit for bit."""
    seed: int = 0
    log_every: int = 10
    """Steps between lines of the log."""
    save_every: int = 200
    """Steps between checkpoints that a run can resume from."""
    keep: int = 2
    """How many of those checkpoints stay."""
    evaluate_every: int = 0
    """Steps between evaluations; 0: at the end only."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every", "save_every", "keep"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "choose at least 1")
        _require("workers", self.workers, self.workers >= 0, "choose 0 or more")
        _require("ema", self.ema, self.ema is None or 0 < self.ema < 1, "choose 0 < ema < 1, or null")

    @property
    def schedule(self) -> tuple[StageConfig, ...]:
        """The stages; one of `steps` steps when none are named."""
        return self.stages or (StageConfig(steps=self.steps, optim=self.optim),)

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.schedule)
