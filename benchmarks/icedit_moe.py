"""The mixture of low-rank updates in two products of matrices, beside the public code's way: every expert for itself.

    python benchmarks/icedit_moe.py [--repeats 15] [--threads 2]

The way of the public code, written here anew: of every expert its two small products over all tokens, its gate, and an
addition. Both sides share weights and the router "published", are compared first, outputs and gradients, and take
turns. "update" is the update alone; "layer" counts in the frozen Linear beside which it stands, which is the same for
both sides, and the addition.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from _common import alternate, report
from visionsmith.papers.icedit.experts import ExpertLowRank

SIZES: dict[str, tuple[int, int, int, int]] = {
    "square_3072": (3072, 3072, 640, 32),
    "proj_out_15360": (15360, 3072, 640, 32),
    "tiny_192": (960, 192, 160, 8),
}
"""Inputs, outputs, tokens and rank. The last is proj_out of a small transformer; its input is five widths."""
EXPERTS = 4
TARGETS = {"update": 1.5, "layer": 1.0}


def dense(layer: ExpertLowRank, x: Tensor) -> Tensor:
    """Every expert on every token, times a gate that is 0 for all but one."""
    logits = layer.lora_route(x)
    top, chosen = torch.topk(logits, 1, dim=-1)
    gates = torch.zeros_like(logits).scatter(-1, chosen, torch.softmax(top.float(), dim=-1).to(logits.dtype))
    downs, ups = layer.lora_A.weight.chunk(layer.experts), layer.lora_B.weight.chunk(layer.experts, dim=1)
    update: Tensor | None = None
    for expert, (down, up) in enumerate(zip(downs, ups, strict=True)):
        states = nn.functional.linear(nn.functional.linear(x, down), up) * layer.scale
        part = gates[..., expert : expert + 1] * states
        update = part if update is None else update + part
    assert update is not None
    return update


def fused(layer: ExpertLowRank, x: Tensor) -> Tensor:
    found: Tensor = layer(x)[0]
    return found


def contest(inputs: int, outputs: int, tokens: int, rank: int, *, train: bool, whole: bool) -> dict[str, Any]:
    """Both ways, once their outputs and gradients have agreed."""
    torch.manual_seed(0)
    # Alpha is not the rank, so that both sides scale.
    layer = ExpertLowRank(inputs, outputs, rank, 2.0 * rank, experts=EXPERTS, router="published")
    nn.init.normal_(layer.lora_B.weight, std=0.02)
    base = nn.Linear(inputs, outputs).requires_grad_(False)
    x = torch.randn(1, tokens, inputs).requires_grad_(train)
    pull = torch.randn(1, tokens, outputs)

    def step(way: Callable[[ExpertLowRank, Tensor], Tensor]) -> list[Tensor]:
        with torch.set_grad_enabled(train):
            found = base(x) + way(layer, x) if whole else way(layer, x)
        if not train:
            return [found]
        return [found, *torch.autograd.grad(found, (x, layer.lora_A.weight, layer.lora_B.weight), pull)]

    def timed(way: Callable[[ExpertLowRank, Tensor], Tensor]) -> float:
        start = time.perf_counter()
        step(way)
        return time.perf_counter() - start

    for here, there in zip(step(fused), step(dense), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-3)
    return {"fused": partial(timed, fused), "dense": partial(timed, dense)}


def gain(before: list[float], after: list[float]) -> float:
    """Median of the ratios of each round: a slow minute of the machine hits both of a round."""
    return statistics.median(old / new for old, new in zip(before, after, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures: dict[str, Any] = {}
    ratios: dict[str, tuple[float, float]] = {}
    for name, size in SIZES.items():
        for part, target in TARGETS.items():
            for way in ("forward", "step"):
                ways = contest(*size, train=way == "step", whole=part == "layer")
                seconds = alternate(ways, options.repeats)
                figures[f"{name}, {part}, seconds of a {way}"] = seconds
                ratios[f"icedit_moe_{name}_{part}_{way}"] = (gain(seconds["dense"], seconds["fused"]), target)
    report("icedit_moe", figures, ratios)


if __name__ == "__main__":
    main()
