"""Mixed batches: pictures and targets are mixed by the same share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visionsmith.data.mix import Mix, mix_batch, smooth_targets
from visionsmith.errors import ConfigError

LABELS = torch.tensor([0, 1, 2, 3])
FLAT = (LABELS.float() * 10)[:, None, None, None].expand(4, 16, 12, 3)
"""Pictures whose pixels are ten times their label, so that a pixel tells what it was mixed from."""


def mixed(mix: Mix, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return mix_batch(FLAT, LABELS, mix, 4, np.random.default_rng(seed))


@pytest.mark.parametrize("mix", [Mix(cutmix=0, smoothing=0), Mix(mixup=0, smoothing=0), Mix(smoothing=0)])
def test_targets_say_what_the_pixels_hold(mix: Mix) -> None:
    shares = []
    for seed in range(30):
        images, targets = mixed(mix, seed)
        held = images.mean(dim=(1, 2, 3)) / 10
        told = targets @ torch.arange(4.0)
        assert torch.allclose(held, told, atol=1e-5)
        assert torch.allclose(targets.sum(dim=1), torch.ones(4))
        shares.append(float(targets[0, 0]))
    assert np.ptp(shares) > 0.5, "the share is drawn anew"


def test_cutmix_keeps_whole_pixels_and_mixup_blends_them() -> None:
    cut, _ = mixed(Mix(mixup=0, smoothing=0), 3)
    assert set(cut[0].unique().tolist()) <= {0.0, 30.0}
    blended, _ = mixed(Mix(cutmix=0, smoothing=0), 3)
    assert len(blended[0].unique()) == 1
    assert 0 < float(blended[0, 0, 0, 0]) < 30


def test_switch_chooses_between_them() -> None:
    cut = sum(len(mixed(Mix(switch=0.25), seed)[0][0].unique()) > 1 for seed in range(200))
    assert 25 < cut < 60, "a quarter, less those whose box is empty"


def test_smoothing_spreads_its_share_evenly() -> None:
    targets = smooth_targets(torch.tensor([2]), 4, 0.2)
    assert targets.tolist() == [pytest.approx([0.05, 0.05, 0.85, 0.05])]
    _, targets = mix_batch(FLAT, LABELS, Mix(mixup=0, cutmix=0, smoothing=0.2), 4, np.random.default_rng(0))
    assert torch.equal(targets, smooth_targets(LABELS, 4, 0.2))


def test_the_batch_that_is_given_stays() -> None:
    images = FLAT.clone()
    mix_batch(images, LABELS, Mix(mixup=0), 4, np.random.default_rng(1))
    assert torch.equal(images, FLAT)


@pytest.mark.parametrize(("setting", "value"), [("mixup", -1.0), ("switch", 1.5), ("smoothing", 2.0)])
def test_settings_out_of_range(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{setting} = {value}"):
        Mix(**{setting: value})
