"""The latent upscaler beside diffusers' pipeline, in one run: time, and the memory of a large picture.

    python benchmarks/latent_upscaler.py [--repeats 5] [--threads 2]

Both have the weights that ship and take as many steps. "tile": a picture of one tile, without correction, where both
give the same pixels; ours may not be slower. "large": a picture of 10 x 10 tiles, which the pipeline takes whole and
ours in overlapping tiles, 16 at a time: more pixels in all, and memory that does not grow with the picture. What the
correction by the small picture costs is listed among the seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from _common import alternate, growth_of, peak, report
from visionsmith.papers.latent_diffusion import encode
from visionsmith.papers.latent_upscaler.enlarger import Enlarger
from visionsmith.papers.latent_upscaler.run import load

STEPS = 4
LARGE = 496
"""Pixels a side: tiles of 64 that overlap by 16 begin at 0, 48, 96, ..., 432."""
TARGETS = {"tile": 1.0, "large": 0.5, "large_memory": 4.0}
Way = Callable[[np.ndarray], np.ndarray]


def picture(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def ways(enlarger: Enlarger) -> dict[str, Way]:
    pipeline = enlarger.pipeline

    def library(small: np.ndarray) -> np.ndarray:
        # The mode of the encoder's distribution, as ours takes it; the pipeline would draw from it.
        latents = encode(pipeline.vae, torch.from_numpy(small)[None])
        noise = torch.Generator().manual_seed(0)
        found = pipeline(
            "",
            image=latents,
            num_inference_steps=STEPS,
            guidance_scale=0.0,
            generator=noise,
            output_type="np",
        )
        large: np.ndarray = (found.images[0] * 255).round().astype(np.uint8)
        return large

    return {
        "visionsmith": lambda small: enlarger.enlarge(small, steps=STEPS, faithful=False),
        "diffusers": library,
        "corrected": lambda small: enlarger.enlarge(small, steps=STEPS),
    }


def seconds_of(way: Way, small: np.ndarray) -> float:
    start = time.perf_counter()
    way(small)
    return time.perf_counter() - start


def print_growth(way: Way, small: int) -> None:
    way(picture(small))  # libraries and threads are there before the count begins
    given = picture(LARGE)
    before = peak()
    way(given)
    print(peak() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grow", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    enlarger = load()
    found = ways(enlarger)
    if options.grow:
        print_growth(found[options.grow], enlarger.tile)
        return
    one = picture(enlarger.tile)
    apart = np.abs(found["visionsmith"](one).astype(int) - found["diffusers"](one)).max()
    assert apart <= 1, f"pixels differ by {apart}"
    figures: dict[str, object] = {}
    ratios: dict[str, tuple[float, float]] = {}
    for name, side in (("tile", enlarger.tile), ("large", LARGE)):
        seconds = alternate(
            {way: partial(seconds_of, call, picture(side)) for way, call in found.items()}, options.repeats
        )
        figures[f"{name}, seconds"] = seconds
        gain = statistics.median(seconds["diffusers"]) / statistics.median(seconds["visionsmith"])
        ratios[f"latent_upscaler_{name}"] = (gain, TARGETS[name])
    memory = {
        name: growth_of("--grow", name, "--threads", str(options.threads))
        for name in ("visionsmith", "diffusers")
    }
    figures["large, MiB"] = memory
    less = memory["diffusers"] / max(memory["visionsmith"], 1.0)
    ratios["latent_upscaler_large_memory"] = (less, TARGETS["large_memory"])
    report("latent_upscaler", figures, ratios)


if __name__ == "__main__":
    main()
