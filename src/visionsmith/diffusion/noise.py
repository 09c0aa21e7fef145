"""Noising and what a network is asked to predict, over the schedulers of diffusers.

Axes: b samples, then any.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from visionsmith.errors import ConfigError

__all__ = ["min_snr_weights", "noised", "target"]


def noised(scheduler: Any, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """The samples at their times, in the dtype of `clean`. `times`: b int64, from 0 (clean) on."""
    found: Tensor = scheduler.add_noise(clean, noise, times)
    return found


def target(scheduler: Any, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """What the network is to predict at these times, by the scheduler's `prediction_type`.

    Raises:
        ConfigError: the type is none of epsilon, v_prediction (Salimans and Ho 2022, app. D) and sample.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return clean
    if kind == "v_prediction":
        velocity: Tensor = scheduler.get_velocity(clean, noise, times)
        return velocity
    raise ConfigError(
        f"the scheduler predicts '{kind}'", do="use one that predicts epsilon, v_prediction or sample"
    )


def min_snr_weights(scheduler: Any, times: Tensor, cut: float) -> Tensor:
    """Weights of the squared error of each sample (Hang et al. 2023, arXiv:2303.09556, sec. 3.4).

    The error of the clean sample weighs as the signal-to-noise ratio does, at most `cut`; for another prediction the
    weight is that of the same error. Where there is no signal at all, a prediction of the clean sample or of the
    velocity keeps weight 1, or the step at which sampling begins would not be learned.

    Args:
        scheduler: of diffusers, with `alphas_cumprod`.
        times: b int64.
        cut: the paper's gamma, 5 there.

    Returns:
        b float32.
    """
    kept: Tensor = scheduler.alphas_cumprod.to(times.device)[times].float()
    ratio = kept / (1 - kept)
    weights = ratio.clamp(max=cut)
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return weights / ratio.clamp(min=1e-12)
    if kind == "v_prediction":
        weights = weights / (ratio + 1)
    return torch.where(ratio > 1e-9, weights, torch.ones_like(weights))
