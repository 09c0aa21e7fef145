"""Targets and weights against their equations."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from visionsmith.diffusion.noise import min_snr_weights, noised, target
from visionsmith.errors import ConfigError


def scheduler(prediction: str, *, zero: bool = False) -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type=prediction, rescale_betas_zero_snr=zero,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_clean_sample_follows_from_the_target(kind: str) -> None:
    torch.manual_seed(0)
    noise = scheduler(kind)
    clean, drawn, times = torch.randn(5, 3, 2), torch.randn(5, 3, 2), torch.tensor([0, 10, 400, 900, 999])
    seen, asked = noised(noise, clean, drawn, times), target(noise, clean, drawn, times)
    kept = noise.alphas_cumprod[times][:, None, None]
    found = {
        "epsilon": (seen - (1 - kept).sqrt() * asked) / kept.sqrt(),
        "v_prediction": kept.sqrt() * seen - (1 - kept).sqrt() * asked,
        "sample": asked,
    }[kind]
    assert torch.allclose(found, clean, atol=1e-4)


def test_weights_are_those_of_one_error() -> None:
    """An error of epsilon or of v, weighed, is the error of the clean sample weighed by min(SNR, cut)."""
    times = torch.tensor([5, 300, 700, 999])
    noise = scheduler("sample")
    kept = noise.alphas_cumprod[times]
    ratio = kept / (1 - kept)
    wanted = ratio.clamp(max=5)
    assert torch.allclose(min_snr_weights(noise, times, 5), wanted)
    # x0 error = epsilon error / SNR = v error / (SNR + 1).
    assert torch.allclose(min_snr_weights(scheduler("epsilon"), times, 5) * ratio, wanted)
    assert torch.allclose(min_snr_weights(scheduler("v_prediction"), times, 5) * (ratio + 1), wanted)


def test_pure_noise_keeps_its_weight() -> None:
    noise = scheduler("v_prediction", zero=True)
    weights = min_snr_weights(noise, torch.tensor([999, 998]), 5)
    assert float(weights[0]) == 1.0
    assert 0 < float(weights[1]) < 0.1


def test_another_prediction_is_refused() -> None:
    noise = scheduler("epsilon")
    noise.register_to_config(prediction_type="flow")
    with pytest.raises(ConfigError, match="'flow'"):
        target(noise, torch.zeros(1), torch.zeros(1), torch.tensor([0]))
