"""Sampling the prior with its text prefix computed once, beside diffusers' whole sequence in each step, in one run.

    python benchmarks/unclip_prior.py [--texts 2] [--steps 25] [--repeats 3] [--threads 1] [--layers 6] [--width 512]

Random weights at a width between the small prior and Karlo's, at Karlo's 77 text tokens, with guidance and two samples
a text. That both give the same embeddings is checked first. A training step from kept CLIP embeddings is timed beside
one that encodes its pictures and texts each time, with the sizes of ViT-B/32's towers at 64 px. Ratios are seconds of
the plain way over seconds of this project's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from _common import alternate, report
from visionsmith.papers.unclip.config import PriorConfig
from visionsmith.papers.unclip.imagine import imagine
from visionsmith.papers.unclip.prior import Read, make_prior, set_statistics

TARGETS = {"unclip_prefix": 3.0, "unclip_kept_embeddings": 1.5}


def reads(count: int, config: PriorConfig) -> Read:
    """Texts as a text encoder might read them."""
    lengths = torch.randint(5, 30, (count, 1))
    mask = torch.arange(config.text_tokens)[None] < lengths
    return Read(
        torch.randn(count, config.text_tokens, config.text_width), torch.randn(count, config.embedding), mask
    )


def training_step(config: PriorConfig, batch: int, *, kept: bool) -> Callable[[], float]:
    """Seconds of a training step of the prior, from kept embeddings or with the picture tower in it."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from visionsmith.diffusion.noise import noised
    from visionsmith.papers.unclip.prior import make_noise

    prior, noise = make_prior(config), make_noise(config)
    texts = reads(batch, config)
    tower = CLIPVisionModelWithProjection(
        CLIPVisionConfig(image_size=64, patch_size=8, projection_dim=config.embedding)
    ).eval()
    pictures, embeddings = torch.randn(batch, 3, 64, 64), torch.randn(batch, config.embedding)

    def run() -> float:
        start = time.perf_counter()
        clean = embeddings
        if not kept:
            with torch.no_grad():
                clean = tower(pictures).image_embeds
        times = torch.randint(config.steps, (batch,))
        found = prior(
            noised(noise, clean, torch.randn_like(clean), times),
            times,
            proj_embedding=texts.embedding,
            encoder_hidden_states=texts.states,
            attention_mask=texts.mask,
        ).predicted_image_embedding
        F.mse_loss(found, clean).backward()
        prior.zero_grad()
        return time.perf_counter() - start

    return run


def main() -> None:
    """Check, measure, print the ratios."""
    parser = argparse.ArgumentParser(description="The prior's prefix, kept or computed in each step.")
    parser.add_argument("--texts", type=int, default=2)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = PriorConfig(heads=options.width // 64, layers=options.layers)
    prior = make_prior(config).eval()
    set_statistics(prior, torch.randn(50, config.embedding))
    texts, nothing = reads(options.texts, config), reads(1, config)

    def sampled(*, cached: bool) -> torch.Tensor:
        return imagine(
            prior, config, texts, nothing, steps=options.steps, guidance=4.0, samples=2, cached=cached
        )

    def timed(*, cached: bool) -> Callable[[], float]:
        def run() -> float:
            start = time.perf_counter()
            sampled(cached=cached)
            return time.perf_counter() - start

        return run

    difference = float((sampled(cached=True) - sampled(cached=False)).abs().max())
    assert difference < 1e-4, f"the kept prefix changes an embedding by {difference}"
    seconds = alternate(
        {
            "kept_prefix": timed(cached=True),
            "whole_sequence": timed(cached=False),
            "kept_embeddings": training_step(config, 16, kept=True),
            "encoded_each_step": training_step(config, 16, kept=False),
        },
        options.repeats,
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {
        "unclip_prefix": medians["whole_sequence"] / medians["kept_prefix"],
        "unclip_kept_embeddings": medians["encoded_each_step"] / medians["kept_embeddings"],
    }
    figures = {**vars(options), "seconds": seconds, "difference": difference}
    report("unclip_prior", figures, {name: (value, TARGETS[name]) for name, value in ratios.items()})


if __name__ == "__main__":
    main()
