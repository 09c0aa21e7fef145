"""Small random denoisers, painters and encoders."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor

from visionsmith.data.records import RecordStore, pack
from visionsmith.data.sample import Sample
from visionsmith.image.io import encode_png
from visionsmith.papers.ip_adapter import IPAdapter, ResamplerConfig, config_for
from visionsmith.papers.latent_diffusion import LatentDiffusion, Painter
from visionsmith.papers.latent_diffusion.config import (
    AutoencoderConfig,
    DenoiserConfig,
    LatentDiffusionConfig,
    TextConfig,
)
from visionsmith.papers.latent_diffusion.world import World
from visionsmith.papers.paper import shipped_checkpoint

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden" / "ip_adapter.safetensors"
IMAGE_WIDTH = 20
SMALL_RESAMPLER = ResamplerConfig(width=64, depth=4, heads=2, head_width=64)


def golden() -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """State, inputs and outputs, settings."""
    with safe_open(GOLDEN, "pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        settings = json.loads(stored.metadata()["config"])
    parts = [
        {key.removeprefix(f"{part}/"): value for key, value in tensors.items() if key.startswith(f"{part}/")}
        for part in ("state", "io")
    ]
    return parts[0], parts[1], settings


def golden_unet() -> UNet2DConditionModel:
    state, _, settings = golden()
    sizes = {k: v for k, v in settings.items() if k not in ("timestep", "num_tokens", "clip_embeddings_dim")}
    unet = UNet2DConditionModel(**sizes)
    unet.load_state_dict({k.removeprefix("unet."): v for k, v in state.items() if k.startswith("unet.")})
    return unet.eval().requires_grad_(False)


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return golden_unet()


def random_adapter(unet: Any, seed: int = 0, **settings: Any) -> IPAdapter:
    torch.manual_seed(seed)
    if settings.get("variant") == "plus":
        settings = {"resampler": SMALL_RESAMPLER, **settings}
    settings = {"image_width": IMAGE_WIDTH, **settings}
    adapter = IPAdapter(config_for(unet, **settings))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return adapter.eval()


def inputs(count: int = 2, size: int = 8) -> tuple[Tensor, int, Tensor]:
    """Latents, time, text."""
    stream = torch.Generator().manual_seed(7)
    return (
        torch.randn(count, 4, size, size, generator=stream),
        321,
        torch.randn(count, 7, 48, generator=stream),
    )


class ColourEncoder:
    """A stand-in for an image encoder: a fixed projection of a coarse picture."""

    width = IMAGE_WIDTH

    def encode(self, pictures: Iterable[Any]) -> Tensor:
        kept = torch.Generator().manual_seed(3)
        matrix = torch.randn(12, self.width, generator=kept)
        rows = []
        for picture in pictures:
            image = torch.from_numpy(np.asarray(picture)).float() / 127.5 - 1
            coarse = torch.nn.functional.adaptive_avg_pool2d(image.permute(2, 0, 1), 2)
            rows.append(coarse.flatten() @ matrix)
        return torch.stack(rows)

    def nothing(self) -> Tensor:
        return torch.zeros(1, self.width)


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
                widths=(8, 8), layers=1, groups=4, attention=False, image_size=16, scale=1.0
            ),
            text=text,
            denoiser=DenoiserConfig(widths=(16, 32), attends=(True, True), layers=1, heads=2, groups=8),
        )
    ).eval()
    return Painter.of(model, (shipped_checkpoint("clip") / "tokenizer.json").read_bytes())


@pytest.fixture
def painter() -> Painter:
    return make_painter()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            f"{number:02}",
            encode_png(np.full((20, 20, 3), rng.integers(0, 256, 3), dtype=np.uint8)),
            caption=f"a square, number {number}",
        )
        for number in range(12)
    ]
    path = tmp_path_factory.mktemp("ip-adapter") / "small.records"
    pack(samples, path)
    return World(
        store=RecordStore(path), train=tuple(range(9)), held_out=(9, 10, 11), twins={}, about={"records": 9}
    )
