"""IP-Adapter beside diffusers' own path, and a training step from kept latents and features beside encoding anew.

    python benchmarks/ip_adapter.py [--repeats 15] [--threads 2]

Sampling: one step of a denoiser with guidance, for each setting: both sides have the same random weights, take turns,
and their outputs are compared first. diffusers projects features to tokens, and tokens to keys and values, in every
step; here that is done once a picture, and its cost, divided by the steps of a sampler, is counted in. At scale 0
diffusers still computes the tokens.

Training: one step to the adapter's gradients. "anew" encodes picture and prompt with an autoencoder and a vision tower
before it, "kept" reads both. How much is saved is a matter of proportion. Forward passes of denoiser, autoencoder and
vision tower cost 3.5, 4.9 and 1.4 GFLOP a picture here; of Stable Diffusion 1.5 at 512 pixels they cost 0.80, 1.12 and
0.34 TFLOP.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from _common import alternate, report
from visionsmith.diffusion.noise import noised, target
from visionsmith.papers.ip_adapter import ImagePrompt, IPAdapter, ResamplerConfig, config_for, export

STEPS = 25
"""Of a sampler, over which the cost of showing a prompt is spread."""
SETTINGS: dict[str, dict[str, Any]] = {
    "base": {},
    "plus": {"variant": "plus", "tokens": 16, "states": 257},
    "full": {"variant": "full", "tokens": 257, "states": 257},
    "two": {"adapters": 2},
    "scale_0": {"scale": 0.0},
}
IMAGE_WIDTH, TEXT_WIDTH, TEXT = 256, 256, 77
ROWS, SIDE = 2, 32
"""Guided samples, and the side of the latents."""
BATCH, PIXELS = 4, 128
"""Of a training step."""


def denoiser(widths: tuple[int, ...] = (96, 192, 384)) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return (
        UNet2DConditionModel(
            sample_size=SIDE,
            block_out_channels=widths,
            down_block_types=("CrossAttnDownBlock2D",) * (len(widths) - 1) + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (len(widths) - 1),
            layers_per_block=2,
            attention_head_dim=8,
            cross_attention_dim=TEXT_WIDTH,
        )
        .eval()
        .requires_grad_(False)
    )


def nested(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    return parts


def sampling(
    *, states: int = 0, adapters: int = 1, scale: float = 0.7, **settings: Any
) -> dict[str, Callable[[], float]]:
    """Both ways to one step of a sampler, once their outputs have agreed."""
    ours, theirs = denoiser(), denoiser()
    sizes = config_for(
        ours,
        image_width=IMAGE_WIDTH,
        resampler=ResamplerConfig(width=256, heads=4) if states else ResamplerConfig(),
        **settings,
    )
    made = [IPAdapter(sizes).eval() for _ in range(adapters)]
    for adapter in made:
        adapter.copy_from(ours)
    shape = (ROWS, states, IMAGE_WIDTH) if states else (ROWS, IMAGE_WIDTH)
    features = [torch.randn(shape) for _ in made]
    theirs._load_ip_adapter_weights([nested(export(adapter)) for adapter in made])
    for processor in theirs.attn_processors.values():
        if hasattr(processor, "to_k_ip"):
            processor.scale = [scale] * adapters
    attached = made[0].attach(ours)
    latents, text = torch.randn(ROWS, 4, SIDE, SIDE), torch.randn(ROWS, TEXT, TEXT_WIDTH)

    def show() -> None:
        pairs = zip(made, features, strict=True)
        attached.show([ImagePrompt(adapter, adapter.project(given), scale) for adapter, given in pairs])

    def here() -> Tensor:
        return ours(latents, 500, text).sample

    def there() -> Tensor:
        embeds = [given[:, None] for given in features]
        return theirs(latents, 500, text, added_cond_kwargs={"image_embeds": embeds}).sample

    def timed(once: Callable[[], None] | None, step: Callable[[], Tensor]) -> float:
        with torch.inference_mode():
            start = time.perf_counter()
            if once is not None:
                once()
            shown = time.perf_counter()
            step()
            return (shown - start) / STEPS + time.perf_counter() - shown

    with torch.inference_mode():
        show()
        torch.testing.assert_close(here(), there(), rtol=1e-4, atol=1e-5)
    return {"visionsmith": partial(timed, show, here), "diffusers": partial(timed, None, there)}


def training() -> dict[str, Callable[[], float]]:
    """The two ways to a training step."""
    unet = denoiser()
    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=(32, 80, 128, 128),
        layers_per_block=2,
        norm_num_groups=16,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=PIXELS,
    ).requires_grad_(False)
    tower = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=384,
            intermediate_size=1536,
            num_hidden_layers=6,
            num_attention_heads=6,
            image_size=112,
            patch_size=14,
            projection_dim=IMAGE_WIDTH,
        )
    ).requires_grad_(False)
    adapter = IPAdapter(config_for(unet, image_width=IMAGE_WIDTH))
    adapter.copy_from(unet)
    attached = adapter.attach(unet)
    noise = DDPMScheduler()
    pictures, small = torch.randn(BATCH, 3, PIXELS, PIXELS), torch.randn(BATCH, 3, 112, 112)
    text = torch.randn(BATCH, TEXT, TEXT_WIDTH)

    @torch.no_grad()
    def encoded() -> tuple[Tensor, Tensor]:
        return vae.encode(pictures).latent_dist.mode(), tower(small).image_embeds

    kept = encoded()

    def step(anew: bool) -> float:
        start = time.perf_counter()
        latents, features = encoded() if anew else kept
        attached.show([ImagePrompt(adapter, adapter.project(features))])
        times, drawn = torch.randint(1000, (BATCH,)), torch.randn_like(latents)
        found = unet(noised(noise, latents, drawn, times), times, text).sample
        (found - target(noise, latents, drawn, times)).square().mean().backward()
        adapter.zero_grad()
        return time.perf_counter() - start

    return {"anew": partial(step, True), "kept": partial(step, False)}


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
    for name, setting in SETTINGS.items():
        seconds = alternate(sampling(**setting), options.repeats)
        figures[f"{name}, seconds of a sampling step"] = seconds
        ratios[f"ip_adapter_sampling_{name}"] = (gain(seconds["diffusers"], seconds["visionsmith"]), 1.0)
    seconds = alternate(training(), options.repeats)
    figures[f"seconds of a training step of {BATCH}"] = seconds
    ratios["ip_adapter_training_kept"] = (gain(seconds["anew"], seconds["kept"]), 1.6)
    report("ip_adapter", figures, ratios)


if __name__ == "__main__":
    main()
