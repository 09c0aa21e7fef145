"""A run that is killed and resumed ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.toys import ToyLate, ToyPairs, toy_config, toy_task
from visionsmith import checkpoint
from visionsmith.errors import CheckpointError, ConfigError, DataError, OutputError, VisionsmithError
from visionsmith.train.loop import fit
from visionsmith.train.recipe import OptimConfig, StageConfig
from visionsmith.train.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


def launch(folder: Path, **options) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.train.launch", str(folder), json.dumps(options)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False).returncode


def train(folder: Path, config=None, **task) -> RunFolder:
    config = config or toy_config()
    run = RunFolder(folder)
    run.start(paper="toy", data=None, recipe=config, resume=True)
    fit(toy_task(**task), config, run, progress=False)
    return run


def everything(run: RunFolder) -> dict[str, torch.Tensor]:
    """Every tensor of the newest state and of the finished model."""
    latest, _ = run.latest_state()
    assert latest is not None
    found = {}
    for kind, folder in (("state", latest), ("finished", run.model)):
        for file in sorted(folder.glob("*.safetensors")):
            tensors = checkpoint.read_tensors(file)
            found |= {f"{kind}/{file.name}/{name}": value for name, value in tensors.items()}
    assert {name.split("/")[1] for name in found} == {
        "model.safetensors",
        "optimizer.safetensors",
        "ema.safetensors",
        "random.safetensors",
    }
    return found


def assert_same(left: RunFolder, right: RunFolder) -> None:
    a, b = everything(left), everything(right)
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different, f"{len(different)} of {len(a)} tensors differ, e.g. {different[:3]}"


def kills(count: int, seed: int) -> list[tuple[int, str]]:
    """Moments to die at: after a step, or while the n-th file of a state is being written."""
    rng = np.random.default_rng(seed)
    return [
        (int(rng.integers(1, 12)), "step") if place % 3 else (int(rng.integers(1, 14)), "save")
        for place in range(count)
    ]


def check_kills(tmp_path: Path, moments: list[tuple[int, str]]) -> None:
    unbroken = train(tmp_path / "unbroken")
    for number, moment in enumerate(moments):
        folder = tmp_path / f"killed-{number}"
        assert launch(folder, kill_at=moment) == -signal.SIGKILL, f"the run was to die at {moment}"
        assert not (folder / "model").exists()
        assert_same(unbroken, train(folder))


def test_three_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, kills(3, seed=0))


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, kills(20, seed=1))


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    # Without this, a loop that never trains would pass the test above.
    first, second = train(tmp_path / "a"), train(tmp_path / "b", toy_config(seed=1), seed=1)
    a, b = checkpoint.read(first.model).tensors(), checkpoint.read(second.model).tensors()
    assert not torch.equal(a["right.0.weight"], b["right.0.weight"])


def test_damaged_state_is_named_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = train(tmp_path / "run", toy_config(keep=4))
    broken = shutil.copytree(run.path, tmp_path / "broken")
    shutil.rmtree(broken / "model")
    file = broken / "checkpoints/step-00000012/optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    other = RunFolder(broken)
    latest, notes = other.latest_state()
    assert latest is not None
    assert latest.name == "step-00000009"
    assert len(notes) == 1
    assert "step-00000012 is damaged (optimizer.safetensors has changed" in notes[0]

    config = toy_config(keep=4)
    fit(toy_task(), config, other, progress=True)
    assert "step-00000012 is damaged" in capsys.readouterr().err
    assert_same(run, other)


def test_all_states_damaged(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    for folder in run.checkpoints.glob("step-*"):
        (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="every saved state is damaged: step-00000012 is damaged"):
        run.latest_state()


def test_resume_refuses_other_settings(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    changed = toy_config(optim=OptimConfig(lr=2e-2, warmup_steps=2))
    with pytest.raises(ConfigError, match=r"recipe\.optim\.lr = 0\.01, not 0\.02"):
        run.start(paper="toy", data=None, recipe=changed, resume=True)
    run.start(
        paper="toy", data=None, recipe=toy_config(workers=2, log_every=1), resume=True
    )  # free to change


def test_run_folder_is_never_overwritten(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    with pytest.raises(OutputError, match="holds a run already"):
        run.start(paper="toy", data=None, recipe=toy_config(), resume=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="is not empty and holds no run"):
        RunFolder(tmp_path / "other").start(paper="toy", data=None, recipe=toy_config(), resume=True)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "precious"


def test_workers_change_nothing(tmp_path: Path) -> None:
    assert_same(train(tmp_path / "none"), train(tmp_path / "two", toy_config(workers=2)))


def test_a_damaged_sample_in_a_worker_is_one_sentence(tmp_path: Path) -> None:
    class Damaged(ToyPairs):
        def __getitem__(self, key):
            raise DataError("record 7 is damaged", where="pets.records", do="pack it again")

    task = toy_task()
    task.dataset = Damaged(0)
    run = RunFolder(tmp_path / "run")
    run.start(paper="toy", data=None, recipe=toy_config(workers=1), resume=True)
    with pytest.raises(DataError) as caught:
        fit(task, toy_config(workers=1), run, progress=False)
    assert "record 7 is damaged" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_stages_freeze_what_they_do_not_name_and_resume_exactly(tmp_path: Path) -> None:
    stages = (
        StageConfig(name="left", steps=5, trainable=("left.*",), optim=OptimConfig(lr=1e-2)),
        StageConfig(name="all", steps=7, optim=OptimConfig(lr=5e-3)),
    )
    config = toy_config(stages=stages, keep=9)
    run = train(tmp_path / "run", config)
    initial = toy_task().objective.state_dict()
    after_first = checkpoint.read_tensors(run.state_folder(5) / "model.safetensors")
    assert torch.equal(after_first["objective.right.0.weight"], initial["right.0.weight"])
    assert not torch.equal(after_first["objective.left.0.weight"], initial["left.0.weight"])
    final = checkpoint.read_tensors(run.state_folder(12) / "model.safetensors")
    assert not torch.equal(final["objective.right.0.weight"], initial["right.0.weight"])

    for cut in (3, 5, 9):
        other = shutil.copytree(run.path, tmp_path / f"cut-{cut}")
        shutil.rmtree(other / "model")
        for folder in (other / "checkpoints").glob("step-*"):
            if int(folder.name[5:]) > cut:
                shutil.rmtree(folder)
        assert_same(run, train(other, config))


def test_muon_resumes_exactly(tmp_path: Path) -> None:
    config = toy_config(optim=OptimConfig(optimizer="muon", lr=1e-2, momentum=0.95, warmup_steps=2), keep=9)
    run = train(tmp_path / "run", config)
    slots = checkpoint.read_tensors(run.state_folder(6) / "optimizer.safetensors")
    assert {name.split("|")[1] for name in slots} == {"momentum_buffer", "exp_avg", "exp_avg_sq", "step"}
    other = shutil.copytree(run.path, tmp_path / "cut")
    shutil.rmtree(other / "model")
    for folder in (other / "checkpoints").glob("step-*"):
        if int(folder.name[5:]) > 6:
            shutil.rmtree(folder)
    assert_same(run, train(other, config))


@pytest.mark.parametrize("cut", [3, 6, 9])
def test_what_has_had_no_gradient_yet_resumes_exactly(cut: int, tmp_path: Path) -> None:
    config = toy_config(keep=9)
    run = train(tmp_path / "run", config, late=True)
    slots = checkpoint.read_tensors(run.state_folder(cut) / "optimizer.safetensors")
    assert any(".late." in name for name in slots) == (cut >= ToyLate.FIRST)
    other = shutil.copytree(run.path, tmp_path / "cut")
    shutil.rmtree(other / "model")
    for folder in (other / "checkpoints").glob("step-*"):
        if int(folder.name[5:]) > cut:
            shutil.rmtree(folder)
    assert_same(run, train(other, config, late=True))


def test_a_pattern_that_names_nothing(tmp_path: Path) -> None:
    config = toy_config(stages=(StageConfig(name="first", steps=2, trainable=("middle.*",)),))
    with pytest.raises(ConfigError, match=r"'middle\.\*' names no parameter"):
        train(tmp_path / "run", config)


def test_loss_that_is_not_finite_stops_and_keeps_the_last_state(tmp_path: Path) -> None:
    config = toy_config(log_every=1)
    run = RunFolder(tmp_path / "run")
    run.start(paper="toy", data=None, recipe=config, resume=False)
    task = toy_task()
    steps = 0

    def poison() -> None:
        nonlocal steps
        steps += 1
        if steps == 7:
            task.objective.right[0].weight.data.fill_(float("nan"))

    task.after_step = poison
    with pytest.raises(VisionsmithError, match="the loss is nan at step 8; the last saved state is kept"):
        fit(task, config, run, progress=False)
    latest, _ = run.latest_state()
    assert latest is not None
    assert latest.name == "step-00000006"
