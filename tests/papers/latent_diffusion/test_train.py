"""A few steps from nothing, then everything that a user does with what came out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.papers.latent_diffusion.conftest import SMALL
from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.data.builtin import openmoji_store
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import read_image, write_image
from visionsmith.memory.locks import library_load
from visionsmith.papers.latent_diffusion import evaluate
from visionsmith.papers.latent_diffusion.latents import LatentPairs
from visionsmith.papers.latent_diffusion.official import (
    from_official,
    load_autoencoder,
    load_checkpoint,
    load_painter,
)
from visionsmith.papers.latent_diffusion.recipes import LatentDiffusionRecipe, tiny
from visionsmith.papers.latent_diffusion.world import open_world


def invoke(*command: str) -> str:
    done = CliRunner().invoke(app, list(command), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_both_runs_are_whole(trained: Path) -> None:
    assert checkpoint.verify(trained / "model") is None
    assert checkpoint.verify(trained / "autoencoder" / "model") is None
    assert read_image(trained / "samples.png").ndim == 3
    model, _ = load_checkpoint(trained / "model")
    alone = load_autoencoder(trained / "autoencoder" / "model")
    stored = {
        name: value.half().float() if value.ndim > 1 else value for name, value in alone.state_dict().items()
    }
    assert all(torch.equal(value, stored[name]) for name, value in model.vae.state_dict().items())


def test_the_latents_that_were_kept_are_white(trained: Path) -> None:
    latents = load_file(trained / "latents.safetensors")["latents"]
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=0.1)
    assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=0.1)


def test_it_paints_and_a_seed_says_which_picture(trained: Path, tmp_path: Path) -> None:
    model = str(trained / "model")
    out = tmp_path / "p.png"
    told = invoke("run", "latent_diffusion", "a cat", "a dog", "--count", "2", "--steps", "2", "--checkpoint", model,
                  "--output", str(out), "--json")  # fmt: skip
    rows = json.loads(told)["pictures"]
    assert [(row["text"], row["seed"]) for row in rows] == [
        ("a cat", 0),
        ("a cat", 1),
        ("a dog", 0),
        ("a dog", 1),
    ]
    pictures = [read_image(Path(row["file"])) for row in rows]
    assert {picture.shape for picture in pictures} == {(16, 16, 3)}
    again = tmp_path / "again.png"
    invoke(
        "run",
        "latent_diffusion",
        "a cat",
        "--seed",
        "1",
        "--steps",
        "2",
        "--checkpoint",
        model,
        "--output",
        str(again),
    )
    # Batches of other sizes round differently.
    assert np.abs(read_image(again).astype(int) - pictures[1]).max() <= 2
    assert not np.array_equal(pictures[0], pictures[1])


def test_a_folder_of_diffusers_is_the_same_model_both_ways(trained: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "folder", tmp_path / "p.png"
    invoke("run", "latent_diffusion", "a cat", "--steps", "2", "--checkpoint", str(trained / "model"), "--output",
           str(out), "--export", str(folder))  # fmt: skip
    with library_load():
        theirs = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    theirs.set_progress_bar_config(disable=True)
    image = theirs("a cat", num_inference_steps=2, guidance_scale=3.0, generator=torch.Generator().manual_seed(0),
                   height=16, width=16, negative_prompt="", output_type="np").images[0]  # fmt: skip
    assert np.array_equal((image * 255).round().astype(np.uint8), read_image(out))
    assert np.array_equal(load_painter(folder).paint(["a cat"], steps=2)[0], read_image(out))
    ours = load_checkpoint(trained / "model")[0]
    state = {f"{part}.{name}": value for part in ("vae", "text_encoder", "unet")
             for name, value in getattr(theirs, part).state_dict().items()}  # fmt: skip
    again = from_official(state, ours.config)
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in again.state_dict().items())
    old = {name.replace("text_encoder.", "text_encoder.text_model."): value for name, value in state.items()}
    assert torch.equal(from_official(old, ours.config).unet.conv_in.weight, ours.unet.conv_in.weight)
    state.pop("unet.conv_in.weight")
    with pytest.raises(CheckpointError, match=r"unet\.conv_in\.weight"):
        from_official(state, ours.config)


def test_pickles_and_strangers_are_refused(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    load_painter(trained / "model").save_pretrained(folder)
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="pickle"):
        load_painter(folder)
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(CheckpointError, match="FluxPipeline"):
        load_painter(folder)
    with pytest.raises(CheckpointError, match="model_index"):
        load_painter(tmp_path)
    with pytest.raises(CheckpointError, match="autoencoder alone"):
        load_painter(trained / "autoencoder" / "model")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--height", "18"], "multiple of 4"),
        (["--steps", "0"], "1 to 1000"),
        (["--guidance", "-1"], "guidance = -1.0"),
        (["--output", "x.jpg"], "PNG"),
    ],
)
def test_a_wrong_setting_gets_a_sentence(trained: Path, options: list[str], reason: str) -> None:
    command = ["run", "latent_diffusion", "a cat", "--checkpoint", str(trained / "model"), *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code != 0
    assert reason in str(done.exception or done.output)


def test_too_long_a_text_is_told(trained: Path, tmp_path: Path) -> None:
    command = ["run", "latent_diffusion", "cat " * 60, "--checkpoint", str(trained / "model"), "--steps", "2",
               "--output", str(tmp_path / "p.png")]  # fmt: skip
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "beyond what the model reads" in done.output


def test_evaluation_has_its_baselines(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "COUNT", 3)
    monkeypatch.setattr(evaluate, "STEPS", 2)
    found = evaluate.evaluate(checkpoint=trained / "model", progress=False)
    assert found["held_out"]["pictures"] == 3
    assert found["held_out"]["real"]["pixels"] == 0
    assert found["held_out"]["real"]["frechet"] == pytest.approx(0, abs=1e-6)
    assert found["held_out"]["nearest"]["pixels"] > 0
    assert 0 <= found["seen"]["painted"]["top1"] <= 1


def test_a_users_pictures_train_it(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for place in range(24):
        write_image(folder / f"{place}.png", np.full((20, 24, 3), place * 10, np.uint8))
        (folder / f"{place}.txt").write_text(f"gray {place}")
    out = tmp_path / "run"
    settings = [each for each in SMALL if not each.startswith("train_autoencoder")]
    invoke("train", "latent_diffusion", "--data", str(folder), "--output", str(out), "--quiet", *settings,
           f"autoencoder={trained / 'autoencoder' / 'model'}")  # fmt: skip
    card = json.loads((out / "model" / "card.json").read_text())
    assert card["data"]["records"] == 23
    assert not (out / "autoencoder").exists()


def test_both_runs_keep_the_same_pairs_to_measure_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the autoencoder would have seen what the denoiser is measured with."""
    folder, kept = tmp_path / "mine", []
    folder.mkdir()
    for place in range(40):
        write_image(folder / f"{place}.png", np.full((16, 16, 3), place * 5, np.uint8))
        (folder / f"{place}.txt").write_text(f"gray {place}")

    def opened(*given, **options):
        world = open_world(*given, **options)
        kept.append(world.held_out)
        return world

    monkeypatch.setattr("visionsmith.papers.latent_diffusion.world.open_world", opened)
    monkeypatch.setattr("visionsmith.papers.latent_diffusion.train.QUICK_STEPS", 2)
    invoke("train", "latent_diffusion", "--data", str(folder), "--output", str(tmp_path / "run"), "--quiet", *SMALL,
           "train.seed=3", "train_autoencoder.seed=0")  # fmt: skip
    assert len(kept) == 2
    assert kept[0] == kept[1]
    assert open_world(folder, size=16, into=tmp_path / "other", seed=0).held_out != kept[0]


def test_twins_are_true_for_each_other() -> None:
    world = open_world(None, size=64)
    assert set(world.train).isdisjoint(world.held_out)
    twins = [group for group in world.twins.values() if len(group) > 1]
    some = min(twins[0])
    images = {world.store[index].image for index in world.truth(some)}
    assert len(images) == 1
    assert world.truth(some) == world.truth(max(twins[0]))


def test_captions_vary_and_are_left_out_as_asked() -> None:
    store = openmoji_store(64)
    latents = torch.zeros(200, 4, 2, 2)
    pairs = LatentPairs(store, latents, range(200), reword=0.0, drop_text=0.25, seed=0)
    said = [pairs[0, index][1] for index in range(200)]
    assert 30 <= said.count("") <= 70
    assert all(text in ("", store[index].caption) for index, text in enumerate(said))
    assert said == [pairs[0, index][1] for index in range(200)]
    assert said != [pairs[1, index][1] for index in range(200)]


def test_recipes_refuse_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="no autoencoder"):
        LatentDiffusionRecipe(model=tiny().model, train=tiny().train)
    with pytest.raises(ConfigError, match="drop_text"):
        LatentDiffusionRecipe(model=tiny().model, train=tiny().train, autoencoder="x", drop_text=1.5)


def test_an_autoencoder_of_other_sizes_is_refused_before_anything_is_written(
    trained: Path, tmp_path: Path
) -> None:
    settings = [
        each for each in SMALL if not each.startswith(("train_autoencoder", "model.autoencoder.widths"))
    ]
    command = ["train", "latent_diffusion", "--output", str(tmp_path / "run"), "--quiet", *settings,
               "model.autoencoder.widths=[8,16]", f"autoencoder={trained / 'autoencoder' / 'model'}"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, CheckpointError)
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_named(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained / "model", copy)
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        load_painter(copy)
