"""The claims' stopwatch and trainings, and the network that MobileViT is compared with."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from visionsmith.data import labelled
from visionsmith.data.multiscale import MultiScaleBatches
from visionsmith.data.sampler import batch_rows
from visionsmith.papers.mobilevit import MobileViT, fold_batch_norm, published
from visionsmith.papers.mobilevit import claims as module
from visionsmith.papers.mobilevit.claims import _speed, recipe
from visionsmith.papers.mobilevit.config import PUBLISHED
from visionsmith.papers.mobilevit.mobilenet import equal_mobilenet


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_rival_has_as_many_parameters(name: str) -> None:
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in MobileViT(published(name)).parameters())
        rival = equal_mobilenet(wanted, 1000)
    found = sum(parameter.numel() for parameter in rival.parameters())
    assert abs(found / wanted - 1) < 0.05


def test_the_rival_is_folded_too() -> None:
    rival = equal_mobilenet(100_000, 10)
    rival.train()(torch.rand(4, 3, 32, 32))
    rival.eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(fold_batch_norm(rival)(images), rival(images), atol=1e-5, rtol=1e-4)


def test_speed_counts_the_pictures_of_batches_of_many_sizes() -> None:
    scales = recipe(seed=0, scales=True).scales
    plan = MultiScaleBatches(range(1000), 64, 0, scales=scales)
    rows = list(itertools.islice(batch_rows(plan), 30))
    # 2 s for steps 11 to 20 and 3 s for 21 to 30; the first line, however slow, does not count.
    log = [
        {"step": 10, "samples_per_second": 0.1},
        {"step": 20, "samples_per_second": sum(rows[10:20]) / 2},
        {"step": 20, "evaluate": {"top1": 0.5}},
        {"step": 30, "samples_per_second": sum(rows[20:]) / 3},
    ]
    assert _speed(log, plan) == pytest.approx(sum(rows[10:]) / 5)


def test_trainings_differ_in_what_is_compared_alone() -> None:
    fixed, multi = recipe(seed=1), recipe(seed=1, scales=True)
    assert replace(multi, scales=None) == fixed
    large = recipe(seed=1, patches=(4, 4, 2))
    assert replace(large, model=replace(large.model, patches=(2, 2, 2))) == fixed
    assert recipe(seed=2) == replace(fixed, train=replace(fixed.train, seed=2))


@pytest.mark.slow
def test_every_claim_is_measured_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCHS", 2)
    monkeypatch.setattr(module, "SEEDS", (0, 1))
    monkeypatch.setattr(module, "REPEATS", 1)
    whole = labelled.open_labelled(None, size=96)
    part = replace(whole, train=whole.train[:800], test=whole.test[:80])
    monkeypatch.setattr(labelled, "open_labelled", lambda *_, **__: part)
    found = module.claims(output=tmp_path, progress=False)
    assert len(found) == 6
    assert len(list(tmp_path.iterdir())) == 6, "two seeds of three kinds"
    faster, better, sizes, patches, slower, library = (dict(claim.values) for claim in found)
    assert faster["updates_fixed"] == 800 // 64
    plans = [
        MultiScaleBatches(part.train, 64, seed, scales=recipe(seed=0, scales=True).scales) for seed in (0, 1)
    ]
    assert faster["updates_multi"] == sum(len(plan.lengths(epoch)) for plan in plans for epoch in (0, 1)) / 4
    assert {name.rpartition("_")[2] for name in sizes} == {"32", "48", "64", "80", "96", "128"}
    assert sizes["fixed_64"] == pytest.approx(better["top1_fixed"], abs=0.02)
    assert patches["patches_2"] == better["top1_fixed"]
    assert slower == library
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = module.claims(output=tmp_path, progress=False)
    assert [dict(claim.values) for claim in again[:4]] == [dict(claim.values) for claim in found[:4]]
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
