"""One command trains both stages; it resumes to the bit, takes a user's folder, and says what is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import visionsmith as vs
from tests.papers.supcon.conftest import CLASSES, mini, picture, write_classes
from visionsmith import checkpoint
from visionsmith.config import override, to_yaml
from visionsmith.errors import ConfigError, DataError, OutputError
from visionsmith.image.io import write_image
from visionsmith.papers.paper import get_paper
from visionsmith.papers.supcon.evaluate import evaluate
from visionsmith.papers.supcon.recipes import tiny
from visionsmith.papers.supcon.train import encoder_task, open_data, train, training_labels
from visionsmith.train.optim import learning_rate

SETTINGS = ("train.steps=40", "linear.steps=40")


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "classes")


@pytest.fixture(scope="module")
def trained(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of both stages, which tests copy before they change it."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(mini(*SETTINGS), data=classes, output=run, progress=False)
    return run


def right_answers(model: Path) -> int:
    supcon = vs.load("supcon", model)
    assert supcon.classes == tuple(CLASSES)
    return sum(
        next(iter(supcon.classify(picture(name, seed)))) == name for name in CLASSES for seed in (97, 98, 99)
    )


def test_one_command_trains_both_stages(trained: Path) -> None:
    assert right_answers(trained / "model") >= 7, "of 9; chance is 3"
    for run in (trained, trained / "encoder"):
        for name in ("config.yaml", "log.jsonl", "report.html", "samples.png", "model/card.json"):
            assert (run / name).stat().st_size > 0, name
    card = json.loads((trained / "encoder" / "model" / "card.json").read_text())
    assert set(card["measured"]) == {"linear.top1", "nearest.top1"}
    whole = json.loads((trained / "model" / "card.json").read_text())
    assert whole["data"]["encoder"] == {"minutes": card["minutes"], "measured": card["measured"]}


def test_cross_entropy_is_one_stage(classes: Path, tmp_path: Path) -> None:
    model = train(
        mini("objective=ce", "train.steps=40"), data=classes, output=tmp_path / "run", progress=False
    )
    assert right_answers(model) >= 7, "of 9; chance is 3"
    assert not (tmp_path / "run" / "encoder").exists()
    assert not any(name.startswith("head.") for name in checkpoint.read(model).tensors())
    card = json.loads((model / "card.json").read_text())
    assert set(card["measured"]) == {"top1", "top5", "loss", "linear.top1", "nearest.top1"}


def test_the_second_stage_leaves_the_encoder_as_it_is(trained: Path) -> None:
    first, second = (checkpoint.read(trained / place).tensors() for place in ("encoder/model", "model"))
    assert second.keys() - first.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines if "loss" in line} == {"linear"}


@pytest.mark.parametrize("cut", ["encoder", "linear"])
def test_resumes_to_the_bit(cut: str, trained: Path, classes: Path, tmp_path: Path) -> None:
    stopped = shutil.copytree(trained, tmp_path / "stopped")
    shutil.rmtree(stopped / "model")
    shutil.rmtree(stopped / "checkpoints" / "step-00000040")
    if cut == "encoder":
        # As a stop in the first stage leaves it: the second has not begun.
        for name in ("checkpoints", "plots"):
            shutil.rmtree(stopped / name)
        (stopped / "log.jsonl").unlink()
        shutil.rmtree(stopped / "encoder" / "model")
        shutil.rmtree(stopped / "encoder" / "checkpoints" / "step-00000040")
    with pytest.raises(OutputError, match="add --resume"):
        train(mini(*SETTINGS), data=classes, output=stopped, progress=False)
    other = mini(*SETTINGS, "temperature=0.3")
    with pytest.raises(ConfigError, match=r"was made with recipe\.temperature = 0\.1, not 0\.3"):
        train(other, data=classes, output=stopped, resume=True, progress=False)
    assert "temperature: 0.1\n" in (stopped / "config.yaml").read_text()
    train(mini(*SETTINGS), data=classes, output=stopped, resume=True, progress=False)
    a, b = (checkpoint.read(run / "model").tensors() for run in (trained, stopped))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_two_processes_train_both_stages(classes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "visionsmith"]
    settings = [
        "train.steps=4",
        "linear.steps=4",
        "train.batch_size=8",
        "linear.batch_size=8",
        "train.accumulate=2",
    ]
    command = [*launch, "train", "supcon", "--data", str(classes), "--output", str(run), "--quiet", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for log in (run / "log.jsonl", run / "encoder" / "log.jsonl"):
        steps = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["step"] for line in steps if "loss" in line] == [4]
    assert vs.load("supcon", run / "model").classes == tuple(CLASSES)


def test_wrong_labels_reach_training_and_not_the_test(folder: Path, tmp_path: Path) -> None:
    recipe = mini("label_noise=0.5")
    data = open_data(recipe, folder, tmp_path / "records")
    told = training_labels(recipe, data)
    assert 0.2 < (told != data.labels)[list(data.train)].mean() < 0.8
    assert np.array_equal(told[list(data.test)], data.labels[list(data.test)])
    task = encoder_task(recipe, data)
    shown = [task.dataset[(0, index)].label for index in data.train]
    assert shown == told[list(data.train)].tolist()


def test_evaluate_on_folders(trained: Path, classes: Path, tmp_path: Path) -> None:
    folder, model = shutil.copytree(classes, tmp_path / "classes"), trained / "model"
    found = evaluate(checkpoint=model, data=folder, progress=False)
    assert found["data"]["classes"] == 3
    assert found["classifier"]["top1"] > 0.5
    assert set(found["classifier"]["per_class"]) == set(CLASSES)
    assert found["features"]["nearest.top1"] > 0.5
    assert found["features"]["linear.top1"] > 0.5
    assert 0 <= found["baseline"]["top1"] <= 1
    # Other classes: the features are measured all the same.
    shutil.move(folder / "red", folder / "crimson")
    shutil.move(folder / "blue", folder / "navy")
    found = evaluate(checkpoint=model, data=folder, progress=False)
    assert found["classifier"]["pictures"] == 2, (
        "only the greens are known, and a fifth of them is for testing"
    )
    shutil.move(folder / "green", folder / "lime")
    found = evaluate(checkpoint=model, data=folder, progress=False)
    assert "none of the classifier's 3 classes" in found["classifier"]["skipped"]
    assert found["features"]["nearest.top1"] > 0.5
    found = evaluate(checkpoint=trained / "encoder" / "model", data=folder, progress=False)
    assert found["classifier"] == {"skipped": "the model is an encoder without a classifier"}


def test_what_a_folder_may_lack(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "red").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no pictures"):
        train(mini(), data=data, output=tmp_path / "a", progress=False)
    for number in range(3):
        write_image(data / "red" / f"{number}.png", picture("red", number))
    with pytest.raises(DataError, match="has only the class 'red'; at least two are needed"):
        train(mini(), data=data, output=tmp_path / "b", progress=False)
    # A gray picture, one with alpha, and a class of a single picture: all are taken.
    (data / "gray").mkdir()
    write_image(data / "gray" / "gray.png", picture("red", 0)[..., 0])
    rgba = np.dstack([picture("green", 0), np.full((20, 20), 128, np.uint8)])
    write_image(data / "red" / "alpha.png", rgba)
    with pytest.raises(ConfigError, match=r"batch_size = 12 is larger than the data set of \d records"):
        train(mini(), data=data, output=tmp_path / "c", progress=False)
    recipe = mini("train.batch_size=4", "model.head=linear")
    opened = open_data(recipe, data, tmp_path / "records")
    assert opened.classes == ("gray", "red")
    assert sorted(opened.labels.tolist()) == [0, 1, 1, 1, 1]
    task = encoder_task(recipe, opened)
    batch = task.collate([task.dataset[(0, int(index))] for index in task.plan.epoch(0)[0]])
    assert batch["images"].shape == (4, 2, 16, 16, 3)
    losses = task.objective(batch)
    losses["loss"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in task.objective.parameters())


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("label_noise=1", "label_noise = 1.0 is out of range"),
        ("temperature=0", "temperature = 0.0 is not positive"),
        ("objective=simclr augment.views=1", "leaves objective = 'simclr' without positives"),
        ("model.head=null", "needs a projection"),
        ("objective=triplet", "objective"),
        ("augment.scale=[0.5, 0.2]", "is no range of shares"),
        ("augment.gray=2", "augment.gray = 2.0 is out of range"),
        ("augment.views=0", "choose at least 1"),
        ("tempratur=1", "did you mean 'temperature'"),
        ("lr=1", "may mean train.optim.lr or linear.optim.lr"),
    ],
)
def test_wrong_settings_are_told(setting: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        override(tiny(), setting.split(" ") if "[" not in setting else [setting])


def test_published_recipes() -> None:
    recipes = {name: get_paper("supcon").recipe(name) for name in get_paper("supcon").presets}
    assert len(recipes) == 4
    for name, lr, epochs, linear_lr in (
        ("paper_cifar", 0.5, 1000, 5.0),
        ("paper_cifar_simclr", 0.5, 1000, 1.0),
        ("paper_cifar_ce", 0.8, 500, 5.0),
    ):
        recipe = recipes[name]
        steps, optim = recipe.train.steps, recipe.train.optim
        assert (recipe.train.batch_size, steps, recipe.linear.batch_size) == (1024, epochs * 48, 512)
        assert (optim.optimizer, optim.momentum, optim.weight_decay, optim.decay_all) == (
            "sgd",
            0.9,
            1e-4,
            True,
        )
        # From 0.01 up in ten epochs, then a cosine to lr / 1000.
        assert learning_rate(optim, 0, steps) == pytest.approx(0.01 + (lr - 0.01) / 480)
        assert learning_rate(optim, 480, steps) == pytest.approx(lr)
        assert learning_rate(optim, steps, steps) == pytest.approx(lr * 1e-3)
        epoch = recipe.linear.steps // 100
        rates = [
            learning_rate(recipe.linear.optim, place * epoch, recipe.linear.steps)
            for place in (59, 60, 75, 90)
        ]
        assert rates == pytest.approx([linear_lr, linear_lr * 0.2, linear_lr * 0.04, linear_lr * 0.008])
    assert recipes["paper_cifar"].temperature == 0.1
    assert recipes["paper_cifar_simclr"].temperature == 0.5
    assert "objective: simclr" in to_yaml(recipes["paper_cifar_simclr"])
