"""The tiny recipe, smaller still: it learns, calibrates, resumes to the bit, and takes a user's folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import visionsmith as vs
from visionsmith import checkpoint
from visionsmith.config import encode, override
from visionsmith.data.face_forensics import open_forgeries
from visionsmith.errors import ConfigError, DataError
from visionsmith.evaluate.forgery import equal_error, forgery_scores
from visionsmith.image.io import encode_png
from visionsmith.papers.f3net.claims import SETTINGS, VARIANTS, claims, short_recipe
from visionsmith.papers.f3net.evaluate import evaluate
from visionsmith.papers.f3net.frames import BalancedBatches
from visionsmith.papers.f3net.held_out import score
from visionsmith.papers.f3net.model import F3Net
from visionsmith.papers.f3net.recipes import F3NetRecipe, paper, tiny
from visionsmith.papers.f3net.train import train
from visionsmith.papers.trials import Trials
from visionsmith.train.optim import make_optimizer


def picture(seed: int, forged: bool) -> np.ndarray:
    """Smooth colours; a forged one has a checkerboard in it, as an upsampling leaves it."""
    rng = np.random.default_rng(seed)
    image = np.kron(rng.integers(40, 200, (4, 4, 3)), np.ones((12, 12, 1)))
    if forged:
        image[12:36, 12:36] += 25 * ((np.indices((24, 24)).sum(0) % 2) * 2 - 1)[:, :, None]
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "faces"
    for place, (split, count) in enumerate((("train", 24), ("val", 8), ("test", 8))):
        for number in range(count):
            for kind in ("real", "fake/Checker"):
                path = data / split / kind / f"v{number // 2}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_png(picture(1000 * place + number, kind != "real")))
    return data


def mini(**settings) -> F3NetRecipe:
    base = {
        "model": {
            "image_size": 48,
            "stream": {"stem": [4, 6], "entry": [6, 8, 10], "middle": 1, "exit": [12, 14, 16]},
        },
        "train": {
            "steps": 20,
            "batch_size": 8,
            "save_every": 10,
            "log_every": 5,
            "evaluate_every": 0,
            "ema": None,
            "optim": {"lr": 5e-3, "warmup_steps": 2},
        },
    }
    return override(override(tiny(), base), [f"{key}={value}" for key, value in settings.items()])


def test_learns_and_calibrates(folder: Path, tmp_path: Path) -> None:
    model = train(mini(steps=70), data=folder, output=tmp_path / "run", progress=False)
    detector = vs.load("f3net", model)
    fresh = {kind: [picture(seed, kind) for seed in range(5000, 5020)] for kind in (False, True)}
    probability = {kind: detector.probabilities(pictures) for kind, pictures in fresh.items()}
    assert (probability[True] >= detector.decision.threshold).mean() > 0.9
    assert (probability[False] < detector.decision.threshold).mean() > 0.9
    assert "Checker" in detector.decision.trained_on
    assert detector.decision.pictures == 16
    for name in ("samples.png", "report.html"):
        assert (tmp_path / "run" / name).is_file()
    measured = evaluate(checkpoint=model, data=folder, progress=False)
    assert measured["all"]["auc"] > 0.95
    assert measured["all"]["videos"] == 8
    assert measured["method"]["Checker"] == measured["all"]["auc"]
    json.dumps(measured)


def test_validation_pictures_set_the_threshold_and_test_pictures_judge_it(
    folder: Path, tmp_path: Path
) -> None:
    detector = vs.load("f3net", train(mini(steps=4), data=folder, output=tmp_path / "run", progress=False))
    frames = open_forgeries(folder)
    val = frames.select("val")
    found = score(detector, frames, val)
    assert detector.decision.threshold == pytest.approx(equal_error(found, frames.forged[val])[1], abs=1e-6)
    test = frames.select("test")
    scores = forgery_scores(
        score(detector, frames, test), frames.forged[test], threshold=detector.decision.threshold
    )
    assert detector.decision.pictures == len(test)
    assert detector.decision.false_alarms == pytest.approx(scores["false_alarms"])
    assert detector.decision.misses == pytest.approx(scores["misses"])


def test_a_stopped_run_goes_on_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    short = mini(steps=6, save_every=3)
    whole = checkpoint.read(train(short, data=folder, output=tmp_path / "whole", progress=False))
    run = tmp_path / "parts"
    train(short, data=folder, output=run, progress=False)
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    shutil.rmtree(run / "model")
    again = checkpoint.read(train(short, data=folder, output=run, resume=True, progress=False))
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, again.tensors()[name]), name


def test_batches_are_half_real_and_half_forged() -> None:
    real, forged = list(range(10)), list(range(100, 135))
    plan = BalancedBatches(real, forged, 8, seed=0)
    epoch = plan.epoch(0)
    assert epoch.shape == (35 // 4, 8)
    assert ((epoch >= 100).sum(1) == 4).all()
    assert ((epoch[:, :4] >= 100).sum(1) == 2).all()  # so is each half of a batch
    shown = epoch[epoch >= 100]
    assert len(set(shown.tolist())) == len(shown)
    assert set(epoch[epoch < 100].tolist()) == set(real)
    assert np.array_equal(epoch, BalancedBatches(real, forged, 8, seed=0).epoch(0))
    assert not np.array_equal(epoch, plan.epoch(1))
    with pytest.raises(ConfigError, match="batch_size = 7 has no two halves"):
        BalancedBatches(real, forged, 7, seed=0)
    with pytest.raises(ConfigError, match="set batch_size to at most 70"):
        BalancedBatches(real, forged, 80, seed=0)


def test_only_one_kind_stops_before_the_run_begins(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        shutil.rmtree(folder / split / "fake")
    with pytest.raises(DataError, match="has 24 real and 0 forged pictures for 'train'"):
        train(mini(), data=folder, output=tmp_path / "run", progress=False)


def test_recipes_are_what_they_say() -> None:
    with torch.device("meta"):
        published, small = F3Net(paper().model), F3Net(tiny().model)
    assert sum(parameter.numel() for parameter in published.parameters()) == 48_314_929
    assert (
        sum(parameter.numel() for parameter in small.parameters()) * 4 < 6e6
    )  # bytes of a checkpoint that ships
    optimizer = make_optimizer(F3Net(tiny().model), paper().train.optim)
    assert isinstance(optimizer, torch.optim.SGD)


def test_the_trainings_of_the_claims_differ_in_what_is_compared_only() -> None:
    recipes = {
        (variant, setting): encode(short_recipe(variant, setting, 0))
        for variant in VARIANTS
        for setting in SETTINGS
    }
    assert len({json.dumps(one) for one in recipes.values()}) == len(VARIANTS) * len(SETTINGS)
    for one in recipes.values():
        one["compression"] = ""
        for key in ("branches", "mix", "learnable"):
            one["model"][key] = ""
    assert len({json.dumps(one) for one in recipes.values()}) == 1


def test_claims_follow_from_what_the_trainings_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    level = {"xception": 0.7, "fad": 0.8, "lfs": 0.7, "both": 0.85, "mix": 0.85, "fixed": 0.8}
    asked: list[str] = []

    def fit(self: Trials, name: str, recipe: F3NetRecipe, make_task: object) -> dict[str, float]:
        variant, setting, seed = name.split("-")
        asked.append(name)
        assert recipe == short_recipe(variant, setting, int(seed[-1]))
        return {
            "auc": level[variant] - 0.1 * (setting == "lq") * (variant == "xception") + 0.001 * int(seed[-1])
        }

    monkeypatch.setattr(Trials, "fit", fit)
    found = claims(progress=False)
    assert len(asked) == len(set(asked)) == len(VARIANTS) * len(SETTINGS) * 3
    # LFS is better at one setting only, and mixing adds nothing: neither holds.
    assert [claim.holds for claim in found] == [True, False, True, False, True, True]
    assert "HQ: 80.1% (80.0% to 80.2%) against 70.1% (70.0% to 70.2%)" in found[0].measured
    assert "HQ: +15.0 points; LQ: +25.0 points" in found[5].measured
    assert dict(found[0].values)["fad_lq"] == pytest.approx(0.801)
