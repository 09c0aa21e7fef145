"""Published folders are read as data: one file or shards, no pickle, nothing outside the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visionsmith.errors import CheckpointError
from visionsmith.papers.model_folder import find_folder, read_config, read_weights


def test_one_file_and_shards_read_alike(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    save_file(tensors, one / "diffusion_pytorch_model.safetensors")
    for name, tensor in tensors.items():
        save_file({name: tensor}, many / f"{name}.safetensors")
    # A path in an index may not lead out of the folder.
    index = {"weight_map": {"a": "a.safetensors", "b": "../elsewhere/b.safetensors"}}
    (many / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    for found in (read_weights(one, names=("model", "diffusion_pytorch_model")), read_weights(many)):
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    assert read_config(tmp_path, "qwen2", "llava") == {"model_type": "qwen2"}
    with pytest.raises(CheckpointError, match="of type 'qwen2', not 'llava'"):
        read_config(tmp_path, "llava")
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds no mapping"):
        read_config(tmp_path)
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        read_weights(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="visionsmith convert pickle"):
        read_weights(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not an index of shards"):
        read_weights(tmp_path)
    with pytest.raises(CheckpointError, match="nor a hub id in the local cache"):
        find_folder(tmp_path / "absent")
