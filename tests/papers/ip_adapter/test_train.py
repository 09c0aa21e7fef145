"""What a training learns from, what it changes, and what it leaves."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.papers.ip_adapter.conftest import (
    IMAGE_WIDTH,
    SMALL_RESAMPLER,
    ColourEncoder,
    golden_unet,
    random_adapter,
)
from visionsmith.papers.ip_adapter import IPAdapter, config_for, load_adapter
from visionsmith.papers.ip_adapter.config import DropConfig
from visionsmith.papers.ip_adapter.evaluate import evaluate
from visionsmith.papers.ip_adapter.objective import Frozen, PromptObjective, dropped
from visionsmith.papers.ip_adapter.recipes import IPAdapterRecipe
from visionsmith.papers.ip_adapter.samples import PromptCollate, PromptSamples, features_of
from visionsmith.papers.ip_adapter.train import make_task, new_objective, train
from visionsmith.papers.latent_diffusion import Judge, Painter
from visionsmith.papers.latent_diffusion.world import World
from visionsmith.train.loop import fit
from visionsmith.train.recipe import OptimConfig, TrainConfig
from visionsmith.train.run_folder import RunFolder


def test_drop_rates_of_one_draw() -> None:
    rates = DropConfig()
    draws = np.random.default_rng(0).random(40_000)
    seen = Counter(dropped(draw, rates) for draw in draws)
    shares = [seen[case] / len(draws) for case in ((True, False), (False, True), (True, True))]
    # Three standard deviations of a share of 5 % in 40,000.
    assert shares == pytest.approx([0.05, 0.05, 0.05], abs=0.0033)
    edges = [dropped(draw, rates) for draw in (0.0, 0.049, 0.051, 0.101, 0.149, 0.151, 0.999)]
    image, text, both, none = (True, False), (False, True), (True, True), (False, False)
    assert edges == [image, image, text, both, both, none, none]


def samples_of(world: World, drop: DropConfig, **settings: Any) -> PromptSamples:
    latents = torch.arange(len(world.train)).float()[:, None, None, None].expand(-1, 4, 8, 8)
    features = ColourEncoder().encode(np.full((4, 4, 3), 20 * i, np.uint8) for i in range(len(world.train)))
    nothing = settings.pop("nothing", torch.zeros(1, IMAGE_WIDTH))
    return PromptSamples(
        world.store, latents, features, nothing, world.train, drop=drop, reword=0.0, seed=0, **settings
    )


def test_samples_drop_what_the_draw_says(world: World) -> None:
    dataset = samples_of(world, DropConfig(image=0.2, text=0.3, both=0.1), nothing=torch.full((1, 20), 7.0))
    seen: Counter[tuple[bool, bool]] = Counter()
    for epoch in range(300):
        for index in world.train:
            sample = dataset[epoch, index]
            assert sample.latents[0, 0, 0] == index
            without = bool((sample.features == 7).all()), sample.caption == ""
            seen[without] += 1
            if not without[1]:
                assert sample.caption == world.store[index].caption
            if not without[0]:
                assert torch.equal(sample.features, dataset.features[index])
    total = sum(seen.values())
    assert seen[True, False] / total == pytest.approx(0.2, abs=0.03)
    assert seen[False, True] / total == pytest.approx(0.3, abs=0.03)
    assert seen[True, True] / total == pytest.approx(0.1, abs=0.03)
    once, again = dataset[5, 3], dataset[5, 3]
    assert torch.equal(once.features, again.features)
    assert once.caption == again.caption


def test_a_dropped_picture_still_passes_the_projector() -> None:
    adapter = random_adapter(golden_unet())
    tokens = adapter.project(torch.zeros(1, IMAGE_WIDTH))
    assert tokens.abs().min() > 0


def test_features_are_kept(world: World, tmp_path: Path) -> None:
    class Counting(ColourEncoder):
        calls = 0

        def encode(self, pictures: Any) -> torch.Tensor:
            self.calls += 1
            return super().encode(pictures)

    encoder, file = Counting(), tmp_path / "features.safetensors"
    first = features_of(encoder, world.store, world.train, file)
    assert torch.equal(features_of(encoder, world.store, world.train, file), first)
    assert encoder.calls == 1
    assert features_of(encoder, world.store, world.held_out, file).shape == (3, IMAGE_WIDTH)
    assert encoder.calls == 2


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_training_lowers_the_loss_and_changes_the_adapter_alone(
    painter: Painter, world: World, prediction: str
) -> None:
    from diffusers import DDPMScheduler

    base = painter.pipeline
    noise = DDPMScheduler.from_config(base.scheduler.config, prediction_type=prediction)
    adapter = IPAdapter(config_for(base.unet, image_width=IMAGE_WIDTH))
    adapter.copy_from(base.unet)
    objective = PromptObjective(adapter, Frozen(base.unet, base.text_encoder, noise))
    assert all(name.startswith("adapter.") for name in objective.state_dict())
    frozen = {
        name: value.clone()
        for part in (base.unet, base.text_encoder, base.vae)
        for name, value in part.state_dict().items()
    }
    dataset, collate = samples_of(world, DropConfig()), PromptCollate(painter.tokenize)
    batch = collate([dataset[0, index] for index in world.train])
    batch["latents"] = torch.randn(len(world.train), 4, 16, 16, generator=torch.Generator().manual_seed(1))

    def loss(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        found: torch.Tensor = objective(batch)["loss"]
        return found

    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    before = float(torch.stack([loss(seed).detach() for seed in range(4)]).mean())
    for step in range(24):
        optimizer.zero_grad()
        torch.autograd.backward(loss(step % 4))
        optimizer.step()
    after = float(torch.stack([loss(seed).detach() for seed in range(4)]).mean())
    assert after < before * 0.99, (before, after)
    for part in (base.unet, base.text_encoder, base.vae):
        assert all(torch.equal(value, frozen[name]) for name, value in part.state_dict().items())


def test_a_run_of_a_few_steps(painter: Painter, world: World, tmp_path: Path) -> None:
    recipe = IPAdapterRecipe(
        train=TrainConfig(
            steps=4, optim=OptimConfig(lr=1e-3), batch_size=4, threads=1, save_every=2, evaluate_every=4
        )
    )
    run = RunFolder(tmp_path / "run")
    run.start(paper="ip_adapter", data=None, recipe=recipe, resume=False)
    task = make_task(recipe, world, painter, ColourEncoder(), Judge(world, painter.size), folder=run.path)
    task = dataclasses.replace(task, samples=None)
    found = fit(task, recipe.train, run, progress=False)
    adapter = load_adapter(found)
    assert adapter.config.image_width == IMAGE_WIDTH
    stored = load_file(found / "model.safetensors")
    assert stored.keys() == adapter.state_dict().keys()
    assert (run.path / "features.safetensors").is_file()
    # Neither does a checkpoint to resume from hold what is frozen.
    kept = sorted(run.checkpoints.rglob("model*.safetensors"))
    assert kept
    for file in kept:
        assert {name.removeprefix("objective.adapter.") for name in load_file(file)} == stored.keys()


@pytest.mark.parametrize("form", ["decoupled", "concatenated"])
def test_a_plus_adapter_trains(painter: Painter, form: Any) -> None:
    """With an encoder's states in place of one embedding."""
    recipe = IPAdapterRecipe(
        variant="plus", form=form, tokens=3, resampler=SMALL_RESAMPLER, train=TrainConfig(steps=1)
    )
    objective = new_objective(recipe, painter, ColourEncoder())
    batch = {
        "latents": torch.randn(2, 4, 16, 16),
        "features": torch.randn(2, 5, IMAGE_WIDTH),
        "tokens": painter.tokenize(["a square", ""]),
    }
    objective(batch)["loss"].backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


@pytest.mark.parametrize("form", ["decoupled", "concatenated"])
def test_with_checkpointing_gradients_are_the_same(painter: Painter, form: Any) -> None:
    found = []
    for checkpointing in (False, True):
        recipe = IPAdapterRecipe(form=form, train=TrainConfig(steps=1), checkpointing=checkpointing)
        objective = new_objective(recipe, painter, ColourEncoder())
        unet = painter.pipeline.unet
        assert unet.is_gradient_checkpointing == checkpointing
        torch.manual_seed(0)
        batch = {
            "latents": torch.randn(2, 4, 16, 16),
            "features": torch.randn(2, IMAGE_WIDTH),
            "tokens": painter.tokenize(["a square", ""]),
        }
        objective(batch)["loss"].backward()
        found.append([parameter.grad for parameter in objective.parameters()])
        objective.attached.detach()
    painter.pipeline.unet.disable_gradient_checkpointing()
    for value, again in zip(*found, strict=True):
        torch.testing.assert_close(value, again, rtol=1e-5, atol=1e-8)
        assert value.any()


def test_train_and_evaluate(painter: Painter, world: World, tmp_path: Path) -> None:
    """The verbs, from a user's pictures and a base in a folder, with the CLIP that ships."""
    painter.save_pretrained(tmp_path / "base")
    recipe = IPAdapterRecipe(
        base=str(tmp_path / "base"),
        train=TrainConfig(steps=2, optim=OptimConfig(lr=1e-3), batch_size=4, threads=1, save_every=2),
    )
    found = train(recipe, data=world.store.path, output=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "samples.png").is_file()
    figures = evaluate(checkpoint=found, data=world.store.path, progress=False)
    assert figures["picture"].keys() == {"0.0", "0.5", "1.0"}
    assert figures["the picture itself"]["clip_i"] == pytest.approx(1.0, abs=1e-5)
    assert all(-1 <= figures["picture"][scale]["clip_i"] <= 1 for scale in ("0.0", "0.5", "1.0"))
