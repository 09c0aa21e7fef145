"""The rate at each step against the schedules' formulas, and which parameters decay."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from visionsmith.errors import ConfigError
from visionsmith.train.optim import learning_rate, make_optimizer
from visionsmith.train.recipe import OptimConfig


def test_warm_up_rises_from_its_share() -> None:
    config = OptimConfig(lr=0.5, warmup_steps=4, initial_lr=0.02)
    rates = [learning_rate(config, step, 100) for step in range(4)]
    assert rates == pytest.approx([0.5 * (0.02 + 0.98 * (step + 1) / 4) for step in range(4)])
    plain = OptimConfig(lr=0.5, warmup_steps=4)
    assert learning_rate(plain, 0, 100) == 0.125


def test_schedules() -> None:
    cosine = OptimConfig(lr=2.0, final_lr=0.1)
    assert learning_rate(cosine, 50, 100) == pytest.approx(
        2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2)))
    )
    step = OptimConfig(lr=5.0, schedule="step", drops=(0.6, 0.75, 0.9), final_lr=0.2)
    assert [learning_rate(step, at, 100) for at in (59, 60, 75, 90)] == pytest.approx([5, 1, 0.2, 0.04])
    assert learning_rate(OptimConfig(lr=3.0, schedule="constant"), 99, 100) == 3.0
    assert learning_rate(OptimConfig(lr=1.0, schedule="linear"), 75, 100) == pytest.approx(0.25)


@pytest.mark.parametrize("decay_all", [False, True])
def test_sgd_follows_its_equation(decay_all: bool) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    config = OptimConfig(optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.5, decay_all=decay_all)
    optimizer = make_optimizer(model, config)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    velocity = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for _ in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        velocity[0] = 0.9 * velocity[0] + 1 + 0.5 * weight
        velocity[1] = 0.9 * velocity[1] + 1 + (0.5 * bias if decay_all else 0)
        weight, bias = weight - 0.1 * velocity[0], bias - 0.1 * velocity[1]
    assert torch.allclose(model.weight, weight)
    assert torch.allclose(model.bias, bias)


@pytest.mark.parametrize(
    ("setting", "value"), [("momentum", 1.0), ("initial_lr", 2.0), ("drops", (0.5, 1.0))]
)
def test_settings_out_of_range(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting):
        OptimConfig(**{setting: value})  # type: ignore[arg-type]
