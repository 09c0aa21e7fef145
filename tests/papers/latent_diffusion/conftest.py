"""Tiny models of random weights, and a run of a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from visionsmith.cli.app import app
from visionsmith.papers.clip.clip import Clip
from visionsmith.papers.clip.run import load as load_clip
from visionsmith.papers.latent_diffusion.config import (
    AutoencoderConfig,
    DenoiserConfig,
    LatentDiffusionConfig,
    NoiseConfig,
)
from visionsmith.papers.latent_diffusion.model import LatentDiffusion
from visionsmith.papers.latent_diffusion.text import text_config, text_state

SMALL = [
    "model.autoencoder.widths=[8,8]", "model.autoencoder.groups=4", "model.autoencoder.image_size=16",
    "model.denoiser.widths=[8,16]", "model.denoiser.heads=2", "model.denoiser.groups=4",
    "train.stages.0.steps=3", "train.batch_size=4", "train.log_every=1", "train.save_every=2",
    "train.evaluate_every=0", "train_autoencoder.steps=3", "train_autoencoder.batch_size=4",
    "train_autoencoder.log_every=1", "train_autoencoder.evaluate_every=0",
]  # fmt: skip


@pytest.fixture(scope="package")
def clip() -> Clip:
    return load_clip()


@pytest.fixture(scope="package")
def small(clip: Clip) -> LatentDiffusion:
    torch.manual_seed(0)
    model = LatentDiffusion(
        LatentDiffusionConfig(
            autoencoder=AutoencoderConfig(
                widths=(8, 16), layers=1, groups=4, attention=False, image_size=16, scale=1.0
            ),
            text=text_config(clip.model, clip.tokenizer),
            denoiser=DenoiserConfig(widths=(8, 16), attends=(False, True), layers=1, heads=2, groups=4),
            noise=NoiseConfig(prediction="v_prediction", zero_snr=True),
        )
    )
    model.text_encoder.load_state_dict(text_state(clip.model), strict=False)
    return model.eval()


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a few steps: RUN/model, RUN/autoencoder/model."""
    output = tmp_path_factory.mktemp("latent_diffusion") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visionsmith.papers.latent_diffusion.train.QUICK", 2)
        patch.setattr("visionsmith.papers.latent_diffusion.train.QUICK_STEPS", 2)
        command = ["train", "latent_diffusion", "--output", str(output), "--quiet", *SMALL]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return output
