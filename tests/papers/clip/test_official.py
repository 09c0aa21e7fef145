from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPConfig as LibraryConfig
from transformers import CLIPModel
from typer.testing import CliRunner

from tests.papers.clip.conftest import CONFIG
from visionsmith import checkpoint
from visionsmith.cli.checkpoints import app
from visionsmith.config import encode
from visionsmith.errors import CheckpointError
from visionsmith.memory.locks import library_load
from visionsmith.papers.clip.config import (
    PUBLISHED,
    CLIPConfig,
    ModifiedResNetConfig,
    TextConfig,
    published,
)
from visionsmith.papers.clip.model import CLIP
from visionsmith.papers.clip.official import (
    config_from_state,
    from_official,
    from_transformers,
    load_any,
)


def assert_same(found: CLIP, expected: CLIP) -> None:
    assert found.config == expected.config
    state = expected.state_dict()
    assert found.state_dict().keys() == state.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_show_in_the_shapes(name: str) -> None:
    with torch.device("meta"):
        state = CLIP(published(name)).state_dict()
    assert config_from_state(state) == published(name)


@pytest.mark.parametrize("layers", [(1, 1), (2, 1, 3)])
def test_other_numbers_of_stages_show_too(layers: tuple[int, ...]) -> None:
    config = CLIPConfig(
        embed_dim=32, vision=ModifiedResNetConfig(image_size=32, width=16, layers=layers), text=CONFIG.text
    )
    assert config_from_state(CLIP(config).state_dict()) == config


def test_published_archives_load_as_float32_masters(model: CLIP) -> None:
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    state |= {
        "input_resolution": torch.tensor(16),
        "context_length": torch.tensor(20),
        "vocab_size": torch.tensor(600),
    }
    loaded = from_official(state)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name].float())


def test_the_model_does_not_share_memory_with_the_state(model: CLIP) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = from_official(state)
    with torch.no_grad():
        loaded.logit_scale.add_(1)
    assert torch.equal(state["logit_scale"], model.logit_scale)


def drop(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name != "ln_final.bias"}


def reshape(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"ln_final.bias": torch.ones(3)}


def add(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"more": torch.ones(3), "even_more": torch.ones(3)}


def prefix(text: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {f"{text}{name}": tensor for name, tensor in state.items()}


def wrap(state: dict[str, Tensor]) -> dict[str, object]:
    return {"epoch": 1, "state_dict": state}


def old_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"embeddings.position_ids": torch.arange(3)}


def library_names(_: dict[str, Tensor]) -> dict[str, Tensor]:
    return tiny_library("gelu").state_dict()


@pytest.mark.parametrize(
    ("spoil", "complaint", "reason"),
    [
        (drop, "1 missing (ln_final.bias)", "published CLIP"),
        (reshape, "1 misshapen (ln_final.bias (3,) instead of (64,))", "the config that they were made with"),
        (add, "2 unexpected (more, even_more)", "published CLIP"),
        (prefix("module."), "no text_projection", "remove 'module.'"),
        (prefix("_orig_mod."), "no text_projection", "compiled"),
        (prefix("text."), "no text_projection", "other towers"),
        (wrap, "more than tensors", "under 'state_dict'"),
        (old_transformers, "1 unexpected", "position_ids"),
        (library_names, "no text_projection", "transformers' names"),
        (lambda _: {}, "no text_projection", "published CLIP"),
    ],
)
def test_what_does_not_fit_is_told_with_its_likely_reason(
    model: CLIP, spoil, complaint: str, reason: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        from_official(spoil(model.state_dict()))
    assert complaint in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_that_of_the_weights_is_told(model: CLIP) -> None:
    other = CLIPConfig(
        embed_dim=32, vision=CONFIG.vision, text=TextConfig(vocab_size=600, context_length=20, layers=2)
    )
    with pytest.raises(CheckpointError, match=r"unexpected \(transformer.resblocks.2"):
        from_official(model.state_dict(), other)


def tiny_library(activation: str, eos: int = 98) -> CLIPModel:
    torch.manual_seed(2)
    text = {
        "vocab_size": 99,
        "max_position_embeddings": 12,
        "eos_token_id": eos,
        "bos_token_id": 97,
        "pad_token_id": 0,
    }
    sizes = {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 2, "hidden_act": activation}
    config = LibraryConfig(
        text_config={**text, **sizes, "num_hidden_layers": 3},
        vision_config={"image_size": 16, "patch_size": 8, **sizes, "num_hidden_layers": 2},
        projection_dim=24,
    )
    library = CLIPModel(config).eval()
    with torch.no_grad():  # biases and gains start at 0 and 1, which would hide a mix-up
        for parameter in library.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return library


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("eos", [98, 2])
def test_a_transformers_folder_gives_its_outputs(tmp_path: Path, activation: str, eos: int) -> None:
    library = tiny_library(activation, eos)
    library.save_pretrained(tmp_path)
    ours = from_transformers(tmp_path).eval()
    assert ours.config.text.end_token == (None if eos == 2 else 98)
    images, tokens = torch.randn(3, 3, 16, 16), torch.randint(3, 97, (3, 12))
    for row, end in enumerate((5, 11, 3)):
        tokens[row, end], tokens[row, end + 1 :] = 98, 0
    with torch.no_grad():
        expected = library(input_ids=tokens, pixel_values=images)
        torch.testing.assert_close(ours.encode_image(images), expected.image_embeds, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.encode_text(tokens), expected.text_embeds, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours(images, tokens), expected.logits_per_image, atol=1e-5, rtol=0)


def test_the_two_activations_differ(tmp_path: Path) -> None:
    outputs = []
    for activation in ("gelu", "quick_gelu"):
        tiny_library(activation).save_pretrained(tmp_path / activation)
        outputs.append(from_transformers(tmp_path / activation).encode_image(torch.ones(1, 3, 16, 16)))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("transformers")
    tiny_library("gelu").save_pretrained(path)
    return path


def test_shards_and_old_position_ids_load(tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / "config.json", tmp_path)
    weights = load_file(folder / "model.safetensors") | {
        "text_model.embeddings.position_ids": torch.arange(12)
    }
    names = sorted(weights)
    shards = {"a.safetensors": names[:20], "b.safetensors": names[20:]}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same(from_transformers(tmp_path), from_transformers(folder))


def test_a_hub_id_is_looked_up_in_the_local_cache(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--someone--tiny"
    shutil.copytree(folder, kept / "snapshots" / "0123456789")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0123456789")
    assert_same(load_any("someone/tiny"), from_transformers(folder))
    for absent in ("someone/else", "not/a/hub/id", str(tmp_path / "absent")):
        with pytest.raises(CheckpointError, match="nor a hub id in the local cache"):
            load_any(absent)


def spoil_config(folder: Path, target: Path, **changes: object) -> Path:
    shutil.copytree(folder, target)
    values = json.loads((target / "config.json").read_text())
    for key, value in changes.items():
        part, _, leaf = key.partition("__")
        if leaf:
            values[part][leaf] = value
        else:
            values[part] = value
    (target / "config.json").write_text(json.dumps(values))
    return target


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model_type": "siglip"}, "type 'siglip', not 'clip'"),
        ({"text_config__hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"vision_config__layer_norm_eps": 1e-6}, "vision_config.layer_norm_eps is 1e-06"),
        ({"text_config__intermediate_size": 100}, "text_config.intermediate_size is 100"),
        ({"vision_config__image_size": [16, 8]}, "not square"),
        ({"text_config__num_hidden_layers": 4}, "16 weights are missing and 0 are left over"),
        ({"text_config__num_hidden_layers": 2}, "0 weights are missing and 16 are left over"),
        ({"projection_dim": 20}, "misshapen"),
    ],
)
def test_other_transformers_models_are_refused(
    tmp_path: Path, folder: Path, changes: dict, complaint: str
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        from_transformers(spoil_config(folder, tmp_path / "copy", **changes))


def test_folders_without_safetensors_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        from_transformers(tmp_path)
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        from_transformers(tmp_path)
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="visionsmith convert pickle"):
        from_transformers(tmp_path)
    result = CliRunner().invoke(
        app, ["pickle", str(tmp_path / "pytorch_model.bin"), str(tmp_path / "model.safetensors")]
    )
    assert result.exit_code == 0, result.output
    assert_same(from_transformers(tmp_path), from_transformers(folder))


def test_loading_leaves_the_library_alone(folder: Path) -> None:
    with library_load():
        from_transformers(folder)


def test_any_source_is_recognised(tmp_path: Path, model: CLIP, folder: Path) -> None:
    checkpoint.write(tmp_path / "own", paper="clip", config=encode(CONFIG), tensors=model.state_dict())
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    assert_same(load_any(tmp_path / "own"), model)
    assert_same(load_any(str(tmp_path / "bare.safetensors")), model)
    assert_same(load_any(folder), from_transformers(folder))
    torch.save(model.state_dict(), tmp_path / "ViT-B-32.pt")
    with pytest.raises(CheckpointError, match="visionsmith convert official clip"):
        load_any(tmp_path / "ViT-B-32.pt")
    checkpoint.write(tmp_path / "other", paper="flava", config={}, tensors={})
    with pytest.raises(CheckpointError, match="'flava'"):
        load_any(tmp_path / "other")
    (tmp_path / "own" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        load_any(tmp_path / "own")
