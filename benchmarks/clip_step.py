"""A training step of CLIP beside transformers' `CLIPModel` of the same sizes, on the same batch, in one run.

    python benchmarks/clip_step.py [--size ViT-B/32] [--batch 16] [--repeats 5] [--threads 1] [--device cpu]

A step is forward, the plain symmetric loss, backward and AdamW. Captions come padded to the context of 77
tokens, as users of both give them: once full (77 tokens), once short (12 tokens, an ordinary caption). The
steps of the two models alternate; the ratio is their median time over ours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig as LibraryConfig
from transformers import CLIPModel

from _common import alternate, report
from visionsmith.papers.clip.config import CLIPConfig, VisionTransformerConfig, published
from visionsmith.papers.clip.model import CLIP

CAPTIONS = {"long": (77, 1.0), "short": (12, 1.3)}
"""Tokens of a caption, and the ratio aimed at."""


def library_model(config: CLIPConfig) -> CLIPModel:
    """The model of the transformers library, of the same sizes."""
    vision, text = config.vision, config.text
    assert isinstance(vision, VisionTransformerConfig), "transformers has no ResNet tower"
    return CLIPModel(
        LibraryConfig(
            projection_dim=config.embed_dim,
            text_config={
                "hidden_size": text.width,
                "intermediate_size": 4 * text.width,
                "num_hidden_layers": text.layers,
                "num_attention_heads": text.heads,
            },
            vision_config={
                "hidden_size": vision.width,
                "intermediate_size": 4 * vision.width,
                "num_hidden_layers": vision.layers,
                "num_attention_heads": vision.heads,
                "image_size": vision.image_size,
                "patch_size": vision.patch_size,
            },
        )
    )


def captions(batch: int, length: int, config: CLIPConfig) -> Tensor:
    """Random captions of `length` tokens, zero padded to the context: b n int64."""
    end = config.text.vocab_size - 1
    tokens = torch.randint(1, end - 1, (batch, config.text.context_length))
    tokens[:, length - 1] = end
    tokens[:, length:] = 0
    return tokens


def step(optimiser: torch.optim.Optimizer, logits: Callable[[], Tensor]) -> Callable[[], float]:
    """One training step, as a function that returns its seconds."""

    def run() -> float:
        start = time.perf_counter()
        optimiser.zero_grad()
        similarity = logits()
        labels = torch.arange(len(similarity), device=similarity.device)
        loss = (F.cross_entropy(similarity, labels) + F.cross_entropy(similarity.T, labels)) / 2
        loss.backward()
        optimiser.step()
        if similarity.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return run


def main() -> None:
    """Measure, print the ratios, write the figures."""
    parser = argparse.ArgumentParser(description="A training step of CLIP beside transformers' CLIPModel.")
    parser.add_argument("--size", default="ViT-B/32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = published(options.size)
    ours = CLIP(config).to(options.device)
    theirs = library_model(config).train().to(options.device)
    side = config.vision.image_size
    images = torch.randn(options.batch, 3, side, side, device=options.device)
    optimisers = [
        torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.2) for model in (ours, theirs)
    ]

    figures: dict[str, object] = {**vars(options), "parameters": sum(p.numel() for p in ours.parameters())}
    ratios = {}
    for name, (length, _) in CAPTIONS.items():
        tokens = captions(options.batch, length, config).to(options.device)

        def our_logits(tokens: Tensor = tokens) -> Tensor:
            return ours(images, tokens)

        def their_logits(tokens: Tensor = tokens) -> Tensor:
            return theirs(input_ids=tokens, pixel_values=images).logits_per_image

        steps = {
            "visionsmith": step(optimisers[0], our_logits),
            "transformers": step(optimisers[1], their_logits),
        }
        seconds = alternate(steps, options.repeats)
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        ratios[name] = medians["transformers"] / medians["visionsmith"]
        figures[name] = {
            "tokens": length,
            "median_seconds": medians,
            "ratio": ratios[name],
            "seconds": seconds,
        }
    report(
        "clip_step",
        figures,
        {f"clip_step_{name}": (ratios[name], target) for name, (_, target) in CAPTIONS.items()},
    )


if __name__ == "__main__":
    main()
