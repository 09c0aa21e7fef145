"""The supervised contrastive loss, forward and backward, beside pytorch-metric-learning and a dense implementation.

    python benchmarks/supcon_loss.py [--rows 1024 4096 8192] [--repeats 5] [--threads 2]

Two views of a batch, 128 features, 100 classes, temperature 0.1. The dense implementation is written as the public code
is: the whole matrix of scores, a mask of the positives and one of the diagonal. The three alternate, and
their values and gradients are compared first. Memory is what a process of its own grows by at its peak.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from _common import alternate, growth_of, peak, report
from visionsmith.losses.supcon import supcon_loss

TEMPERATURE = 0.1
TARGETS = {8192: (3.0, 10.0)}
"""Rows: how many times faster, and how many times less memory, than the dense one. Elsewhere: not slower."""

Loss = Callable[[Tensor, Tensor], Tensor]


def ours(features: Tensor, labels: Tensor) -> Tensor:
    return supcon_loss(features, labels, temperature=TEMPERATURE, base_temperature=None)


def dense(features: Tensor, labels: Tensor) -> Tensor:
    rows = features.transpose(0, 1).flatten(0, 1)
    everyone = labels.repeat(features.shape[1])
    others = 1 - torch.eye(len(rows))
    positives = (everyone[:, None] == everyone).float() * others
    scores = rows @ rows.T / TEMPERATURE
    scores = scores - scores.amax(1, keepdim=True).detach()
    shares = scores - (scores.exp() * others).sum(1, keepdim=True).log()
    return -((positives * shares).sum(1) / positives.sum(1)).mean()


def metric_learning(features: Tensor, labels: Tensor) -> Tensor:
    from pytorch_metric_learning.losses import SupConLoss

    rows = features.transpose(0, 1).flatten(0, 1)
    loss: Tensor = SupConLoss(temperature=TEMPERATURE)(rows, labels.repeat(features.shape[1]))
    return loss


LOSSES: dict[str, Loss] = {"visionsmith": ours, "metric_learning": metric_learning, "dense": dense}


def batch(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(rows // 2, 2, 128, generator=generator), dim=-1)
    return features, torch.randint(100, (rows // 2,), generator=generator)


def pass_of(loss: Loss, features: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
    """Seconds, value and gradient of one forward and backward."""
    own = features.clone().requires_grad_()
    start = time.perf_counter()
    value = loss(own, labels)
    value.backward()
    assert own.grad is not None
    return time.perf_counter() - start, value.detach(), own.grad


def seconds_of(loss: Loss, features: Tensor, labels: Tensor) -> float:
    return pass_of(loss, features, labels)[0]


def require_agreement(rows: int) -> None:
    features, labels = batch(rows)
    found = {name: pass_of(loss, features, labels)[1:] for name, loss in LOSSES.items()}
    for name, (value, gradient) in found.items():
        torch.testing.assert_close(value, found["dense"][0], rtol=1e-5, atol=0)
        # pytorch-metric-learning normalises once more, which leaves the part of the gradient along the sphere.
        off = along_sphere(gradient, features) - along_sphere(found["dense"][1], features)
        assert off.abs().max() < 1e-4 * found["dense"][1].abs().max(), f"{name} has another gradient"


def along_sphere(gradient: Tensor, features: Tensor) -> Tensor:
    return gradient - (gradient * features).sum(-1, keepdim=True) * features


def growth(name: str, rows: int, threads: int) -> float:
    """MiB by which a process grows at its peak."""
    return growth_of("--grow", name, "--rows", str(rows), "--threads", str(threads))


def print_growth(name: str, rows: int) -> None:
    loss = LOSSES[name]
    pass_of(loss, *batch(64))  # libraries and threads are there before the count begins
    features, labels = batch(rows)
    before = peak()
    pass_of(loss, features, labels)
    print(peak() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1024, 4096, 8192])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grow", choices=[*LOSSES], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.grow:
        print_growth(options.grow, options.rows[0])
        return
    require_agreement(1024)
    figures, ratios = {}, {}
    for rows in options.rows:
        features, labels = batch(rows)
        seconds = alternate(
            {name: partial(seconds_of, loss, features, labels) for name, loss in LOSSES.items()},
            options.repeats,
        )
        memory = {name: growth(name, rows, options.threads) for name in LOSSES}
        figures[str(rows)] = {"seconds": seconds, "peak_mib": memory}
        times = {name: statistics.median(found) for name, found in seconds.items()}
        for name in LOSSES:
            print(f"{rows} rows  {name:15}  {times[name] * 1e3:8.1f} ms  {memory[name]:8.1f} MiB at the peak")
        faster, smaller = TARGETS.get(rows, (1.0, 1.0))
        ratios[f"supcon_{rows}_vs_dense"] = (times["dense"] / times["visionsmith"], faster)
        ratios[f"supcon_{rows}_vs_metric_learning"] = (times["metric_learning"] / times["visionsmith"], 1.0)
        ratios[f"supcon_{rows}_memory_vs_dense"] = (
            memory["dense"] / max(memory["visionsmith"], 1.0),
            smaller,
        )
    report("supcon_loss", figures, ratios)


if __name__ == "__main__":
    main()
