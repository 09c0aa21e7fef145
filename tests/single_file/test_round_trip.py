"""Forward, load, compare, and back: bit-identical, for every family."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.single_file.tiny import ASSUMED, SD1, answer, models, reload, save, single_file
from visionsmith.errors import CheckpointError
from visionsmith.single_file import examine, write_diffusers, write_single
from visionsmith.single_file.names_unet import ema_name

FAMILIES = [
    "sd1",
    "sd1 inpainting",
    "sd1 without vae",
    "sd2",
    "sdxl",
    "sdxl-refiner",
    "flux-dev",
    "flux-schnell",
]


def assert_same_file(found: Path, expected: Path) -> None:
    one, two = load_file(found), load_file(expected)
    assert one.keys() == two.keys()
    for name, tensor in two.items():
        assert one[name].dtype == tensor.dtype, name
        assert torch.equal(one[name], tensor), name


@pytest.mark.parametrize("family", FAMILIES)
def test_folder_gives_the_same_outputs_and_the_same_file(tmp_path: Path, family: str) -> None:
    parts, path = single_file(family, tmp_path)
    folder = tmp_path / "folder"
    report = write_diffusers(path, folder, assumed=SD1 if family.startswith("sd1") else ASSUMED)
    assert report.recognised.family == family.split()[0]
    assert not report.missing
    assert not report.unknown
    assert set(report.parts) == set(parts)
    for name, model in parts.items():
        assert torch.equal(answer(reload(model, folder / name)), answer(model)), name
    write_single(folder, tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", path)
    with safe_open(tmp_path / "again.safetensors", "pt") as opened:
        assert opened.metadata() == {"title": "tiny"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["sdxl", "flux-dev"])
def test_half_precision_keeps_its_bits(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    parts, path = single_file(family, tmp_path, dtype=dtype)
    write_diffusers(path, tmp_path / "folder", assumed=ASSUMED)
    for name, model in parts.items():
        loaded = reload(model, tmp_path / "folder" / name).to(dtype)
        state = loaded.state_dict()
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items()), name
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", path)


def test_mixed_dtypes_keep_theirs_in_any_block_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionsmith.single_file.writer.BLOCK", 1000)
    _, path = single_file("sd1", tmp_path)
    tensors = load_file(path)
    mixed = {name: value.half() if "attn" in name else value for name, value in tensors.items()}
    save_file(mixed, path)
    assert any("mixes dtypes" in note for note in examine(path, SD1).notes)
    write_diffusers(path, tmp_path / "folder", assumed=SD1)
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", path)


@pytest.mark.parametrize("average", [True, False])
def test_moving_average(tmp_path: Path, average: bool) -> None:
    parts, path = single_file("sd1", tmp_path)
    tensors = load_file(path)
    ema = {
        ema_name(name): value + 1
        for name, value in tensors.items()
        if name.startswith("model.diffusion_model")
    }
    assert "model_ema.diffusion_modelinput_blocks00weight" in ema
    save_file({**tensors, **ema, "model_ema.decay": torch.tensor(0.99)}, path)
    report = write_diffusers(path, tmp_path / "folder", assumed=SD1, ema=average)
    assert report.recognised.ema
    found = reload(parts["unet"], tmp_path / "folder" / "unet").conv_in.weight
    assert torch.equal(found, parts["unet"].conv_in.weight + average)
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", path)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("nested", [True, False])
def test_both_styles_of_text_encoder_keys_are_read(tmp_path: Path, family: str, nested: bool) -> None:
    single_file(family, tmp_path)
    for file in (tmp_path / "source").glob("text_encoder*/model.safetensors"):
        keys = {name.removeprefix("text_model."): value for name, value in load_file(file).items()}
        if nested:
            keys = {
                f"text_model.{name}".replace("text_model.text_proj", "text_proj"): v
                for name, v in keys.items()
            }
        save_file(keys, file, metadata={"format": "pt"})
    write_single(tmp_path / "source", tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", tmp_path / "plain.safetensors")


def test_old_names_of_vae_attention_are_read(tmp_path: Path) -> None:
    single_file("sd1", tmp_path)
    file = tmp_path / "source" / "vae" / "diffusion_pytorch_model.safetensors"
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(file)
    for new, name in old.items():
        tensors = {key.replace(new, name): value for key, value in tensors.items()}
    assert any(".proj_attn." in key for key in tensors)
    save_file(tensors, file)
    write_single(tmp_path / "source", tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", tmp_path / "plain.safetensors")


def test_shards_are_read(tmp_path: Path) -> None:
    parts = models("flux-schnell")
    save(parts, tmp_path / "whole")
    save(parts, tmp_path / "shards")
    (tmp_path / "shards" / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    parts["transformer"].save_pretrained(tmp_path / "shards" / "transformer", max_shard_size="100KB")
    assert len(list((tmp_path / "shards" / "transformer").glob("*.safetensors"))) > 1
    for name in ("whole", "shards"):
        write_single(tmp_path / name, tmp_path / f"{name}.safetensors")
    assert_same_file(tmp_path / "shards.safetensors", tmp_path / "whole.safetensors")


def test_variant_is_read_and_named(tmp_path: Path) -> None:
    parts = models("flux-schnell")
    save(parts, tmp_path / "folder")
    place = tmp_path / "folder" / "transformer" / "diffusion_pytorch_model.safetensors"
    place.rename(place.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(CheckpointError, match="give --variant fp16"):
        write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    write_single(tmp_path / "folder", tmp_path / "again.safetensors", variant="fp16")


def test_flux_has_a_prefix_only_beside_other_parts(tmp_path: Path) -> None:
    _, path = single_file("flux-schnell", tmp_path)
    assert "double_blocks.0.img_attn.qkv.weight" in load_file(path)
    _, path = single_file("flux-dev", tmp_path / "whole")
    assert "model.diffusion_model.double_blocks.0.img_attn.qkv.weight" in load_file(path)


def test_wrapper_is_noted_and_removed(tmp_path: Path) -> None:
    _, path = single_file("sd1", tmp_path)
    wrapped = tmp_path / "wrapped.safetensors"
    save_file({f"state_dict.{name}": value for name, value in load_file(path).items()}, wrapped)
    report = write_diffusers(wrapped, tmp_path / "folder", assumed=SD1)
    assert any("state_dict." in note for note in report.notes)
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", path)


def test_tokenizer_is_copied_or_said_to_be_missing(tmp_path: Path) -> None:
    _, path = single_file("sd1", tmp_path)
    source = tmp_path / "words"
    source.mkdir()
    (source / "vocab.json").write_text("{}")
    (source / "merges.txt").write_text("")
    report = write_diffusers(path, tmp_path / "folder", assumed=SD1, tokenizer=source)
    assert (tmp_path / "folder" / "tokenizer" / "merges.txt").is_file()
    index = json.loads((tmp_path / "folder" / "model_index.json").read_text())
    assert index["tokenizer"] == ["transformers", "CLIPTokenizer"]
    assert not any("tokenizer" in note for note in report.notes)
    report = write_diffusers(path, tmp_path / "without", assumed=SD1)
    assert any("tokenizer is to be added" in note for note in report.notes)
    index = json.loads((tmp_path / "without" / "model_index.json").read_text())
    assert index["tokenizer"] == [None, None]


def test_linear_vae_attention_stays_linear(tmp_path: Path) -> None:
    _, path = single_file("sd1", tmp_path)
    tensors = load_file(path)
    save_file(
        {k: v[:, :, 0, 0].clone() if ".attn_1." in k and v.ndim == 4 else v for k, v in tensors.items()}, path
    )
    write_diffusers(path, tmp_path / "folder", assumed=SD1)
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", path)


def test_text_keys_of_the_faulty_script_are_read(tmp_path: Path) -> None:
    parts, path = single_file("sd1", tmp_path)
    flat = {
        name.replace("transformer.text_model.", "transformer."): value
        for name, value in load_file(path).items()
    }
    save_file(flat, tmp_path / "flat.safetensors")
    report = write_diffusers(tmp_path / "flat.safetensors", tmp_path / "folder", assumed=SD1)
    assert any("text_model." in note for note in report.notes)
    loaded = reload(parts["text_encoder"], tmp_path / "folder" / "text_encoder")
    assert torch.equal(answer(loaded), answer(parts["text_encoder"]))
    write_single(tmp_path / "folder", tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", path)
