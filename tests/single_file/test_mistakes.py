"""Every mistake is one sentence: what is wrong, where, and what to do; and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.single_file.tiny import ASSUMED, SD1, save, single_file, unet
from visionsmith.errors import CheckpointError, ConfigError, OutputError
from visionsmith.single_file import Assumed, examine, examine_folder, write_diffusers, write_single

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return single_file("sd1", tmp_path_factory.mktemp("sd1"))[1]


def changed(source: Path, target: Path, change: Callable[[Tensors], object]) -> Path:
    tensors = load_file(source)
    change(tensors)
    save_file(tensors, target)
    return target


def left_behind(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize(
    "key",
    [
        "model.diffusion_model.time_embed.0.bias",
        "model.diffusion_model.output_blocks.1.1.conv.weight",
        "first_stage_model.decoder.mid.attn_1.q.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.bias",
    ],
)
def test_missing_key(tmp_path: Path, sd1: Path, key: str) -> None:
    path = changed(sd1, tmp_path / "m.safetensors", lambda tensors: tensors.pop(key))
    with pytest.raises(CheckpointError, match=f"1 tensor is missing, the first is {key}"):
        write_diffusers(path, tmp_path / "folder", assumed=SD1)
    assert left_behind(tmp_path) == {"m.safetensors"}
    assert examine(path, SD1).missing == (key,)


def test_missing_key_that_shows_a_setting(tmp_path: Path, sd1: Path) -> None:
    key = "first_stage_model.encoder.conv_in.weight"
    path = changed(sd1, tmp_path / "m.safetensors", lambda tensors: tensors.pop(key))
    with pytest.raises(CheckpointError, match=r"the vae: lacks encoder\.conv_in\.weight"):
        examine(path, SD1)


def test_unknown_key(tmp_path: Path, sd1: Path) -> None:
    key = "model.diffusion_model.extra.weight"
    path = changed(sd1, tmp_path / "m.safetensors", lambda tensors: tensors.update({key: torch.ones(2)}))
    with pytest.raises(CheckpointError, match=f"1 tensor is without a place, the first is {key}"):
        write_diffusers(path, tmp_path / "folder", assumed=SD1)
    report = write_diffusers(path, tmp_path / "folder", assumed=SD1, keep_unknown=True)
    assert report.unknown == (key,)
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert load_file(tmp_path / "again.safetensors").keys() == load_file(path).keys()


@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.bin"])
def test_pickle(tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=rf"visionsmith convert pickle .*{name} .*m\.safetensors"):
        write_diffusers(tmp_path / name, tmp_path / "folder")


def test_pickle_with_another_ending(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="visionsmith convert pickle"):
        examine(tmp_path / "m.safetensors")


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x08" + bytes(7) + b'{"a": 1}'])
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        examine(tmp_path / "m.safetensors")


@pytest.mark.parametrize("size", [100, 100_000])
def test_truncated(tmp_path: Path, sd1: Path, size: int) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(sd1.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="is cut short"):
        examine(path)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["stem.weight"], "no known layout has the tensor stem.weight"),
        (["unet.lora_down.weight"], "LoRA"),
        (["joint_blocks.0.x.weight"], "Stable Diffusion 3"),
        (["model.diffusion_model.joint_blocks.0.x.weight"], "Stable Diffusion 3"),
        (["transformer_blocks.0.attn.to_q.lora_A.weight"], "LoRA"),
        (["down_blocks.0.resnets.0.norm1.weight"], "one part of a diffusers folder"),
        (["first_stage_model.encoder.conv_in.weight"], "it has no model.diffusion_model"),
        (["module.a.weight"], "DistributedDataParallel"),
    ],
)
def test_another_model(tmp_path: Path, names: list[str], says: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file({name: torch.ones(2) for name in names}, path)
    with pytest.raises(CheckpointError, match=says) as caught:
        examine(path)
    assert str(path) in str(caught.value)


def test_unknown_input_channels(tmp_path: Path, sd1: Path) -> None:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    path = changed(sd1, tmp_path / "m.safetensors", lambda t: t.update({name: torch.zeros(32, 7, 3, 3)}))
    with pytest.raises(CheckpointError, match="7 input channels"):
        examine(path)


def test_sd2_needs_the_prediction(tmp_path: Path) -> None:
    _, path = single_file("sd2", tmp_path)
    unsaid = Assumed(head_width=32, text_head_width=8)
    with pytest.raises(ConfigError, match="give --prediction epsilon or --prediction v_prediction"):
        write_diffusers(path, tmp_path / "folder", assumed=unsaid)
    assert any("--prediction" in note for note in examine(path, unsaid).notes)
    said = Assumed(prediction="v_prediction", head_width=32, text_head_width=8)
    write_diffusers(path, tmp_path / "folder", assumed=said)
    settings = json.loads((tmp_path / "folder" / "scheduler" / "scheduler_config.json").read_text())
    assert settings["prediction_type"] == "v_prediction"
    with pytest.raises(ConfigError, match="the prediction is 'x'"):
        write_diffusers(
            path, tmp_path / "other", assumed=Assumed(prediction="x", head_width=32, text_head_width=8)
        )


def test_sdxl_marks_say_the_prediction(tmp_path: Path) -> None:
    _, path = single_file("sdxl", tmp_path)
    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    marked = changed(path, tmp_path / "m.safetensors", lambda tensors: tensors.update(marks))
    write_diffusers(marked, tmp_path / "folder", assumed=Assumed(head_width=32, text_head_width=8))
    settings = json.loads((tmp_path / "folder" / "scheduler" / "scheduler_config.json").read_text())
    assert settings["prediction_type"] == "v_prediction"
    assert settings["rescale_betas_zero_snr"] is True
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert load_file(tmp_path / "again.safetensors").keys() == load_file(marked).keys()


def test_heads_that_do_not_fit(tmp_path: Path, sd1: Path) -> None:
    with pytest.raises(ConfigError, match="give --text-head-width"):
        examine(sd1)
    with pytest.raises(ConfigError, match="do not divide into 5 heads"):
        examine(sd1, Assumed(heads=5, text_head_width=8))
    _, path = single_file("flux-schnell", tmp_path)
    with pytest.raises(ConfigError, match="give --rope-axes"):
        examine(path, Assumed(rope_axes=(2, 2, 2)))


def test_output_exists(tmp_path: Path, sd1: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="exists already"):
        write_diffusers(sd1, folder, assumed=SD1)
    assert left_behind(folder) == {"mine.txt"}
    file = tmp_path / "again.safetensors"
    file.write_text("keep")
    with pytest.raises(OutputError, match="exists already"):
        write_single(sd1.parent / "source", file)


def test_failure_leaves_nothing(tmp_path: Path, sd1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("visionsmith.single_file.forward.write_tensors", full)
    monkeypatch.setattr("visionsmith.single_file.reverse.write_tensors", full)
    with pytest.raises(OutputError, match="No space left"):
        write_diffusers(sd1, tmp_path / "folder", assumed=SD1)
    with pytest.raises(OutputError, match="No space left"):
        write_single(sd1.parent / "source", tmp_path / "again.safetensors")
    assert left_behind(tmp_path) == set()


def test_folder_mistakes(tmp_path: Path, sd1: Path) -> None:
    output = tmp_path / "again.safetensors"
    with pytest.raises(CheckpointError, match=r"it has no model_index\.json"):
        write_single(tmp_path, output)
    folder = save({"unet": unet()}, tmp_path / "folder")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({**tensors, "extra": torch.ones(1)}, weights)
    with pytest.raises(CheckpointError, match="1 tensor is without a place, the first is unet/extra"):
        write_single(folder, output)
    tensors.pop("conv_in.bias")
    save_file(tensors, weights)
    with pytest.raises(CheckpointError, match=r"1 tensor is missing, the first is unet/conv_in\.bias"):
        write_single(folder, output)
    assert examine_folder(folder).missing == ("unet/conv_in.bias",)
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(CheckpointError, match="visionsmith convert pickle"):
        write_single(folder, output)
    with pytest.raises(OutputError, match=r"is not named \.safetensors"):
        write_single(folder, tmp_path / "again.ckpt")
    assert not output.exists()


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("unet", {"in_channels": 5}, "with 5 input channels"),
        ("unet", {"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]}, "the UNet has AttnDownBlock2D"),
        ("unet", {"transformer_layers_per_block": [[1, 2], 1]}, "layers that differ"),
        ("vae", {"_class_name": "AsymmetricAutoencoderKL"}, "where a AutoencoderKL was expected"),
        ("vae", {"block_out_channels": None}, "its config.json does not say"),
    ],
)
def test_folders_of_other_models(
    tmp_path: Path, sd1: Path, part: str, change: dict[str, object], says: str
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(sd1.parent / "source", folder)
    file = folder / part / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CheckpointError, match=says):
        write_single(folder, tmp_path / "again.safetensors")


def test_a_changed_record_does_no_harm(tmp_path: Path, sd1: Path) -> None:
    write_diffusers(sd1, tmp_path / "folder", assumed=SD1)
    odd = {"prefixes": {"unet": "../", "vae": 3}, "metadata": [1], "ema": None}
    (tmp_path / "folder" / "single_file.json").write_text(json.dumps(odd))
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert load_file(tmp_path / "again.safetensors").keys() == load_file(sd1).keys()


def test_no_tokenizer(tmp_path: Path, sd1: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        write_diffusers(sd1, tmp_path / "folder", assumed=SD1, tokenizer=tmp_path)
    assert left_behind(tmp_path) == set()


def test_refiner_needs_no_first_tokenizer(tmp_path: Path) -> None:
    _, path = single_file("sdxl-refiner", tmp_path)
    report = write_diffusers(path, tmp_path / "folder", assumed=ASSUMED)
    assert [note for note in report.notes if "tokenizer" in note] == [
        "the tokenizer_2 is to be added: pass tokenizer_2=... to from_pretrained"
    ]
