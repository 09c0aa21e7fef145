"""Attention in bfloat16 on a processor, forward and backward: ours beside torch's fused one and the written-out one.

    python benchmarks/bf16_attention.py [--repeats 7] [--threads 1]

Ours has torch's forward pass and a backward pass of plain products (`visionsmith.train.attention`). "torch" is
`F.scaled_dot_product_attention`; "plain" is softmax(q k) v in bfloat16, whose probabilities are rounded on the way
forward as well. Gradients are compared with float64 before anything is timed. The three alternate; a ratio is a peer's
median time over ours. Sizes are those of the project's small models and one of a published tower.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from _common import alternate, report
from visionsmith.train.attention import quick_backward

SIZES = {"diptych": (32, 4, 160, 48), "conversation": (16, 4, 96, 32), "tower": (4, 12, 197, 64)}
"""Batch, heads, positions, width of a head."""
TARGETS = {"torch": 1.3, "plain": 0.4}
"""Aimed at; the written-out form is faster where rounded probabilities are good enough."""
TOLERANCE = 0.01
"""Of a gradient: norm of the difference over the norm."""

Ways = dict[str, Callable[[], tuple[Tensor, ...]]]


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Without a fused kernel."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    found: Tensor = scores.softmax(-1) @ value
    return found


def contest(batch: int, heads: int, length: int, width: int) -> Ways:
    """All ways, once their gradients are near those in float64."""
    torch.manual_seed(0)
    drawn = [torch.randn(batch, length, heads, width).transpose(1, 2) for _ in range(3)]
    given = [part.bfloat16().requires_grad_() for part in drawn]
    pull = torch.randn(batch, heads, length, width).bfloat16()

    def step(attend: Callable[..., Tensor], mode: Callable[[], Any]) -> tuple[Tensor, ...]:
        with mode():
            return torch.autograd.grad(attend(*given), given, pull)

    exact = [part.detach().double().requires_grad_() for part in given]
    true = torch.autograd.grad(plain(*exact), exact, pull.double())

    def fused(*parts: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*parts)

    ways: Ways = {
        "ours": partial(step, fused, quick_backward),
        "torch": partial(step, fused, nullcontext),
        "plain": partial(step, plain, nullcontext),
    }
    for name, way in ways.items():
        for found, right in zip(way(), true, strict=True):
            error = float((found.double() - right).norm() / right.norm())
            assert error < TOLERANCE, f"{name}: a gradient is off by {error:.3f}"
    return ways


def timed(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures: dict[str, Any] = {}
    ratios: dict[str, tuple[float, float]] = {}
    for name, size in SIZES.items():
        ways = {way: partial(timed, call) for way, call in contest(*size).items()}
        seconds = alternate(ways, options.repeats)
        figures[f"{name}, seconds"] = seconds
        for peer, target in TARGETS.items():
            gain = statistics.median(seconds[peer]) / statistics.median(seconds["ours"])
            ratios[f"bf16_attention_{name}_{peer}"] = (gain, target)
    report("bf16_attention", figures, ratios)


if __name__ == "__main__":
    main()
