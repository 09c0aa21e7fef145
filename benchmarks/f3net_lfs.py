"""F3-Net's two frequency heads, forward and backward, beside the forms of the public code.

    python benchmarks/f3net_lfs.py [--batch 8] [--repeats 3] [--threads 2]

Pictures of 299 px. LFS beside its unfold form, in which every window is unfolded, transformed by two products, and
filtered and summed once a band; in both orders of logarithm and sum. FAD beside the same products done band by band.
They alternate, and their values and gradients are compared first. Memory is what a process of its own grows by at its
peak.
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
from visionsmith.papers.f3net.bands import cosine_matrix
from visionsmith.papers.f3net.fad import FAD
from visionsmith.papers.f3net.lfs import FLOOR, LFS, LUMA, WHITE, Form

SIZE = 299
Head = FAD | LFS
Pass = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pictures -> values, and the gradient of their weighted sum with respect to the masks."""


def weights(values: Tensor) -> Tensor:
    return torch.linspace(-1, 1, values.shape[1], dtype=values.dtype)[:, None, None].expand_as(values)


def ours(head: Head, pixels: Tensor) -> tuple[Tensor, Tensor]:
    return with_gradient(head, head(pixels))


def with_gradient(head: Head, values: Tensor) -> tuple[Tensor, Tensor]:
    learned = head.filters.learned
    assert learned is not None
    learned.grad = None
    values.backward(weights(values))
    assert learned.grad is not None
    return values.detach(), learned.grad.clone()


def unfolded(head: LFS, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """LFS window by window."""
    gray = LUMA[0] * pixels[:, 0] + LUMA[1] * pixels[:, 1] + LUMA[2] * pixels[:, 2]
    gray = (gray[:, None] + 1) * (WHITE[head.form] / 2)
    side = (pixels.shape[-1] - 2) // 2 + 1
    cosine = head.cosine.to(pixels.dtype)
    windows = (
        F.unfold(gray, 10, stride=2, padding=4).transpose(1, 2).reshape(len(gray), side * side, 1, 10, 10)
    )
    spectra = cosine @ windows @ cosine.T
    bands = []
    for base, learned, count in zip(head.filters.base, learned_of(head), head.counts, strict=True):
        mask = base + 2 * torch.sigmoid(learned) - 1
        if head.form == "public":
            band = (torch.log10(spectra.abs() + FLOOR["public"]) * mask / count).sum((2, 3, 4))
        else:
            band = torch.log10((spectra * mask / count).abs().sum((2, 3, 4)) + FLOOR["paper"])
        bands.append(band.reshape(-1, 1, side, side))
    return with_gradient(head, torch.cat(bands, 1))


def one_by_one(head: FAD, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """FAD band by band."""
    cosine = cosine_matrix(pixels.shape[-1]).to(pixels.dtype)
    spectra = cosine @ pixels @ cosine.T
    bands = []
    for base, learned in zip(head.filters.base, learned_of(head), strict=True):
        bands.append(cosine.T @ (spectra * (base + 2 * torch.sigmoid(learned) - 1)) @ cosine)
    return with_gradient(head, torch.cat(bands, 1))


def learned_of(head: Head) -> Tensor:
    assert head.filters.learned is not None
    return head.filters.learned


def passes(dtype: torch.dtype = torch.float32) -> dict[str, Pass]:
    torch.manual_seed(0)
    found: dict[str, Pass] = {}
    forms: tuple[Form, ...] = ("paper", "public")
    for form in forms:
        head = LFS(form=form).to(dtype)
        found[f"lfs_{form}"] = partial(ours, head)
        found[f"lfs_{form}_unfold"] = partial(unfolded, head)
    fad = FAD(SIZE).to(dtype)
    return {**found, "fad": partial(ours, fad), "fad_one_by_one": partial(one_by_one, fad)}


def pictures(batch: int) -> Tensor:
    return torch.rand(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def seconds_of(run: Pass, pixels: Tensor) -> float:
    start = time.perf_counter()
    run(pixels)
    return time.perf_counter() - start


def require_agreement(peer: dict[str, str]) -> None:
    # In float64: the public order takes logarithms of single coefficients, of which some are mere rounding in float32.
    found, pixels = passes(torch.float64), pictures(1).double()
    for name, other in peer.items():
        for mine, theirs in zip(found[name](pixels), found[other](pixels), strict=True):
            assert (mine - theirs).abs().max() < 1e-5 * theirs.abs().max(), f"{name} and {other} differ"


def growth(name: str, batch: int, threads: int) -> float:
    """MiB by which a process grows at its peak."""
    return growth_of("--grow", name, "--batch", str(batch), "--threads", str(threads))


def print_growth(name: str, batch: int) -> None:
    run = passes()[name]
    run(pictures(1))  # libraries and threads are there before the count begins
    pixels = pictures(batch)
    before = peak()
    run(pixels)
    print(peak() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grow", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.grow:
        print_growth(options.grow, options.batch)
        return
    found = passes()
    peer = {"lfs_paper": "lfs_paper_unfold", "lfs_public": "lfs_public_unfold", "fad": "fad_one_by_one"}
    require_agreement(peer)
    pixels = pictures(options.batch)
    seconds: dict[str, list[float]] = {}
    for name, other in peer.items():
        timed = {key: partial(seconds_of, found[key], pixels) for key in (name, other)}
        seconds |= alternate(timed, options.repeats)
    memory = {name: growth(name, options.batch, options.threads) for name in found}
    times = {name: statistics.median(runs) for name, runs in seconds.items()}
    for name in found:
        print(f"{name:18}  {times[name] * 1e3:8.1f} ms  {memory[name]:8.1f} MiB at the peak")
    ratios = {}
    for form in ("paper", "public"):
        name, other = f"lfs_{form}", f"lfs_{form}_unfold"
        ratios[f"f3net_{name}_vs_unfold"] = (times[other] / times[name], 10.0)
        ratios[f"f3net_{name}_memory_vs_unfold"] = (memory[other] / max(memory[name], 1.0), 5.0)
    ratios["f3net_fad_vs_one_by_one"] = (times["fad_one_by_one"] / times["fad"], 1.5)
    report("f3net_lfs", {"seconds": seconds, "peak_mib": memory}, ratios)


if __name__ == "__main__":
    main()
