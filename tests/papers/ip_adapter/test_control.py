"""A ControlNet beside an adapter: what diffusers paints with both, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests.papers.ip_adapter.conftest import ColourEncoder, make_painter, random_adapter
from tests.papers.ip_adapter.test_official import nested
from visionsmith.cli.app import app
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import write_image
from visionsmith.papers.ip_adapter import ImagePrompter, export
from visionsmith.papers.latent_diffusion import Painter, with_control

QUICK: dict[str, Any] = {"steps": 2, "count": 1, "text": "a square"}
RED = np.full((16, 16, 3), (220, 30, 30), dtype=np.uint8)


def edges(side: int = 16) -> np.ndarray:
    drawn = np.zeros((side, side, 3), dtype=np.uint8)
    drawn[side // 4 : -side // 4, side // 4] = 255
    return drawn


def make_controlnet(folder: Path, unet: Any) -> Path:
    """Copied from the denoiser, its zero layers made to say something."""
    torch.manual_seed(1)
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def steered(painter: Painter, tmp_path: Path) -> Painter:
    return with_control(painter, make_controlnet(tmp_path / "controlnet", painter.pipeline.unet))


@pytest.fixture
def prompter(steered: Painter) -> ImagePrompter:
    return ImagePrompter(steered, random_adapter(steered.pipeline.unet), ColourEncoder())


def test_control_and_picture_both_count(prompter: ImagePrompter) -> None:
    both = prompter.paint([RED], control=edges(), **QUICK)
    assert both.shape == (1, 16, 16, 3)
    assert np.array_equal(prompter.paint([RED], control=edges(), **QUICK), both)
    assert not np.array_equal(prompter.paint([RED], control=edges(), scale=0.0, **QUICK), both)
    assert not np.array_equal(prompter.paint([RED], control=edges()[:, ::-1], **QUICK), both)


def test_control_at_scale_0_is_none(prompter: ImagePrompter) -> None:
    plain = ImagePrompter(make_painter(), prompter.adapter, ColourEncoder())
    none = prompter.paint([RED], control=edges(), control_scale=0.0, **QUICK)
    assert np.array_equal(none, plain.paint([RED], **QUICK))


def test_diffusers_paints_the_same_with_both(prompter: ImagePrompter) -> None:
    features = prompter.encoder.encode([RED])
    ours = prompter.paint([RED], control=edges(), control_scale=0.8, scale=0.7, **QUICK)
    prompter.attached.detach()
    pipeline = prompter.painter.pipeline
    pipeline.unet._load_ip_adapter_weights([nested(export(prompter.adapter))])
    pipeline.set_ip_adapter_scale(0.7)
    painter: Any = prompter.painter
    theirs = painter.paint(
        ["a square"],
        steps=2,
        image=torch.from_numpy(edges()).permute(2, 0, 1)[None].float() / 255,
        controlnet_conditioning_scale=0.8,
        ip_adapter_image_embeds=[torch.stack((torch.zeros_like(features), features))],
    )
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_what_does_not_fit(prompter: ImagePrompter, painter: Painter, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no control picture was given"):
        prompter.paint([RED], **QUICK)
    plain = ImagePrompter(make_painter(), prompter.adapter, ColourEncoder())
    with pytest.raises(ConfigError, match="the painter has no ControlNet"):
        plain.paint([RED], control=edges(), **QUICK)
    with pytest.raises(ConfigError, match=r"has 32 x 16 pixels, .* than 16 x 16"):
        prompter.paint([RED], control=np.zeros((16, 32, 3), dtype=np.uint8), **QUICK)
    larger = prompter.paint([RED], control=edges(64), **QUICK)
    assert larger.shape == (1, 16, 16, 3)
    wide = ControlNetModel(
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        cross_attention_dim=40,
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=2,
        conditioning_embedding_out_channels=(8, 16),
    )
    wide.save_pretrained(tmp_path / "wide")
    with pytest.raises(CheckpointError, match="for a text width of 40, and the denoiser has 16"):
        with_control(painter, tmp_path / "wide")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="cannot be opened as a ControlNet"):
        with_control(painter, tmp_path / "empty")


def test_command(painter: Painter, tmp_path: Path) -> None:
    painter.save_pretrained(tmp_path / "base")
    make_controlnet(tmp_path / "controlnet", painter.pipeline.unet)
    adapter = random_adapter(painter.pipeline.unet, image_width=256)
    save_file(export(adapter), tmp_path / "adapter.safetensors")
    write_image(tmp_path / "red.png", RED)
    write_image(tmp_path / "edges.png", edges())
    given = ["run", "ip_adapter", str(tmp_path / "red.png"), "--control", str(tmp_path / "edges.png")]
    given += ["--checkpoint", str(tmp_path / "adapter.safetensors"), "--base", str(tmp_path / "base")]
    given += ["--steps", "2", "--count", "1", "--output", str(tmp_path / "sheet.png"), "--quiet"]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code != 0
    assert "has no ControlNet" in str(refused.exception)
    assert not (tmp_path / "sheet.png").exists()
    done = CliRunner().invoke(app, [*given, "--controlnet", str(tmp_path / "controlnet")])
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "sheet.png").is_file()
