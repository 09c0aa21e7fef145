"""The claims' stopwatch and trainings, and the network that MobileViT is compared with."""

from __future__ import annotations

import itertools

import pytest
import torch

from visionsmith.data.multiscale import MultiScaleBatches
from visionsmith.data.sampler import batch_rows
from visionsmith.papers.mobilevit import MobileViT, fold_batch_norm, published
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
    from dataclasses import replace

    fixed, multi = recipe(seed=1), recipe(seed=1, scales=True)
    assert replace(multi, scales=None) == fixed
    large = recipe(seed=1, patches=(4, 4, 2))
    assert replace(large, model=replace(large.model, patches=(2, 2, 2))) == fixed
    assert recipe(seed=2) == replace(fixed, train=replace(fixed.train, seed=2))
