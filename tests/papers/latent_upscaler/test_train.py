"""What is learned from, a run of a few steps, and its figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.papers.latent_upscaler.conftest import SMALL
from visionsmith.errors import ConfigError
from visionsmith.papers.latent_diffusion import Painter, World, encode, some_pictures
from visionsmith.papers.latent_upscaler import load_enlarger
from visionsmith.papers.latent_upscaler.evaluate import evaluate
from visionsmith.papers.latent_upscaler.measure import enlarged_pixels, pictures_of, scores
from visionsmith.papers.latent_upscaler.recipes import LEARNS, UpscalerRecipe, tiny
from visionsmith.papers.latent_upscaler.samples import UpscalingPairs, halved, pairs_of
from visionsmith.papers.latent_upscaler.train import train
from visionsmith.train.recipe import OptimConfig, StageConfig, TrainConfig


def test_half_is_the_mean_of_four() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    means = images.astype(float).reshape(2, 3, 2, 4, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved(images) - means).max() <= 0.5


def test_latents_are_those_of_both_sizes_and_are_kept(
    painter: Painter, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, file = painter.pipeline.vae, tmp_path / "latents.safetensors"
    low, high = pairs_of(vae, world.store, world.train, 32, file)
    assert low.shape == (8, 4, 8, 8)
    assert high.shape == (8, 4, 16, 16)
    images = some_pictures(world.store, [3], 32, 1)
    assert torch.allclose(high[3:4], encode(vae, images), atol=1e-5)
    assert torch.allclose(low[3:4], encode(vae, torch.from_numpy(halved(images.numpy()))), atol=1e-5)
    again = pairs_of(vae, world.store, (1, 2), 32, file)
    assert torch.allclose(again[1], high[1:3], atol=1e-5), "kept for other records"

    def refuse(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr("visionsmith.papers.latent_upscaler.samples.encode", refuse)
    assert torch.equal(pairs_of(vae, world.store, (1, 2), 32, file)[0], again[0])


def test_text_is_dropped_as_often_as_said(world: World) -> None:
    latents = torch.arange(8.0)[:, None, None, None], -torch.arange(8.0)[:, None, None, None]
    dataset = UpscalingPairs(world.store, latents, world.train, drop_text=0.25, seed=0)
    dropped = 0
    for epoch in range(200):
        for index in world.train:
            low, high, caption = dataset[epoch, index]
            assert float(low) == index == -float(high)
            assert caption in ("", world.store[index].caption)
            dropped += caption == ""
    assert dropped / 1600 == pytest.approx(0.25, abs=0.04)
    assert dataset[3, 4][2] == dataset[3, 4][2]


def test_train_and_evaluate(painter: Painter, world: World, tmp_path: Path) -> None:
    """The verbs, on a user's pictures and a base in a folder; what is frozen stays, and is not written again."""
    painter.save_pretrained(tmp_path / "base")
    recipe = UpscalerRecipe(
        model=dataclasses.replace(SMALL, base=str(tmp_path / "base")),
        train=TrainConfig(
            stages=(StageConfig(steps=3, trainable=LEARNS, optim=OptimConfig(lr=1e-2)),),
            batch_size=4,
            threads=1,
            save_every=2,
        ),
    )
    found = train(recipe, data=world.store.path, output=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "samples.png").is_file()
    stored = load_file(found / "model.safetensors")
    enlarger = load_enlarger(found)
    assert stored.keys() == enlarger.pipeline.unet.state_dict().keys()
    assert enlarger.tile == 16
    figures = evaluate(checkpoint=found, data=world.store.path, progress=False)
    assert figures["upscaler"].keys() == {"2", "4", "10"}
    assert figures["pixels"].keys() == {"nearest", "bicubic", "Lanczos"}
    assert all(
        -1 <= row["ssim"] <= 1 and row["psnr"] > 0
        for row in (*figures["upscaler"].values(), *figures["latents"].values(), figures["autoencoder"])
    )


def test_scores(world: World) -> None:
    low, high = pictures_of(world, world.held_out, 32)
    assert low.shape == (2, 16, 16, 3)
    assert scores(high, high) == {"psnr": 100.0, "ssim": pytest.approx(1.0)}
    assert np.array_equal(enlarged_pixels(low, "nearest"), low.repeat(2, axis=1).repeat(2, axis=2))
    bicubic, nearest = (scores(enlarged_pixels(low, kind), high) for kind in ("bicubic", "nearest"))
    assert bicubic != nearest


def test_recipes() -> None:
    assert tiny().model.sample_size == 32
    with pytest.raises(ConfigError, match="drop_text = 2"):
        UpscalerRecipe(model=SMALL, train=TrainConfig(), drop_text=2)
    with pytest.raises(ConfigError, match="log_std = 0"):
        UpscalerRecipe(model=SMALL, train=TrainConfig(), log_std=0)
