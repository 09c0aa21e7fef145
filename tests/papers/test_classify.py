"""The shared path of the classifiers: objective, training, answers about files, and trials that run once."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from visionsmith.config import config
from visionsmith.data.labelled import Labelled, open_labelled
from visionsmith.data.mix import Mix
from visionsmith.data.pictures import Pictures, find_pictures, free_name
from visionsmith.errors import ConfigError, DataError, VisionsmithError
from visionsmith.image.io import read_image, write_image
from visionsmith.image.views import centre_crop
from visionsmith.nn.pixels import normalise
from visionsmith.papers.claim import apart, mean, spread
from visionsmith.papers.classify import Classifier, ClassifierObjective, classify_task, label_files
from visionsmith.papers.trials import Trials
from visionsmith.train.recipe import OptimConfig, TrainConfig
from visionsmith.train.task import Export, Task

COLOURS = {"blue": (30, 40, 220), "green": (20, 200, 60), "red": (220, 40, 30)}
SETTINGS = TrainConfig(steps=12, batch_size=8, optim=OptimConfig(lr=0.05, weight_decay=0.0), threads=1)


@config
class _Recipe:
    train: TrainConfig


def show(image: np.ndarray) -> np.ndarray:
    return centre_crop(image, 8)


@pytest.fixture
def data(tmp_path: Path) -> Labelled:
    for name, colour in COLOURS.items():
        for number in range(10):
            noise = np.random.default_rng((number, len(name))).normal(0, 30, (10, 12, 3))
            path = tmp_path / "colours" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, np.clip(noise + colour, 0, 255).astype(np.uint8))
    return open_labelled(tmp_path / "colours", into=tmp_path / "store")


def classifier() -> Classifier:
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    return Classifier(model, tuple(COLOURS), show=show, prepare=normalise)


def make_task(data: Labelled, ready: Classifier, mix: Mix | None = None) -> Task:
    return classify_task(
        "clip",
        ready,
        data,
        SETTINGS,
        view=lambda image, rng: show(image),
        export=lambda state: Export(config={"classes": list(data.classes)}, tensors=state, files={}),
        mix=mix,
    )


def test_objective_is_cross_entropy_with_its_targets() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    objective = ClassifierObjective(model, normalise, smoothing=0.2)
    images, labels = torch.randint(0, 256, (5, 2, 2, 3), dtype=torch.uint8), torch.tensor([0, 1, 2, 0, 1])
    logs = model(normalise(images)).detach().log_softmax(dim=1)
    target = torch.full((5, 3), 0.2 / 3).scatter_(1, labels[:, None], 0.8 + 0.2 / 3)
    expected = float(-(target * logs).sum(dim=1).mean())
    with torch.no_grad():
        found = objective({"images": images, "labels": labels})
        mixed = objective({"images": images.float(), "targets": target})
    assert float(found["loss"]) == pytest.approx(expected, abs=1e-6)
    assert float(found["accuracy"]) == pytest.approx(float((logs.argmax(dim=1) == labels).float().mean()))
    assert float(mixed["loss"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mix", [None, Mix(mixup=0.2, cutmix=0, smoothing=0)])
def test_trials_train_once_and_are_read_again(tmp_path: Path, data: Labelled, mix: Mix | None) -> None:
    trials = Trials(tmp_path / "trials", "clip", progress=False)
    made = []

    def make() -> Task:
        made.append(1)
        return make_task(data, classifier(), mix)

    first, second = (trials.fit("colours", _Recipe(train=SETTINGS), make) for _ in range(2))
    assert len(made) == 1
    assert first == second
    assert first["top1"] == 1.0
    assert trials.log("colours")[-1]["evaluate"] == first
    assert (tmp_path / "trials/colours/samples.png").exists()
    with pytest.raises(ConfigError, match="batch_size"):
        trials.fit("colours", _Recipe(train=TrainConfig(steps=9)), make)


def test_a_stopped_trial_says_how_to_go_on_and_does(tmp_path: Path, data: Labelled) -> None:
    trials = Trials(tmp_path / "trials", "clip", progress=False)
    steps = []

    def stop_once() -> None:
        steps.append(1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    def make() -> Task:
        return dataclasses.replace(make_task(data, classifier()), after_step=stop_once)

    with pytest.raises(VisionsmithError, match="same command again") as stopped:
        trials.fit("colours", _Recipe(train=SETTINGS), make)
    assert stopped.value.exit_code == 130
    assert trials.fit("colours", _Recipe(train=SETTINGS), make)["top1"] == 1.0
    assert len(steps) == SETTINGS.steps, "it went on where it was stopped"


def test_classifier_answers_measures_and_knows_its_baseline(data: Labelled) -> None:
    ready = classifier()
    with torch.no_grad():  # a prototype classifier: the nearest of the three colours
        prototypes = normalise(torch.tensor(list(COLOURS.values()), dtype=torch.uint8)[:, None, None])[
            :, :, 0, 0
        ]
        ready.model[2].weight.copy_(2 * prototypes)
        ready.model[2].bias.copy_(-(prototypes**2).sum(dim=1))
    scores = ready.measure(data)
    assert scores["top1"] == 1.0
    assert scores["pictures"] == len(data.test)
    assert ready.measure(data, data.train)["pictures"] == len(data.train)
    assert ready.pixel_baseline(data) == {"top1": 1.0, "chance": 1 / 3}
    answer = ready.classify(np.full((5, 9, 3), COLOURS["green"], dtype=np.uint8), top=2)
    assert next(iter(answer)) == "green"
    assert len(answer) == 2
    assert ready.probabilities([]).shape == (0, 3)
    sheet = ready.sheet(data)
    assert sheet.dtype == np.uint8


def test_labels_of_files_leave_out_the_broken(tmp_path: Path, data: Labelled) -> None:
    folder = tmp_path / "colours" / "red"
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:60])
    write_image(folder / "gray.png", np.full((9, 9), 90, dtype=np.uint8))
    write_image(folder / "alpha.png", np.full((9, 9, 4), 90, dtype=np.uint8))
    pictures = Pictures(find_pictures([folder]))
    found = label_files(classifier(), pictures, top=2, sheet=tmp_path / "sheet.png")
    assert len(found) == 12
    assert [error.where.name for error in pictures.broken] == ["broken.png"]
    assert read_image(tmp_path / "sheet.png").ndim == 3
    assert all(len(entry["labels"]) == 2 for entry in found)
    assert json.loads(json.dumps(found)) == found
    with pytest.raises(DataError, match=r"broken\.png"):
        label_files(classifier(), Pictures([folder / "broken.png"]), top=1, sheet=tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()


def test_a_sheet_never_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_name("crossvit", None) == Path("crossvit.png")
    Path("crossvit.png").touch()
    assert free_name("crossvit", None) == Path("crossvit-2.png")
    assert free_name("crossvit", Path("crossvit.png")) == Path("crossvit.png")
    with pytest.raises(ConfigError, match=r"not a \.png"):
        free_name("crossvit", Path("sheet.jpg"))


def test_seeds_must_agree_before_a_claim_holds() -> None:
    assert mean([0.1, 0.2, 0.3]) == pytest.approx(0.2)
    assert spread([0.1, 0.2, 0.3]) == "20.0% (10.0% to 30.0%)"
    assert apart([0.5, 0.52, 0.51], [0.4, 0.41, 0.42])
    assert not apart([0.5, 0.3, 0.43], [0.4, 0.41, 0.42])
    assert not apart([0.4, 0.41, 0.42], [0.5, 0.52, 0.51])
