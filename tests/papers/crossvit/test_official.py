"""Weights made elsewhere: sizes read from shapes, names of the public code and of timm, and files that do not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

import visionsmith
from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.config import encode, override
from visionsmith.errors import CheckpointError
from visionsmith.papers.crossvit import CrossViT, CrossViTConfig, from_official, load_any, published
from visionsmith.papers.crossvit.config import PUBLISHED
from visionsmith.papers.crossvit.official import config_from_state

RUNNER = CliRunner()
NARROW = {"widths": [32, 64], "heads": [1, 1], "depths": [[1, 2, 1]], "classes": 6}


def state_of(config: CrossViTConfig) -> dict[str, Tensor]:
    return CrossViT(config).state_dict()


def narrow(name: str = "9", **changes: Any) -> CrossViTConfig:
    return override(published(name), {**NARROW, **changes})


def test_sizes_of_every_published_model_from_its_shapes() -> None:
    for name in PUBLISHED:
        with torch.device("meta"):
            state = CrossViT(published(name)).state_dict()
        assert config_from_state(state) == published(name), name
    assert len(PUBLISHED) == 11


@pytest.mark.parametrize(
    "changes", [{"fusion": "all_attention"}, {"fusion": "none"}, {"qkv_bias": False}, {"depths": [[1, 2, 2]]}]
)
def test_sizes_of_others(changes: dict[str, Any]) -> None:
    config = narrow(**changes)
    assert from_official(state_of(config)).config == config


def test_fusions_that_shapes_do_not_tell_apart_need_the_config() -> None:
    config = narrow(fusion="pairwise")
    with pytest.raises(CheckpointError, match=r"class-token from pairwise fusion: give the config"):
        from_official(state_of(config))
    assert from_official(state_of(config), config).config == config


def test_timms_names_and_numbered_rounds() -> None:
    model = CrossViT(narrow()).eval()
    renamed = {
        re.sub(
            r"^(pos_embed|cls_token)\.", r"\1_", re.sub(r"\.fusion\.(\d)\.", r".fusion.\1.0.", name)
        ): value
        for name, value in model.state_dict().items()
    }
    assert "pos_embed_0" in renamed
    assert "blocks.0.fusion.1.0.attn.wq.weight" in renamed
    pixels = torch.randn(1, 3, 240, 240)
    with torch.no_grad():
        assert torch.equal(from_official(renamed).eval()(pixels), model(pixels))


def test_half_precision_becomes_single() -> None:
    state = {name: value.half() for name, value in state_of(narrow()).items()}
    model = from_official(state)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())


def without(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state_of(narrow()).items() if key != name}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {},
            r"not those of a CrossViT under the published names: there is no cls_token.0; give the weights",
        ),
        (without("norm.1.weight"), r"do not fit the model: 1 missing \(norm.1.weight\)"),
        (
            {"state_dict": torch.zeros(1)},
            r"this looks like a training file: give what it holds under 'state_dict'",
        ),
        ({f"module.{key}": value for key, value in without("").items()}, r"remove 'module\.' from the names"),
        (
            {"cls_token": torch.zeros(1, 1, 8), "blocks.0.attn.qkv.weight": torch.zeros(24, 8)},
            r"a plain vision transformer",
        ),
        (
            without("") | {"pos_embed.0": torch.zeros(1, 12, 32)},
            r"pos_embed.0 has 11 patches, which are no square",
        ),
        ({"epoch": 3}, r"the state dict holds more than tensors"),
    ],
)
def test_weights_that_do_not_fit(state: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_official(state)


def test_a_published_pickle_is_converted_and_then_answers(tmp_path: Path) -> None:
    model = CrossViT(narrow()).eval()
    pickled, folder = tmp_path / "crossvit_9_224.pth", tmp_path / "converted"
    torch.save(model.state_dict(), pickled)
    with pytest.raises(CheckpointError, match=r"is a pickle.*visionsmith convert official crossvit"):
        load_any(pickled)
    result = RUNNER.invoke(app, ["convert", "official", "crossvit", str(pickled), str(folder)])
    assert result.exit_code == 0, result.output
    assert checkpoint.read(folder, paper="crossvit").config == encode(model.config)
    loaded = visionsmith.load("crossvit", folder)
    pixels = torch.randn(1, 3, 240, 240)
    with torch.no_grad():
        assert torch.equal(loaded.network(pixels), model(pixels))
    assert loaded.classes == tuple(f"class {number}" for number in range(6))
    assert loaded.resize == 274


def test_a_bare_file_of_tensors(tmp_path: Path) -> None:
    config = narrow("9-dagger")
    save_file(state_of(config), tmp_path / "weights.safetensors")
    assert load_any(tmp_path / "weights.safetensors").config == config


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such checkpoint"):
        load_any(tmp_path / "missing")
    checkpoint.write(tmp_path / "other", paper="clip", config={}, tensors={})
    with pytest.raises(CheckpointError, match=r"holds a model of 'clip', not of 'crossvit'"):
        load_any(tmp_path / "other")
    config = narrow()
    checkpoint.write(
        tmp_path / "short",
        paper="crossvit",
        config={"model": encode(config), "classes": ["a", "b"], "resize": 274},
        tensors=state_of(config),
    )
    with pytest.raises(CheckpointError, match=r"names 2 classes, and its weights tell 6 apart"):
        visionsmith.load("crossvit", tmp_path / "short")
