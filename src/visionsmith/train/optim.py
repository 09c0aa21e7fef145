"""The optimiser of a stage: which parameters learn, which decay, and the rate at each step."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from visionsmith.errors import ConfigError
from visionsmith.train.muon import MuonAdamW, inner_matrices
from visionsmith.train.recipe import OptimConfig, StageConfig

__all__ = ["learning_rate", "make_optimizer", "set_trainable", "widen_scalars"]


def set_trainable(model: nn.Module, stage: StageConfig) -> None:
    """Freeze every parameter that no pattern of the stage names.

    Raises:
        ConfigError: a pattern names no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in stage.trainable:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"stage '{stage.name}': the pattern '{pattern}' names no parameter",
                do=f"names look like '{names[0]}'",
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in stage.trainable))


def make_optimizer(model: nn.Module, config: OptimConfig, *, half: bool = False) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters; those of fewer than two dimensions decay only if told to.

    Args:
        model: whose parameters.
        config: kind and settings.
        half: whether the run computes in bfloat16; then so do the products of Muon.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {
            "params": [p for p in trainable if p.ndim < 2],
            "weight_decay": config.weight_decay if config.decay_all else 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    if config.optimizer == "muon":
        inner = inner_matrices(model, config.adamw_for, convolutions=config.muon_convolutions)
        split = [
            {
                **group,
                "params": [p for p in group["params"] if (id(p) in inner) == matrices],
                "matrices": matrices,
            }
            for group in groups
            for matrices in (True, False)
        ]
        return MuonAdamW(
            [group for group in split if group["params"]],
            lr=config.lr,
            momentum=config.momentum,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            half=half,
        )
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: linear warm-up, then the schedule."""
    if step < config.warmup_steps:
        risen = (step + 1) / config.warmup_steps
        return config.lr * (config.initial_lr + (1 - config.initial_lr) * risen)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "step":
        return config.lr * config.final_lr ** sum(step >= place * steps for place in config.drops)
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
    return config.lr * (config.final_lr + (1 - config.final_lr) * fall)


def widen_scalars(model: nn.Module) -> None:
    """Turn parameters without dimensions into ones of a single element: sharding (FSDP2) refuses the former."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.ndim == 0:
                wide = nn.Parameter(parameter.detach().reshape(1), requires_grad=parameter.requires_grad)
                setattr(module, name, wide)
