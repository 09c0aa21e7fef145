"""How long the trainings of the shipped small models that see and speak take, from the time of their steps.

    python benchmarks/training_minutes.py [swimbird c3 ...] [--places 24] [--threads 1]

Of each training, steps at evenly spread places are done as the loop does them: samples, forward, backward, clipping
and the optimiser's update, in the precision that the recipe settles on. Each place is done twice, and the second
counts. The mean times the number of steps is the training's time but for its evaluations and checkpoints. A ratio above
1 is a training of less than 40 minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch

from _common import report
from visionsmith.data.sampler import RankBatches
from visionsmith.train.attention import quick_backward
from visionsmith.train.optim import make_optimizer, set_trainable
from visionsmith.train.precision import settle_precision
from visionsmith.train.recipe import TrainConfig
from visionsmith.train.task import Task

MINUTES = 40.0


def swimbird() -> tuple[Task, TrainConfig]:
    from visionsmith.papers.swimbird.recipes import tiny
    from visionsmith.papers.swimbird.train import make_task

    return make_task(tiny()), tiny().train


def c3() -> tuple[Task, TrainConfig]:
    from visionsmith.data.texts import open_texts
    from visionsmith.papers.c3.recipes import tiny
    from visionsmith.papers.c3.train import make_task

    return make_task(tiny(), open_texts(None)), tiny().train


SYSTEMS: dict[str, Callable[[], tuple[Task, TrainConfig]]] = {"swimbird": swimbird, "c3": c3}


def minutes(task: Task, config: TrainConfig, places: int, threads: int) -> tuple[float, list[float]]:
    """Of a whole training, and the seconds of a step at each of the places."""
    config = settle_precision(dataclasses.replace(config, threads=threads))
    torch.set_num_threads(threads)
    half = config.precision == "bf16"
    ends = np.cumsum([stage.steps for stage in config.schedule])
    seconds, stage_before = [], None
    # The middle of equal stretches, so that no stage counts more than its share.
    for step in ((np.arange(places) + 0.5) * config.total_steps / places).astype(int).tolist():
        stage = config.schedule[int(np.searchsorted(ends, step, side="right"))]
        if stage is not stage_before:
            set_trainable(task.objective, stage)
            optimizer = make_optimizer(task.objective, stage.optim, half=half)
            stage_before = stage
        for again in range(2):
            keys = iter(RankBatches(task.plan, start_step=step))
            began = time.perf_counter()
            batch = task.collate([task.dataset[key] for key in next(keys)])
            quick = quick_backward() if half else nullcontext()
            with torch.autocast("cpu", torch.bfloat16, enabled=half), quick:
                task.objective(batch)["loss"].backward()
            learning = [value for value in task.objective.parameters() if value.grad is not None]
            torch.nn.utils.clip_grad_norm_(learning, stage.optim.clip_norm or float("inf"))
            optimizer.step()
            optimizer.zero_grad()
            if again:
                seconds.append(time.perf_counter() - began)
    return float(np.mean(seconds)) * config.total_steps / 60, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", choices=[*SYSTEMS, []], default=[])
    parser.add_argument("--places", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    figures, ratios = {}, {}
    for name in given.systems or SYSTEMS:
        taken, seconds = minutes(*SYSTEMS[name](), given.places, given.threads)
        print(f"{name}: {taken:.1f} minutes")
        figures[name] = {"minutes": taken, "seconds_of_a_step": seconds}
        ratios[f"{name}_within_{MINUTES:.0f}_minutes"] = (MINUTES / taken, 1.0)
    report("training_minutes", figures, ratios)


if __name__ == "__main__":
    main()
