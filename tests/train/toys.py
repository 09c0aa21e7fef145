"""A small two-tower task: every feature of the loop, milliseconds a step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from visionsmith.data.sampler import ShuffledBatches, generator
from visionsmith.losses.contrastive import distributed_contrastive_loss
from visionsmith.train.recipe import OptimConfig, TrainConfig
from visionsmith.train.task import Export, Task


class ToyPairs(Dataset):
    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(5)
        self.left = rng.normal(size=(64, 6)).astype(np.float32)
        self.right = rng.normal(size=(64, 6)).astype(np.float32)
        self.seed = seed

    def __getitem__(self, key):
        epoch, index = key
        noise = generator(self.seed, epoch, index).normal(size=6).astype(np.float32)
        return self.left[index] + 0.1 * noise, self.right[index]


def toy_collate(pairs):
    left, right = zip(*pairs, strict=True)
    return {"left": torch.from_numpy(np.stack(left)), "right": torch.from_numpy(np.stack(right))}


class ToyObjective(nn.Module):
    """Couples the samples of a batch, draws random numbers (dropout), and keeps running statistics (batch norm)."""

    def __init__(self, *, dropout: float = 0.1, norm: bool = True) -> None:
        super().__init__()
        self.left = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.Dropout(dropout)
        )
        self.right = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8))
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(*self.features(batch))

    def features(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return tuple(
            nn.functional.normalize(tower(batch[name]), dim=-1)
            for name, tower in (("left", self.left), ("right", self.right))
        )

    def loss(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"loss": distributed_contrastive_loss(left, right, self.logit_scale).loss}


class ToyLate(ToyObjective):
    """Has a layer that nothing goes through in the first steps, so that it has no gradient then."""

    FIRST = 7

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Linear(6, 6)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.seen += 1
        if self.seen >= self.FIRST:
            batch = {**batch, "left": self.late(batch["left"])}
        return super().forward(batch)


class ToyCounted(nn.Module):
    """A mean over the positive entries of `right`, of which every micro-batch has another number."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(6, 6)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))

    def counts(self, batch: dict[str, Tensor]) -> Tensor:
        return (batch["right"] > 0).sum()[None].float()

    def forward(self, batch: dict[str, Tensor], counts: Tensor | None = None) -> dict[str, Tensor]:
        errors = (self.logit_scale * self.left(batch["left"]) - batch["right"]).square() * (
            batch["right"] > 0
        )
        return {"loss": errors.sum() / (self.counts(batch) if counts is None else counts)[0]}


def toy_task(
    seed: int = 0, batch_size: int = 16, counted: bool = False, late: bool = False, **objective
) -> Task:
    torch.manual_seed(seed)
    model = ToyCounted() if counted else ToyLate() if late else ToyObjective(**objective)
    return Task(
        paper="toy",
        objective=model,
        dataset=ToyPairs(seed),
        plan=ShuffledBatches(range(64), batch_size, seed),
        collate=toy_collate,
        export=lambda state: Export(config={"width": 8}, tensors=state, files={}),
        after_step=lambda: model.logit_scale.data.clamp_(max=4.6),
        evaluate=lambda: {"scale": float(model.logit_scale), "random": float(torch.rand(()))},
    )


def toy_config(**changes) -> TrainConfig:
    values = {
        "steps": 12,
        "batch_size": 16,
        "ema": 0.9,
        "save_every": 3,
        "log_every": 2,
        "threads": 1,
        "optim": OptimConfig(lr=1e-2, warmup_steps=2),
    }
    return TrainConfig(**(values | changes))
