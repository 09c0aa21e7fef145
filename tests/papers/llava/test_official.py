"""Weights in every published layout, saved small and opened again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from typer.testing import CliRunner

from tests.papers.llava.conftest import random_llava, small
from tests.papers.llava.test_model import theirs
from visionsmith.cli.app import app
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.llava.lora import add_lora, merge_adapter, merged
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.llava.official import (
    from_official,
    load_any,
    load_language,
    load_projector,
    load_tower,
)
from visionsmith.papers.llava.recipes import LoraConfig
from visionsmith.papers.llava.run import load

NAMES = (
    ("vision.", "model.vision_tower.vision_tower.vision_model."),
    ("projector.", "model.mm_projector."),
    ("language.lm_head.", "lm_head."),
    ("language.model.", "model."),
)


def published(model: Llava) -> dict[str, Tensor]:
    """A state dict as the public code names it."""
    state = {}
    for name, value in model.state_dict().items():
        ours, their = next(pair for pair in NAMES if name.startswith(pair[0]))
        state[their + name.removeprefix(ours)] = value.clone()
    return state


def folder_of(model: Llava, folder: Path, *, with_tower: bool, words: Tokenizer) -> Path:
    """The public code's folder, and the CLIP that it names."""
    vision, language = model.config.vision, model.config.language
    folder.mkdir()
    tower = folder.parent / "clip"
    tower.mkdir()
    (tower / "config.json").write_text(
        json.dumps(
            {
                "model_type": "clip",
                "vision_config": {
                    "image_size": vision.image_size,
                    "patch_size": vision.patch_size,
                    "hidden_size": vision.width,
                    "intermediate_size": vision.hidden,
                    "num_hidden_layers": vision.layers,
                    "num_attention_heads": vision.heads,
                },
            }
        )
    )
    seen = {f"vision_model.{name}": value.clone() for name, value in model.vision.state_dict().items()}
    save_file(
        {**seen, "logit_scale": torch.ones(1), "text_model.x": torch.ones(1)}, tower / "model.safetensors"
    )
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llava_llama",
                "vocab_size": language.vocab_size,
                "hidden_size": language.width,
                "intermediate_size": language.hidden,
                "num_hidden_layers": language.layers,
                "num_attention_heads": language.heads,
                "num_key_value_heads": language.key_value_heads,
                "max_position_embeddings": language.context,
                "rms_norm_eps": language.norm_eps,
                "bos_token_id": 1,
                "eos_token_id": 3,
                "mm_vision_tower": str(tower),
                "mm_projector_type": model.config.projector,
                "mm_vision_select_layer": -2,
                "mm_vision_select_feature": "patch",
            }
        )
    )
    state = published(model)
    if not with_tower:
        state = {name: value for name, value in state.items() if "vision_tower" not in name}
    save_file(state, folder / "model.safetensors")
    words.save(str(folder / "tokenizer.json"))
    return folder


def same(one: Llava, other: Llava) -> None:
    ids = torch.tensor([[1, *[one.config.image_token] * 4, 9, 10, 11]])
    theirs_ = torch.tensor([[1, *[other.config.image_token] * 4, 9, 10, 11]])
    pixels = torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(
            one(ids, one.look(pixels)), other(theirs_, other.look(pixels)), atol=1e-6, rtol=1e-6
        )


@pytest.mark.parametrize("projector", ["linear", "mlp2x_gelu"])
@pytest.mark.parametrize("with_tower", [True, False])
def test_folder_of_the_public_code(
    tmp_path: Path, words: Tokenizer, projector: str, with_tower: bool
) -> None:
    model = random_llava(small(projector=projector))
    opened = load_any(folder_of(model, tmp_path / "llava", with_tower=with_tower, words=words))
    assert opened.config.projector == projector
    same(model, opened)


def test_transformers_folder_in_both_of_its_layouts(tmp_path: Path) -> None:
    model = random_llava(small(projector="mlp2x_gelu"))
    reference = theirs(model)
    reference.save_pretrained(tmp_path / "now")
    same(model, load_any(tmp_path / "now"))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text((tmp_path / "now" / "config.json").read_text())
    state = {}
    for name, value in model.state_dict().items():
        name = re.sub(r"^vision\.", "vision_tower.vision_model.", name)
        name = re.sub(r"^projector\.0\.", "multi_modal_projector.linear_1.", name)
        name = re.sub(r"^projector\.2\.", "multi_modal_projector.linear_2.", name)
        state[re.sub(r"^language\.", "language_model.", name)] = value.clone()
    save_file(state, tmp_path / "hub" / "model.safetensors")
    same(model, load_any(tmp_path / "hub"))


def test_projector_file(tmp_path: Path) -> None:
    model, other = random_llava(small()), random_llava(small(), seed=1)
    save_file(
        {f"model.mm_projector.{name}": value for name, value in model.projector.state_dict().items()},
        tmp_path / "mm_projector.safetensors",
    )
    load_projector(other, tmp_path / "mm_projector.safetensors")
    torch.testing.assert_close(other.projector.weight, model.projector.weight)
    with pytest.raises(CheckpointError, match=r"projector\.|weight|bias|shape"):
        load_projector(random_llava(small(projector="mlp2x_gelu")), tmp_path / "mm_projector.safetensors")
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds no projector"):
        load_projector(other, tmp_path / "other.safetensors")
    torch.save({"model.mm_projector.weight": torch.ones(1)}, tmp_path / "mm_projector.bin")
    with pytest.raises(CheckpointError, match="convert"):
        load_projector(other, tmp_path / "mm_projector.bin")


def test_parts_of_transformers(tmp_path: Path, words: Tokenizer) -> None:
    model = random_llava(small())
    folder_of(model, tmp_path / "llava", with_tower=False, words=words)
    config, state = load_tower(tmp_path / "clip")
    assert config == model.config.vision
    assert state.keys() == model.vision.state_dict().keys()
    model.language.save_pretrained(tmp_path / "llama")
    language, weights = load_language(tmp_path / "llama")
    assert language == model.config.language
    assert weights.keys() == model.language.state_dict().keys()


def test_state_dict_alone() -> None:
    model = random_llava(small())
    same(model, from_official(published(model), model.config))
    with pytest.raises(ConfigError, match="do not show the sizes"):
        from_official(published(model))
    blind = {name: value for name, value in published(model).items() if "vision_tower" not in name}
    with pytest.raises(CheckpointError, match="no vision tower"):
        from_official(blind, model.config)
    short = published(model)
    del short["model.norm.weight"]
    with pytest.raises(CheckpointError, match=r"language\.model\.norm\.weight"):
        from_official(short, model.config)


@pytest.mark.parametrize(
    ("name", "value"),
    [("mm_projector_type", "resampler"), ("mm_vision_select_feature", "cls_patch"), ("hidden_act", "relu")],
)
def test_settings_without_a_counterpart(tmp_path: Path, words: Tokenizer, name: str, value: str) -> None:
    folder = folder_of(random_llava(small()), tmp_path / "llava", with_tower=True, words=words)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, name: value}))
    with pytest.raises(CheckpointError, match=f"{name} = '{value}', which has no counterpart"):
        load_any(folder)


def test_adapter_equals_peft(tmp_path: Path) -> None:
    from peft import LoraConfig as Settings
    from peft import get_peft_model

    base = random_llava(small())
    adapted = random_llava(small())
    settings = Settings(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.0)
    wrapped = get_peft_model(adapted.language, settings)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
        adapted.projector.weight.add_(1)
    ids = torch.tensor([[1, 2, 2, 2, 2, 9, 10]])
    pixels = torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        states = wrapped(inputs_embeds=adapted.embed(ids, adapted.look(pixels))).logits
    wrapped.save_pretrained(tmp_path / "adapter")
    save_file(
        {
            f"base_model.model.model.mm_projector.{name}": value.clone()
            for name, value in adapted.projector.state_dict().items()
        },
        tmp_path / "adapter" / "non_lora_trainables.safetensors",
    )
    merge_adapter(base, tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(base(ids, base.look(pixels)), states, atol=1e-4, rtol=1e-4)
    (tmp_path / "adapter" / "non_lora_trainables.safetensors").unlink()
    torch.save({}, tmp_path / "adapter" / "non_lora_trainables.bin")
    with pytest.raises(CheckpointError, match="visionsmith convert pickle"):
        merge_adapter(base, tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="no r and lora_alpha"):
        merge_adapter(base, tmp_path)


def test_low_rank_updates_merge_into_the_same_model() -> None:
    model = random_llava(small())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = LoraConfig(rank=4, alpha=8, dropout=0.0)
    add_lora(model, config)
    learn = [name for name, _ in model.named_parameters() if "lora_" in name]
    assert len(learn) == 2 * 7 * model.config.language.layers
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.eval()
    ids = torch.tensor([[1, 9, 10, 11]])
    plain = Llava(model.config)
    state = merged(model.state_dict(), config.alpha / config.rank)
    assert state.keys() == before.keys()
    plain.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(ids), model(ids), atol=1e-4, rtol=1e-4)
        assert (plain(ids) - Llava(model.config).eval()(ids)).abs().max() > 0.1


def test_converted_checkpoint_answers(tmp_path: Path, words: Tokenizer) -> None:
    import numpy as np

    folder = folder_of(random_llava(small()), tmp_path / "llava", with_tower=True, words=words)
    result = CliRunner().invoke(app, ["convert", "official", "llava", str(folder), str(tmp_path / "made")])
    assert result.exit_code == 0, result.output
    picture = np.full((40, 30, 3), 200, np.uint8)
    assert load(tmp_path / "made").ask(picture, "What?", longest=5) == load(folder).ask(
        picture, "What?", longest=5
    )
