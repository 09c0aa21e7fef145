"""Accumulation and several processes give the gradients of one large batch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train.test_resume import ROOT, launch, train
from tests.train.toys import toy_config
from visionsmith import checkpoint
from visionsmith.errors import CheckpointError

PLAIN = {"dropout": 0.0, "norm": False}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "model").tensors()


def assert_close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float) -> None:
    assert left.keys() == right.keys()
    worst = max(float((left[name] - right[name]).abs().max()) for name in left)
    assert worst < tolerance, f"weights differ by {worst}"


def torchrun(folder: Path, processes: int, *extra: str, **options) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
        *("-m", "tests.train.launch", str(folder), json.dumps(options)),
    ]
    environment |= dict(item.split("=") for item in extra)
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    # The launcher's own summary comes last; what went wrong in a process stands before it.
    assert done.returncode == 0, done.stderr


def test_accumulation_is_exact_for_a_loss_that_couples_the_batch(tmp_path: Path) -> None:
    train(tmp_path / "whole", toy_config(), **PLAIN)
    train(tmp_path / "parts", toy_config(accumulate=4), **PLAIN)
    assert_close(weights(tmp_path / "whole"), weights(tmp_path / "parts"), 1e-6)


def test_accumulation_repeats_the_random_numbers_of_its_first_pass(tmp_path: Path) -> None:
    # With dropout the second pass must meet the masks of the first, or the gradient belongs to other features.
    from accelerate import Accelerator

    from tests.train.toys import toy_task
    from visionsmith.train.step import Stepper, backward

    accelerator = Accelerator()
    task = toy_task(dropout=0.5, norm=False)
    stepper = Stepper(task.objective)
    batch = task.collate([task.dataset[(0, index)] for index in range(16)])
    parts = [{name: value[start : start + 4] for name, value in batch.items()} for start in range(0, 16, 4)]

    torch.manual_seed(3)
    backward(accelerator, stepper, parts)
    cached = [parameter.grad.clone() for parameter in stepper.parameters()]
    stepper.zero_grad()
    torch.manual_seed(3)
    features = [task.objective.features(part) for part in parts]
    task.objective.loss(*(torch.cat(pieces) for pieces in zip(*features, strict=True)))["loss"].backward()
    for name, parameter, gradient in zip(
        dict(stepper.named_parameters()), stepper.parameters(), cached, strict=True
    ):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6), name


def test_batch_norm_statistics_move_once_a_step(tmp_path: Path) -> None:
    run = train(tmp_path / "parts", toy_config(accumulate=4, ema=None))
    tracked = checkpoint.read(run.model).tensors()["left.1.num_batches_tracked"]
    assert int(tracked) == 12 * 4


def test_two_processes_equal_one(tmp_path: Path) -> None:
    train(tmp_path / "one", toy_config(), **PLAIN)
    torchrun(tmp_path / "two", 2, expect="MULTI_CPU", **PLAIN)
    assert_close(weights(tmp_path / "one"), weights(tmp_path / "two"), 1e-6)


def test_two_processes_with_accumulation_equal_one(tmp_path: Path) -> None:
    train(tmp_path / "one", toy_config(), **PLAIN)
    torchrun(tmp_path / "two", 2, expect="MULTI_CPU", train={"accumulate": 2}, **PLAIN)
    assert_close(weights(tmp_path / "one"), weights(tmp_path / "two"), 1e-6)


def test_parts_that_hold_unequal_counts_equal_one_batch(tmp_path: Path) -> None:
    train(tmp_path / "one", toy_config(), counted=True)
    torchrun(tmp_path / "two", 2, expect="MULTI_CPU", train={"accumulate": 2}, counted=True)
    assert_close(weights(tmp_path / "one"), weights(tmp_path / "two"), 1e-6)

    def logged(folder: Path) -> list[float]:
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [line["loss"] for line in map(json.loads, lines) if "loss" in line]

    assert logged(tmp_path / "one") == pytest.approx(logged(tmp_path / "two"), abs=1e-5)


def test_two_sharded_processes_equal_one(tmp_path: Path) -> None:
    train(tmp_path / "one", toy_config(), **PLAIN)
    torchrun(tmp_path / "two", 2, expect="MULTI_CPU", shard=True, **PLAIN)
    assert_close(weights(tmp_path / "one"), weights(tmp_path / "two"), 1e-6)
    # A sharded run resumes too: all but the first state are lost, and the end is the same to the bit.
    whole = weights(tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "model")
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "step-00000012")
    torchrun(tmp_path / "two", 2, expect="MULTI_CPU", shard=True, **PLAIN)
    again = weights(tmp_path / "two")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_state_of_two_processes_is_not_resumed_by_one(tmp_path: Path) -> None:
    torchrun(tmp_path / "run", 2, expect="MULTI_CPU", **PLAIN)
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000012")
    # Rank 0 of one process finds its own random state, but the batches would be cut otherwise: refused by the count.
    with pytest.raises(CheckpointError, match="was saved by 2 processes, not 1"):
        train(tmp_path / "run", toy_config(), **PLAIN)


def test_launch_reports_failure(tmp_path: Path) -> None:
    assert launch(tmp_path / "run", train={"steps": 0}) != 0
