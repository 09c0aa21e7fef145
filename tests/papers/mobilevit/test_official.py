"""Published weights: cvnets files, transformers folders, checkpoints; and what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import visionsmith as vs
from tests.papers.mobilevit.library import SMALL, library_model
from visionsmith import checkpoint
from visionsmith.cli.checkpoints import app
from visionsmith.config import encode
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.mobilevit import MobileViT, from_official, from_transformers, load_any, published
from visionsmith.papers.mobilevit.config import PUBLISHED
from visionsmith.papers.mobilevit.official import companion_files, config_from_state, shown_as


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("transformers")
    library_model(SMALL).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> MobileViT:
    return from_transformers(folder).eval()


def assert_same(found: MobileViT, expected: MobileViT) -> None:
    assert found.config == expected.config
    state = expected.state_dict()
    assert found.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_show_in_the_shapes(name: str) -> None:
    with torch.device("meta"):
        state = MobileViT(published(name)).state_dict()
    assert config_from_state(state) == published(name)


def test_names_and_shapes_of_the_published_file() -> None:
    with torch.device("meta"):
        shapes = {
            name: tuple(tensor.shape) for name, tensor in MobileViT(published("S")).state_dict().items()
        }
    # As listed for mobilevit_s.pt.
    expected = {
        "conv_1.block.conv.weight": (16, 3, 3, 3),
        "conv_1.block.norm.num_batches_tracked": (),
        "layer_1.0.block.exp_1x1.block.conv.weight": (64, 16, 1, 1),
        "layer_2.2.block.red_1x1.block.norm.running_var": (64,),
        "layer_3.1.local_rep.conv_3x3.block.norm.weight": (96,),
        "layer_3.1.local_rep.conv_1x1.block.conv.weight": (144, 96, 1, 1),
        "layer_3.1.global_rep.0.pre_norm_mha.0.weight": (144,),
        "layer_3.1.global_rep.1.pre_norm_mha.1.qkv_proj.weight": (432, 144),
        "layer_3.1.global_rep.1.pre_norm_mha.1.out_proj.bias": (144,),
        "layer_4.1.global_rep.3.pre_norm_ffn.1.weight": (384, 192),
        "layer_4.1.global_rep.3.pre_norm_ffn.4.weight": (192, 384),
        "layer_4.1.global_rep.4.weight": (192,),
        "layer_5.1.conv_proj.block.conv.weight": (160, 240, 1, 1),
        "layer_5.1.fusion.block.conv.weight": (160, 320, 3, 3),
        "conv_1x1_exp.block.conv.weight": (640, 160, 1, 1),
        "classifier.fc.weight": (1000, 640),
    }
    assert {name: shapes.get(name) for name in expected} == expected


def test_a_published_file_is_converted_and_used(tmp_path: Path, model: MobileViT) -> None:
    halves = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    torch.save(halves, tmp_path / "mobilevit.pt")
    result = CliRunner().invoke(
        app, ["official", "mobilevit", str(tmp_path / "mobilevit.pt"), str(tmp_path / "made")]
    )
    assert result.exit_code == 0, result.output
    converted = load_any(tmp_path / "made")
    assert converted.config == model.config
    assert {p.dtype for p in converted.parameters()} == {torch.float32}
    classifier = vs.load("mobilevit", tmp_path / "made")
    assert classifier.classes[:2] == ("class 0", "class 1")
    assert (classifier.size, classifier.resize) == (256, 288)
    with pytest.raises(CheckpointError, match="visionsmith convert official mobilevit"):
        load_any(tmp_path / "mobilevit.pt")


def test_a_transformers_folder_is_converted_with_its_class_names(
    tmp_path: Path, folder: Path, model: MobileViT
) -> None:
    result = CliRunner().invoke(app, ["official", "mobilevit", str(folder), str(tmp_path / "made")])
    assert result.exit_code == 0, result.output
    assert_same(load_any(tmp_path / "made"), model)
    names = tuple(f"thing {number}" for number in range(7))
    assert vs.load("mobilevit", tmp_path / "made").classes == vs.load("mobilevit", folder).classes == names


def test_a_bare_safetensors_file_loads(tmp_path: Path, model: MobileViT) -> None:
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    assert_same(load_any(tmp_path / "bare.safetensors"), model)


def test_the_model_does_not_share_memory_with_the_state(model: MobileViT) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = from_official(state)
    with torch.no_grad():
        loaded.classifier.fc.bias.add_(1)
    assert torch.equal(state["classifier.fc.bias"], model.classifier.fc.bias)


@pytest.mark.parametrize(
    ("spoil", "complaint", "reason"),
    [
        (
            lambda s: {k: v for k, v in s.items() if k != "conv_1.block.norm.bias"},
            "1 missing",
            "published MobileViT",
        ),
        (lambda s: s | {"more": torch.ones(1)}, "1 unexpected (more)", "published MobileViT"),
        (lambda s: s | {"classifier.fc.bias": torch.ones(3)}, "(3,) instead of (7,)", "3 classes apart"),
        (
            lambda s: {f"module.{k}": v for k, v in s.items()},
            "no conv_1.block.conv.weight",
            "remove 'module.'",
        ),
        (lambda s: {"state_dict": s}, "more than tensors", "under 'state_dict'"),
        (lambda s: library_model(SMALL).state_dict(), "no conv_1", "transformers' names"),
        (
            lambda s: {"stages.0.0.conv1.weight": torch.ones(1)},
            "no conv_1",
            "timm's",
        ),
        (lambda s: {}, "no conv_1", "published MobileViT"),
    ],
)
def test_what_does_not_fit_is_told_with_its_likely_reason(
    model: MobileViT, spoil, complaint: str, reason: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        from_official(spoil(model.state_dict()))
    assert complaint in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def change_config(folder: Path, target: Path, **changes: object) -> Path:
    shutil.copytree(folder, target)
    values = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(values | changes))
    return target


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"model_type": "mobilevitv2"},
            "model_type is 'mobilevitv2', and a published MobileViT has 'mobilevit'",
        ),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"output_stride": 16}, "output_stride is 16"),
        ({"hidden_sizes": [16, 24]}, "not the sizes of a MobileViT"),
        ({"neck_hidden_sizes": "wide"}, "not the sizes of a MobileViT"),
        ({"expand_ratio": 2.5}, "a factor of 2.5"),
        ({"hidden_sizes": [16, 24, 40]}, "misshapen"),
    ],
)
def test_other_transformers_models_are_refused(
    tmp_path: Path, folder: Path, changes: dict, complaint: str
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        load_any(change_config(folder, tmp_path / "copy", **changes))


def test_folders_that_are_none(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_any(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_any(tmp_path)
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        load_any(tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if not k.startswith("classifier")}, tmp_path / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match="holds no classifier"):
        load_any(tmp_path)
    weights.pop("mobilevit.encoder.layer.2.layernorm.bias")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing \(layer_3.1.global_rep.2.bias\)"):
        load_any(tmp_path)


def test_names_that_do_not_fit_the_weights(tmp_path: Path, folder: Path, model: MobileViT) -> None:
    spoiled = change_config(folder, tmp_path / "copy", id2label={"0": "one"})
    with pytest.raises(CheckpointError, match="names 1 classes, and its weights tell 7 apart"):
        shown_as(spoiled, 7)
    with pytest.raises(ConfigError, match="reads no text"):
        companion_files(model, folder, tmp_path)
    checkpoint.write(tmp_path / "other", paper="clip", config=encode(SMALL), tensors={})
    with pytest.raises(CheckpointError, match="'clip'"):
        load_any(tmp_path / "other")
