"""A task at several sizes, and its training in the processes that torchrun starts."""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tests.train.launch import require_silence
from tests.train.toys import toy_config
from visionsmith.data.multiscale import MultiScale, MultiScaleBatches, SizedDataset
from visionsmith.data.sampler import generator
from visionsmith.train import loop
from visionsmith.train.run_folder import RunFolder
from visionsmith.train.task import Export, Task

SCALES = MultiScale(size=8, lowest=4, highest=12, count=3, multiple=4, divisor=4)
PICTURES = np.random.default_rng(5).normal(size=(90, 3, 24, 24)).astype(np.float32)


class Pictures(Dataset):
    """Averages over squares, and a little noise of the sample's own stream."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, key):
        epoch, index = key
        small = (
            PICTURES[index].reshape(3, self.size, 24 // self.size, self.size, 24 // self.size).mean((2, 4))
        )
        return small + generator(0, epoch, index).normal() * 0.1, index % 3


def collate(samples):
    pictures, labels = zip(*samples, strict=True)
    return {
        "pictures": torch.from_numpy(np.stack(pictures).astype(np.float32)),
        "labels": torch.tensor(labels),
    }


class Objective(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(self.model(batch["pictures"]), batch["labels"])}


def toy_task() -> Task:
    torch.manual_seed(0)
    return Task(
        paper="toy",
        objective=Objective(),
        dataset=SizedDataset(Pictures, SCALES.sizes),
        plan=MultiScaleBatches(range(len(PICTURES)), 16, 0, scales=SCALES),
        collate=collate,
        export=lambda state: Export(config={}, tensors=state, files={}),
    )


def main(folder: str, settings: str) -> None:
    config = toy_config(**json.loads(settings))
    run = RunFolder(Path(folder))
    if os.environ["RANK"] == "0":
        run.start(paper="toy", data=None, recipe=config, resume=True)
    loop.fit(toy_task(), config, run, progress=False)
    from accelerate.state import AcceleratorState

    # Without this, two runs side by side would look like one of two.
    assert AcceleratorState().distributed_type.value == "MULTI_CPU", AcceleratorState().distributed_type


if __name__ == "__main__":
    atexit.register(require_silence)
    main(*sys.argv[1:])
