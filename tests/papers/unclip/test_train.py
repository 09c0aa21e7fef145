"""A few steps from nothing, then everything that a user does with what came out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.papers.latent_diffusion.conftest import SMALL as SMALL_BASE
from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.data.builtin import openmoji_store
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.latent_diffusion import open_world
from visionsmith.papers.unclip import evaluate
from visionsmith.papers.unclip.config import PriorConfig
from visionsmith.papers.unclip.decoder import Decoder
from visionsmith.papers.unclip.objective import PriorObjective, RegressionObjective
from visionsmith.papers.unclip.official import from_official, load_base, load_prior, load_unclip
from visionsmith.papers.unclip.prior import make_prior, set_statistics
from visionsmith.papers.unclip.reader import TextReader

SMALL = [
    "prior.model.heads=2", "prior.model.head_width=8", "prior.model.layers=1", "prior.train.stages.0.steps=2",
    "prior.train.batch_size=4", "prior.train.evaluate_every=0", "prior.train.log_every=1", "train.steps=2",
    "train.batch_size=4", "train.log_every=1", "train.evaluate_every=0", "train.save_every=10",
]  # fmt: skip


def invoke(*command: str) -> str:
    done = CliRunner().invoke(app, list(command), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, _shared_cache: Path) -> Path:
    """A few of the built-in pictures: to embed all of them would take most of a minute."""
    place = tmp_path_factory.mktemp("pictures") / "emoji"
    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISIONSMITH_CACHE", str(_shared_cache))
        store = openmoji_store(64)
    for index in range(0, len(store), len(store) // 120):
        (place / f"{index:04}.png").write_bytes(store[index].image)
        (place / f"{index:04}.txt").write_text(store[index].caption)
    return place


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    output = tmp_path_factory.mktemp("base") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visionsmith.papers.latent_diffusion.train.QUICK", 2)
        patch.setattr("visionsmith.papers.latent_diffusion.train.QUICK_STEPS", 2)
        invoke(
            "train",
            "latent_diffusion",
            "--data",
            str(folder),
            "--output",
            str(output),
            "--quiet",
            *SMALL_BASE,
        )
    return output / "model"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path, folder: Path) -> Path:
    output = tmp_path_factory.mktemp("unclip") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name, few in (("QUICK", 2), ("QUICK_STEPS", 2), ("CARD", 8)):
            patch.setattr(f"visionsmith.papers.unclip.train.{name}", few)
        invoke(
            "train",
            "unclip",
            "--data",
            str(folder),
            "--output",
            str(output),
            "--quiet",
            *SMALL,
            f"base={base}",
        )
    return output


def test_the_checkpoint_holds_both_and_knows_what_it_stands_on(trained: Path, base: Path) -> None:
    assert checkpoint.verify(trained / "model") is None
    unclip = load_unclip(trained / "model", base=base)
    assert unclip.decoder is not None
    alone = load_unclip(trained / "prior" / "model")
    assert alone.decoder is None
    with pytest.raises(ConfigError, match="prior alone"):
        alone.paint(torch.ones(1, 256))
    first = {name: value.float() for name, value in alone.prior.state_dict().items()}
    assert all(torch.equal(value, unclip.prior.state_dict()[name].float()) for name, value in first.items())


def test_statistics_are_measured_and_do_not_learn(trained: Path, folder: Path) -> None:
    """A loss in units of a deviation that learns falls by raising it, and the prior draws nonsense."""
    from safetensors.torch import load_file

    kept = load_file(trained / "prior" / "embeddings.safetensors")["images"]
    world = open_world(folder, size=64, into=trained / "records")
    std, mean = torch.std_mean(kept[list(world.train)], dim=0)
    prior, _ = load_prior(trained / "model")
    assert torch.equal(prior.clip_std[0], std)
    assert torch.equal(prior.clip_mean[0], mean)


def test_another_base_is_refused(trained: Path, tmp_path: Path, base: Path) -> None:
    model, tokenizer = load_base(base)
    from visionsmith.papers.latent_diffusion.painter import export

    with torch.no_grad():
        model.unet.conv_in.weight.add_(1)
    made = export(model, tokenizer)
    checkpoint.write(
        tmp_path / "other",
        paper="latent_diffusion",
        config=made.config,
        tensors=made.tensors,
        files=made.files,
    )
    with pytest.raises(CheckpointError, match="another latent_diffusion"):
        load_unclip(trained / "model", base=tmp_path / "other")


def test_it_paints_varies_blends_and_edits(trained: Path, base: Path, tmp_path: Path) -> None:
    given = ["--checkpoint", str(trained / "model"), "--base", str(base), "--json"]
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    write_image(one, np.full((40, 30, 3), 90, np.uint8))
    write_image(other, np.full((20, 30, 3), 190, np.uint8))
    for task, inputs in (
        ("paint", ["a cat"]),
        ("vary", [str(one)]),
        ("blend", [str(one), str(other)]),
        ("edit", [str(one), "--from", "a man", "--to", "a woman"]),
    ):
        out = tmp_path / f"{task}.png"
        told = json.loads(invoke("run", "unclip", *inputs, "--count", "2", "--output", str(out), *given))
        assert told["task"] == task
        pictures = [read_image(Path(file)) for file in told["pictures"]]
        assert [picture.shape for picture in pictures] == [(16, 16, 3)] * 2
        assert not np.array_equal(*pictures)
        assert read_image(out).shape[1] > 32


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([], "nothing was given"),
        (["missing.png"], "no such picture"),
        (["a cat", "--from", "a"], "both --from and --to"),
        (["a cat", "--from", "a", "--to", "b"], "one picture"),
    ],
)
def test_what_cannot_be_meant_gets_a_sentence(inputs: list[str], reason: str) -> None:
    done = CliRunner().invoke(app, ["run", "unclip", *inputs])
    assert done.exit_code != 0
    assert reason in str(done.exception or done.output)


def test_evaluation_has_its_baselines(
    trained: Path, base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("TEXTS", 6), ("PAINTED", 2), ("STEPS", 2)):
        monkeypatch.setattr(evaluate, name, few)
    monkeypatch.setattr(
        "visionsmith.papers.unclip.run.load", lambda source: load_unclip(Path(source), base=base)
    )
    found = evaluate.evaluate(checkpoint=trained / "model", data=folder, progress=False)
    assert set(found["embeddings"]) == {"text", "one sample", "two samples"}
    assert set(found["pictures"]) == {"true", "prior", "text", "prior and text"}
    assert found["embeddings"]["text"]["cosine"] > 0.8


def test_the_decoder_begins_as_its_base(base: Path) -> None:
    """But for a normalisation of the text's states, which the base does without."""
    model = load_base(base)[0]
    torch.manual_seed(0)
    decoder = Decoder(model, embedding=256, extra_tokens=4).eval()
    noised, times = torch.randn(2, 4, 8, 8), torch.tensor([700, 30])
    states = torch.nn.functional.layer_norm(torch.randn(2, 32, 128), (128,))
    with torch.no_grad():
        context, added = decoder.text_proj(
            image_embeddings=torch.randn(2, 256), prompt_embeds=torch.randn(2, 256),
            text_encoder_hidden_states=states, do_classifier_free_guidance=False,
        )  # fmt: skip
        found = decoder.unet(noised, times, context[:, 4:], class_labels=added).sample
        wanted = model.unet(noised, times, states).sample
    assert context.shape == (2, 4 + 32, 128)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_folder_of_diffusers_loads(tmp_path: Path) -> None:
    config = PriorConfig(embedding=24, text_width=24, text_tokens=7, heads=2, head_width=8, layers=2)
    torch.manual_seed(0)
    theirs = make_prior(config).eval()
    set_statistics(theirs, torch.randn(9, 24))
    theirs.save_pretrained(tmp_path / "karlo" / "prior")
    for source in (tmp_path / "karlo", tmp_path / "karlo" / "prior"):
        prior, found = load_prior(source)
        assert found == config
        assert all(
            torch.equal(value, prior.state_dict()[name]) for name, value in theirs.state_dict().items()
        )
    state = dict(theirs.state_dict())
    state.pop("clip_mean")
    with pytest.raises(CheckpointError, match="clip_mean"):
        from_official(state, config)
    file = tmp_path / "karlo" / "prior" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"norm_in_type": "layer"}))
    with pytest.raises(CheckpointError, match="norm_in_type"):
        load_prior(tmp_path / "karlo")


@pytest.mark.parametrize("kind", [PriorObjective, RegressionObjective])
def test_objectives_learn_one_batch(kind: type) -> None:
    from visionsmith.papers.clip.run import load as load_clip

    clip = load_clip()
    reader = TextReader(clip)
    torch.manual_seed(0)
    objective = kind(
        PriorConfig(embedding=256, text_width=128, text_tokens=32, heads=2, head_width=16, layers=1), reader
    )
    images = clip.encode_texts(["a cat", "a red apple", "a man with red hair", "the sun"])
    set_statistics(objective.prior, images)
    batch = {"images": images, "tokens": reader.tokenize(["cat", "apple", "man", "sun"])}
    assert not any(name.startswith("reader") for name in objective.state_dict())
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], 3e-3)
    losses = []
    for step in range(40):
        torch.manual_seed(step % 4)
        loss = objective(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
