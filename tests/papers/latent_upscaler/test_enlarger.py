"""Pictures of any size, tiles without seams, the command, and diffusers' own pipeline beside it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import visionsmith as vs
from visionsmith.cli.app import app
from visionsmith.diffusion.library import StableDiffusionLatentUpscalePipeline
from visionsmith.errors import CheckpointError, ConfigError, DataError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.latent_diffusion import Painter, decode, encode
from visionsmith.papers.latent_upscaler import Enlarger, load_enlarger
from visionsmith.papers.latent_upscaler.tiling import blend, starts, window


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("text", "guidance"), [("", 1.0), ("a carpet", 1.0), ("a carpet", 4.0)])
def test_one_tile_is_the_pipelines_own_output(enlarger: Enlarger, text: str, guidance: float) -> None:
    image, pipeline = picture(16, 16), enlarger.pipeline
    ours = enlarger.enlarge(image, text=text, guidance=guidance, steps=3, seed=11, faithful=False)
    theirs = pipeline(
        text,
        image=encode(pipeline.vae, torch.from_numpy(image[None])),
        guidance_scale=guidance if text else 0.0,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(11),
        output_type="latent",
    ).images
    assert np.array_equal(ours, decode(pipeline.vae, theirs)[0])
    batch = enlarger.enlarge_batch(image[None], seeds=[11], steps=3, faithful=False)
    assert np.array_equal(batch[0], ours) == (not text)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (16, 17), (45, 20)])
def test_any_size(enlarger: Enlarger, shape: tuple[int, int]) -> None:
    found = enlarger.enlarge(picture(*shape), steps=2)
    assert (found.shape, found.dtype) == ((2 * shape[0], 2 * shape[1], 3), np.uint8)
    assert np.array_equal(enlarger.enlarge(picture(*shape), steps=2), found)


def test_gray_and_transparent(enlarger: Enlarger) -> None:
    gray = picture(10, 14)[:, :, 0]
    assert np.array_equal(enlarger.enlarge(gray, steps=2), enlarger.enlarge(np.dstack([gray] * 3), steps=2))
    colours = picture(10, 14)
    clear = np.dstack([colours, np.zeros((10, 14), np.uint8)])
    white = np.full((10, 14, 3), 255, np.uint8)
    assert np.array_equal(enlarger.enlarge(clear, steps=2), enlarger.enlarge(white, steps=2))


def test_batches_of_tiles_change_nothing(enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(40, 30)
    whole = enlarger.enlarge(image, steps=2)
    monkeypatch.setattr("visionsmith.papers.latent_upscaler.enlarger.BATCH", 2)
    parts = enlarger.enlarge(image, steps=2)
    # Sums in another order may round a gray level the other way.
    assert np.abs(parts.astype(int) - whole).max() <= 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tile": 2}, "tile = 2"),
        ({"tile": 15}, "tile = 15"),
        ({"overlap": 10}, "overlap = 10"),
        ({"overlap": 3}, "overlap = 3"),
        ({"steps": 1}, "steps = 1"),
        ({"steps": 1001}, "steps = 1001"),
        ({"guidance": float("nan")}, "guidance = nan"),
    ],
)
def test_wrong_settings(enlarger: Enlarger, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        enlarger.enlarge(picture(16, 16), **settings)


def test_not_a_picture(enlarger: Enlarger) -> None:
    with pytest.raises(DataError, match="not a NumPy array"):
        enlarger.enlarge("cat.png")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "unit"),
    [(64, 64, 16, 4), (68, 64, 16, 4), (500, 64, 16, 4), (96, 32, 0, 8)],
)
def test_starts(length: int, tile: int, overlap: int, unit: int) -> None:
    found = starts(length, tile, overlap, unit)
    assert found[0] == 0
    assert found[-1] + tile == length
    assert all(place % unit == 0 for place in found)
    assert all(before + tile - after >= overlap for before, after in pairwise(found))
    assert len(found) == 1 or starts(length, tile, overlap, unit)[-2] + tile < length


def test_blending() -> None:
    """Tiles of one picture give it back; of tiles that differ the change is spread over what they share."""
    rows, columns = [0, 20, 40], [0, 24]
    true = np.add.outer(np.arange(72.0), 3 * np.arange(56.0))[:, :, None].repeat(3, axis=2)
    tiles = np.stack([true[y : y + 32, x : x + 32] for y in rows for x in columns])
    assert np.allclose(blend(tiles, rows, columns), true, atol=1e-9)
    flat = np.zeros((2, 32, 32, 3))
    flat[1] = 100
    found = blend(flat, [0], columns)[0, :, 0]
    assert found[23] == 0
    assert found[32] == 100
    # The steepest place of half a cosine over 8 pixels.
    assert np.diff(found).max() <= 100 * np.pi / 2 / 8
    assert np.all(np.diff(found) >= 0)
    first, second = window(columns, 32)
    assert np.allclose(first[24:] + second[:8], 1)


def test_no_seams() -> None:
    """The shipped upscaler on what any seam would show in: the step at a tile's border is no larger than others."""
    enlarger = vs.load("latent_upscaler")
    ramp = np.linspace(40, 215, 160)
    smooth = np.stack(
        [np.tile(ramp, (64, 1)), np.full((64, 160), 128.0), np.tile(ramp[::-1], (64, 1))], axis=2
    )
    for image in (np.full((64, 160, 3), (240, 200, 120), np.uint8), smooth.astype(np.uint8)):
        found = enlarger.enlarge(image, steps=3).astype(float)
        columns = starts(160, 64, 16, enlarger.unit)
        assert len(columns) == 3
        # Mean step between neighbouring columns; what the picture's own edge does is left out.
        steps = np.abs(np.diff(found.mean(axis=0), axis=0)).max(axis=1)[8:-8]
        edges = [2 * place - 1 - 8 for place in columns[1:]] + [
            2 * (place + 64) - 1 - 8 for place in columns[:-1]
        ]
        inside = np.delete(steps, edges)
        assert steps[edges].max() <= inside.max()


def test_export_opens_in_diffusers(enlarger: Enlarger, tmp_path: Path) -> None:
    enlarger.save_pretrained(tmp_path / "folder")
    theirs = StableDiffusionLatentUpscalePipeline.from_pretrained(tmp_path / "folder", local_files_only=True)
    assert theirs.scheduler.config.prediction_type == "sample"
    image = picture(16, 24)
    again = load_enlarger(tmp_path / "folder")
    assert np.array_equal(again.enlarge(image, steps=2), enlarger.enlarge(image, steps=2))
    assert np.array_equal(Enlarger(theirs).enlarge(image, steps=2), enlarger.enlarge(image, steps=2))


def test_other_folders_are_refused(painter: Painter, enlarger: Enlarger, tmp_path: Path) -> None:
    painter.save_pretrained(tmp_path / "painter")
    with pytest.raises(CheckpointError, match="holds a StableDiffusionPipeline"):
        load_enlarger(tmp_path / "painter")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a folder"):
        load_enlarger(tmp_path / "empty")
    enlarger.save_pretrained(tmp_path / "broken")
    (tmp_path / "broken" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="its unet has no weights"):
        load_enlarger(tmp_path / "broken")


def test_command(enlarger: Enlarger, tmp_path: Path) -> None:
    enlarger.save_pretrained(tmp_path / "folder")
    write_image(tmp_path / "small.png", picture(9, 20))
    common = ["run", "latent_upscaler", "--checkpoint", str(tmp_path / "folder"), "--steps", "2"]
    big = tmp_path / "big.png"
    done = CliRunner().invoke(
        app,
        [
            *common,
            str(tmp_path / "small.png"),
            "--output",
            str(big),
            "--json",
            "--export",
            str(tmp_path / "new"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["to"] == "40 x 18"
    assert np.array_equal(read_image(big), enlarger.enlarge(picture(9, 20), steps=2))
    assert (tmp_path / "new" / "model_index.json").is_file()
    for arguments, sentence in (
        ([], "no picture was given"),
        ([str(tmp_path / "none.png")], "cannot be read"),
        ([str(tmp_path / "small.png"), "--tile", "5"], "tile = 5"),
        ([str(tmp_path / "small.png"), "--output", str(tmp_path / "big.xyz")], "no ending of a picture"),
        ([str(tmp_path / "small.png"), "--export", str(tmp_path / "new")], "exists already"),
    ):
        failed = CliRunner().invoke(app, [*common, *arguments])
        assert failed.exit_code != 0
        assert sentence in str(failed.exception)
