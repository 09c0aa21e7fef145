"""Pictures in, pictures out: the user's class, the command, the figures, the image encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from typer.testing import CliRunner

from tests.papers.ip_adapter.conftest import IMAGE_WIDTH, ColourEncoder, random_adapter
from visionsmith.cli.app import app
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.ip_adapter import ImagePrompter, export
from visionsmith.papers.ip_adapter import run as ways_in
from visionsmith.papers.ip_adapter.encoder import ClipEncoder, TowerEncoder, open_encoder
from visionsmith.papers.ip_adapter.measure import prompt_sheet, scores
from visionsmith.papers.latent_diffusion import Judge, Painter
from visionsmith.papers.latent_diffusion.world import World

QUICK: dict[str, Any] = {"steps": 2}


def square(colour: tuple[int, int, int], side: int = 16) -> np.ndarray:
    return np.full((side, side, 3), colour, dtype=np.uint8)


RED, BLUE = square((220, 30, 30)), square((30, 40, 220))


@pytest.fixture
def prompter(painter: Painter) -> ImagePrompter:
    return ImagePrompter(painter, random_adapter(painter.pipeline.unet), ColourEncoder())


def test_paint(prompter: ImagePrompter) -> None:
    red = prompter.paint([RED], count=3, **QUICK)
    assert red.shape == (3, 16, 16, 3)
    assert red.dtype == np.uint8
    assert np.array_equal(prompter.paint([RED], count=3, **QUICK), red)
    assert np.array_equal(prompter.paint([RED], count=1, seed=2, **QUICK)[0], red[2])
    assert not np.array_equal(prompter.paint([BLUE], count=3, **QUICK), red)
    assert not np.array_equal(prompter.paint([RED], text="a square", count=3, **QUICK), red)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_scale_0_paints_what_the_base_paints(prompter: ImagePrompter, guidance: float) -> None:
    alone = prompter.painter.paint(["a square"], guidance=guidance, **QUICK)
    none = prompter.paint([RED], text="a square", count=1, scale=0.0, guidance=guidance, **QUICK)
    assert np.array_equal(none, alone)
    some = prompter.paint([RED], text="a square", count=1, guidance=guidance, **QUICK)
    assert not np.array_equal(some, alone)
    # Nothing stays shown.
    assert np.array_equal(prompter.painter.paint(["a square"], guidance=guidance, **QUICK), alone)


def test_diffusers_paints_the_same(painter: Painter, prompter: ImagePrompter) -> None:
    """The published path, with its zero embedding for guidance, beside ours."""
    from tests.papers.ip_adapter.test_official import nested

    features = prompter.encoder.encode([RED])
    ours = prompter.paint([RED], text="a square", count=1, scale=0.7, **QUICK)
    prompter.attached.detach()
    unet = painter.pipeline.unet
    unet._load_ip_adapter_weights([nested(export(prompter.adapter))])
    painter.pipeline.set_ip_adapter_scale(0.7)
    embeds = torch.stack((torch.zeros_like(features), features))
    theirs = painter.paint(["a square"], ip_adapter_image_embeds=[embeds], **QUICK)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_paint_each_is_one_prompt_a_picture(prompter: ImagePrompter) -> None:
    features = prompter.encoder.encode([RED, BLUE])
    each = prompter.paint_each(features, **QUICK)
    alone = prompter.paint([BLUE], count=1, seed=1, **QUICK)[0]
    assert np.abs(each[1].astype(int) - alone).max() <= 1
    many = prompter.paint_each(features[:1].expand(18, -1), steps=1)
    assert many.shape[0] == 18


def test_two_pictures_and_their_regions(prompter: ImagePrompter) -> None:
    left = np.zeros((16, 16), dtype=np.float32)
    left[:, :8] = 1
    both = prompter.paint([RED, BLUE], count=2, **QUICK)
    regions = prompter.paint([RED, BLUE], count=2, masks=[left, 1 - left], **QUICK)
    swapped = prompter.paint([BLUE, RED], count=2, masks=[1 - left, left], **QUICK)
    assert not np.array_equal(both, regions)
    assert np.abs(regions.astype(int) - swapped).max() <= 1
    with pytest.raises(ConfigError, match="1 masks for 2 pictures"):
        prompter.paint([RED, BLUE], masks=[left], **QUICK)
    with pytest.raises(ConfigError, match="a mask is empty"):
        prompter.paint([RED], masks=[0 * left], **QUICK)


def test_refusals(painter: Painter, prompter: ImagePrompter) -> None:
    with pytest.raises(ConfigError, match="no picture was given"):
        prompter.paint([])
    with pytest.raises(ConfigError, match="count = 0 is out of range"):
        prompter.paint([RED], count=0)
    prompter.attached.detach()
    wide = random_adapter(painter.pipeline.unet, image_width=1024)
    with pytest.raises(
        CheckpointError, match=r"width 20, and this 'base' adapter takes 1024; use CLIP ViT-H/14"
    ):
        ImagePrompter(painter, wide, ColourEncoder())


def test_command(prompter: ImagePrompter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways_in, "load", lambda *given, **options: prompter)
    write_image(tmp_path / "red.png", RED)
    half = square((0, 0, 0))
    half[:8] = 255
    write_image(tmp_path / "mask.png", half)
    sheet = tmp_path / "sheet.png"
    given = ["run", "ip_adapter", str(tmp_path / "red.png"), "--text", "a square", "--scale", "0.5"]
    settings = ["--count", "2", "--steps", "2", "--mask", str(tmp_path / "mask.png"), "--output", str(sheet)]
    done = CliRunner().invoke(app, [*given, *settings, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["seeds"] == [0, 1]
    assert read_image(sheet).ndim == 3


def test_load_of_a_published_file(painter: Painter, tmp_path: Path) -> None:
    save_file(export(random_adapter(painter.pipeline.unet)), tmp_path / "adapter.safetensors")
    painter.save_pretrained(tmp_path / "base")
    with pytest.raises(CheckpointError, match=r"features have width \d+, and this 'base' adapter takes 20"):
        ways_in.load(tmp_path / "adapter.safetensors", base=tmp_path / "base")
    encoder = tower(tmp_path / "tower")
    opened = ways_in.load(tmp_path / "adapter.safetensors", base=tmp_path / "base", encoder=encoder)
    assert opened.paint([RED], count=1, **QUICK).shape == (1, 16, 16, 3)


def test_figures(prompter: ImagePrompter, world: World) -> None:
    judge, asked = Judge(world, prompter.painter.size), list(world.held_out)
    itself = scores(judge, judge.real(asked), asked)
    assert itself["clip_i"] == pytest.approx(1.0, abs=1e-5)
    assert itself["found"] == 1.0
    other = scores(judge, np.roll(judge.real(asked), 1, axis=0), asked)
    assert other["clip_i"] < 1.0
    assert prompt_sheet(prompter, judge, world, asked, steps=1).ndim == 3


def tower(folder: Path) -> Path:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=IMAGE_WIDTH,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def test_a_vision_tower_of_transformers(tmp_path: Path) -> None:
    folder = str(tower(tmp_path / "tower"))
    pooled, states = (open_encoder(folder, variant) for variant in ("base", "plus"))
    assert isinstance(pooled, TowerEncoder)
    assert (pooled.width, states.width) == (IMAGE_WIDTH, 24)
    assert pooled.encode([RED, BLUE]).shape == (2, IMAGE_WIDTH)
    assert not pooled.nothing().any()
    assert states.encode([RED, BLUE]).shape == (2, 5, 24)
    # Of a picture that is zero after normalisation, which is none of the pictures.
    assert states.nothing().shape == (1, 5, 24)
    assert states.nothing().any()


def test_the_clip_that_ships() -> None:
    encoder = open_encoder(None, "base")
    assert isinstance(encoder, ClipEncoder)
    found = encoder.encode([RED])
    assert found.shape == (1, encoder.width)
    assert float(found.square().mean()) == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(ConfigError, match="a 'plus' adapter reads hidden states"):
        open_encoder(None, "plus")
