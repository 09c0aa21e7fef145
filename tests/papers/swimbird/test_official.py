"""Folders in the published layout open with the same answers, and a checkpoint of ours comes back as it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from tests.papers.swimbird.conftest import small_config
from visionsmith import checkpoint
from visionsmith.errors import CheckpointError
from visionsmith.papers.swimbird.chat import SPECIAL
from visionsmith.papers.swimbird.config import SwimBirdConfig
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.official import OWN, open_reasoner
from visionsmith.papers.swimbird.reasoner import Reasoner
from visionsmith.papers.vocabulary import FILE, learn_byte_pairs, vocabulary_file

QUESTION = "What is in the middle?"


def same(left: SwimBird, right: SwimBird) -> bool:
    """Whether two models say the same of a text and a picture."""
    torch.manual_seed(1)
    ids = torch.randint(10, 200, (2, 12))
    ids[:, 3:7] = left.config.image_id
    values, grids = torch.rand(32, 216) * 2 - 1, torch.tensor([[1, 4, 4]] * 2)
    with torch.no_grad():
        found = [
            model.head(model.hidden(ids, torch.ones_like(ids), values=values, grids=grids))[..., :200]
            for model in (left, right)
        ]
    return torch.allclose(*found, atol=1e-5)


def write_published(folder: Path, model: SwimBird, tokenizer: Tokenizer, **extra) -> None:
    """As the published folder: the library's config with extras, its own names of weights, two shards."""
    model.qwen.save_pretrained(folder)  # makes the folder
    state = {name: tensor.clone() for name, tensor in model.qwen.state_dict().items()}
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    halves = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, own in halves.items():
        save_file({name: state[name] for name in own}, folder / file)
    index = {"weight_map": {name: file for file, own in halves.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(values | extra), encoding="utf-8")
    (folder / FILE).write_bytes(vocabulary_file(tokenizer)[FILE])


def test_a_published_folder_opens(model: SwimBird, vocabulary: Tokenizer, tmp_path: Path) -> None:
    write_published(tmp_path, model, vocabulary, max_latent_token=7, latent_lambda=0.3)
    bird = open_reasoner(tmp_path)
    assert same(bird.model, model)
    assert (bird.model.config.max_latent_token, bird.model.config.latent_lambda) == (7, 0.3)
    assert bird.model.config.latent_id == model.config.latent_id
    budgets = SwimBirdConfig(max_latent_token=3, latent_lambda=0.5)
    again = open_reasoner(tmp_path, budgets=budgets, system="Short.")
    assert (again.model.config.max_latent_token, again.system) == (3, "Short.")


def test_a_qwen3_vl_folder_grows_the_latent_tokens(model: SwimBird, tmp_path: Path) -> None:
    # Its vocabulary knows nothing of thoughts, and its table ends with it.
    tokenizer = learn_byte_pairs(["a red cat"] * 5, size=270, special=[t for t in SPECIAL if t not in OWN])
    size = tokenizer.get_vocab_size()
    base = small_config(learn_byte_pairs(["a"], size=270, special=SPECIAL))
    torch.manual_seed(2)
    known = {
        "image_id": "<|image_pad|>",
        "vision_start_id": "<|vision_start|>",
        "vision_end_id": "<|vision_end|>",
    }
    ids = {name: tokenizer.token_to_id(token) for name, token in known.items()}
    text = dataclasses.replace(base.text, vocab_size=size)
    plain = SwimBird(dataclasses.replace(base, text=text, **ids)).eval()
    write_published(tmp_path, plain, tokenizer)
    bird = open_reasoner(tmp_path)
    assert bird.model.config.latent_id == size
    table = bird.model.qwen.get_input_embeddings().weight
    assert len(table) == size + 3
    old = plain.qwen.get_input_embeddings().weight
    assert torch.equal(table[:size], old)
    assert torch.allclose(table[size], old.mean(dim=0), atol=1e-6)
    assert same(bird.model, plain)


@pytest.mark.parametrize("tied", [False, True])
def test_a_checkpoint_comes_back(vocabulary: Tokenizer, tmp_path: Path, tied: bool) -> None:
    torch.manual_seed(3)
    bird = Reasoner(
        SwimBird(small_config(vocabulary, tie_word_embeddings=tied)).eval(), vocabulary, system=""
    )
    export = bird.export(bird.model.state_dict())
    checkpoint.write(
        tmp_path / "bird", paper="swimbird", config=export.config, tensors=export.tensors, files=export.files
    )
    again = open_reasoner(tmp_path / "bird")
    assert again.system == ""
    assert (again.model.qwen.lm_head.weight is again.model.qwen.get_input_embeddings().weight) == tied
    for name, parameter in again.model.named_parameters():
        own = bird.model.get_parameter(name)
        assert parameter.dtype == torch.float32
        assert torch.allclose(parameter, own, atol=1e-3, rtol=1e-3), name
    (first, _), (second, _) = bird.ask_all([(QUESTION, [])], most=8) + again.ask_all([(QUESTION, [])], most=8)
    assert first.well_formed == second.well_formed


def test_a_folder_is_converted(model: SwimBird, vocabulary: Tokenizer, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from visionsmith.cli.app import app

    write_published(tmp_path / "folder", model, vocabulary)
    command = ["convert", "official", "swimbird", str(tmp_path / "folder"), str(tmp_path / "made")]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert same(open_reasoner(tmp_path / "made").model, model)


def test_mistakes(model: SwimBird, vocabulary: Tokenizer, tmp_path: Path) -> None:
    write_published(tmp_path, model, vocabulary)
    (tmp_path / "one.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        open_reasoner(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del values["vision_config"]
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(CheckpointError, match="no vision_config"):
        open_reasoner(tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        open_reasoner(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llava"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="'llava', not 'qwen3_vl'"):
        open_reasoner(tmp_path)
