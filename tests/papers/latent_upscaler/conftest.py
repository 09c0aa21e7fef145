"""A small upscaler of random weights, and small data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visionsmith.data.records import RecordStore, pack
from visionsmith.data.records.layout import Sample
from visionsmith.image.io import encode_png
from visionsmith.papers.latent_diffusion import LatentDiffusion, LatentDiffusionConfig, Painter, World
from visionsmith.papers.latent_diffusion.config import AutoencoderConfig, DenoiserConfig, TextConfig
from visionsmith.papers.latent_upscaler import Enlarger, UpscalerConfig, make_upscaler
from visionsmith.papers.paper import shipped_checkpoint

SMALL = UpscalerConfig(
    widths=(32, 32), attends=(False, True), layers=1, head_width=16, text_width=16, sample_size=16
)
"""With the base below: tiles of 16 px, of which one latent stands for 2 x 2."""


def make_painter() -> Painter:
    torch.manual_seed(0)
    text = TextConfig(
        vocab_size=2048,
        context_length=12,
        width=16,
        heads=2,
        layers=1,
        start_token=2046,
        end_token=2047,
        pad_token=2047,
    )
    model = LatentDiffusion(
        LatentDiffusionConfig(
            autoencoder=AutoencoderConfig(
                widths=(8, 8), layers=1, groups=4, attention=False, image_size=16, scale=0.7
            ),
            text=text,
            denoiser=DenoiserConfig(widths=(16, 32), attends=(True, True), layers=1, heads=2, groups=8),
        )
    ).eval()
    return Painter.of(model, (shipped_checkpoint("clip") / "tokenizer.json").read_bytes())


@pytest.fixture(scope="package")
def painter() -> Painter:
    return make_painter()


@pytest.fixture(scope="package")
def enlarger(painter: Painter) -> Enlarger:
    torch.manual_seed(1)
    unet = make_upscaler(SMALL).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            # New ones have layers of zeros, which would hide what does not arrive.
            parameter.add_(0.05 * torch.randn_like(parameter))
    return Enlarger.of(unet, painter)


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            f"{number:02}",
            encode_png(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)),
            caption=f"a carpet, number {number}",
        )
        for number in range(10)
    ]
    path: Path = tmp_path_factory.mktemp("latent-upscaler") / "small.records"
    pack(samples, path)
    return World(
        store=RecordStore(path), train=tuple(range(8)), held_out=(8, 9), twins={}, about={"records": 8}
    )
