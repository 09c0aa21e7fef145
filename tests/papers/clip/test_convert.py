from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig as LibraryConfig
from transformers import CLIPModel
from typer.testing import CliRunner

from tests.papers.clip.conftest import CONFIG
from visionsmith import checkpoint
from visionsmith.cli.checkpoints import app
from visionsmith.config import decode
from visionsmith.errors import CheckpointError
from visionsmith.papers.clip.config import CLIPConfig, TextConfig
from visionsmith.papers.clip.model import CLIP
from visionsmith.papers.clip.official import load_any, tokenizer_for
from visionsmith.papers.clip.tokenizer import ClipTokenizer


def small_tokenizer() -> ClipTokenizer:
    return ClipTokenizer.train(["a cat and a dog", "a cat and a cow"], vocab_size=600, context_length=20)


def write_published(tokenizer: ClipTokenizer, folder: Path) -> None:
    parts = json.loads(tokenizer.save())["model"]
    (folder / "vocab.json").write_text(json.dumps(parts["vocab"]))
    (folder / "merges.txt").write_text("\n".join(" ".join(pair) for pair in parts["merges"]))


class Scripted(torch.nn.Module):
    """What a published archive is: half-precision weights under OpenAI's names, three scalars, and code."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in state.items():
            *parents, leaf = name.split(".")
            module: torch.nn.Module = self
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, torch.nn.Module())
                module = getattr(module, parent)
            module.register_buffer(leaf, tensor.half() if tensor.is_floating_point() else tensor)

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_command_converts_a_published_archive(tmp_path: Path, model: CLIP) -> None:
    extras = {
        "input_resolution": torch.tensor(16),
        "context_length": torch.tensor(20),
        "vocab_size": torch.tensor(600),
    }
    torch.jit.script(Scripted(model.state_dict() | extras)).save(str(tmp_path / "ViT-B-32.pt"))
    tokenizer = small_tokenizer()
    write_published(tokenizer, tmp_path)
    output = tmp_path / "clip"
    arguments = ["official", "clip", str(tmp_path / "ViT-B-32.pt"), str(output), "--tokenizer", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "parameters of clip, with tokenizer.json" in result.output
    loaded = load_any(output)
    assert loaded.config == decode(CLIPConfig, checkpoint.read(output).config) == CONFIG
    assert torch.equal(loaded.text_projection, model.text_projection.half().float())
    kept = ClipTokenizer.from_bytes((output / "tokenizer.json").read_bytes(), 20)
    assert torch.equal(kept.encode(["a cat"]), tokenizer.encode(["a cat"]))


def test_the_command_makes_a_checkpoint_without_a_tokenizer_too(tmp_path: Path, model: CLIP) -> None:
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    arguments = ["official", "clip", str(tmp_path / "bare.safetensors"), str(tmp_path / "clip")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "clip" / "tokenizer.json").exists()
    torch.testing.assert_close(load_any(tmp_path / "clip").state_dict(), model.state_dict(), atol=0, rtol=0)


def test_the_command_converts_a_transformers_folder(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "num_hidden_layers": 1}
    text = {"vocab_size": 600, "max_position_embeddings": 20, "eos_token_id": 599, "bos_token_id": 598}
    vision = {"image_size": 16, "patch_size": 8}
    library = CLIPModel(
        LibraryConfig(text_config=text | sizes, vision_config=vision | sizes, projection_dim=24)
    )
    library.save_pretrained(folder)
    write_published(small_tokenizer(), folder)
    result = CliRunner().invoke(app, ["official", "clip", str(folder), str(tmp_path / "clip")])
    assert result.exit_code == 0, result.output
    converted, read = load_any(tmp_path / "clip"), load_any(folder)
    assert converted.config == read.config
    torch.testing.assert_close(converted.state_dict(), read.state_dict(), atol=0, rtol=0)
    assert (tmp_path / "clip" / "tokenizer.json").read_bytes() == small_tokenizer().save()


def test_the_tokenizer_is_found_where_the_weights_are(tmp_path: Path, model: CLIP) -> None:
    tokenizer = small_tokenizer()
    bare = tmp_path / "bare.safetensors"
    save_file(model.state_dict(), bare)
    with pytest.raises(CheckpointError, match=r"brings no tokenizer; give one \(--tokenizer\)"):
        tokenizer_for(bare, CONFIG)
    with pytest.raises(CheckpointError, match="nor a hub id"):
        tokenizer_for(tmp_path / "absent", CONFIG)
    for name in ("published", "fast", "older"):
        (tmp_path / name).mkdir()
    write_published(tokenizer, tmp_path / "published")
    (tmp_path / "fast" / "tokenizer.json").write_bytes(tokenizer.save())
    older = json.loads(tokenizer.save())
    older["model"]["merges"] = [" ".join(pair) for pair in older["model"]["merges"]]
    (tmp_path / "older" / "tokenizer.json").write_text(json.dumps(older))
    for name in ("published", "fast", "older"):
        assert tokenizer_for(tmp_path / name, CONFIG).save() == tokenizer.save()
        assert tokenizer_for(bare, CONFIG, tmp_path / name).save() == tokenizer.save()
    small = CLIPConfig(embed_dim=32, vision=CONFIG.vision, text=TextConfig(vocab_size=100, width=64, heads=1))
    with pytest.raises(CheckpointError, match="ids where the model has 100"):
        tokenizer_for(tmp_path / "fast", small)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["official", "clop", "a", "b"], "there is no system 'clop'"),
        (["official", "clip", "absent.pt", "b"], "no such file"),
        (["pickle", "absent.pt", "b"], "no such file"),
    ],
)
def test_mistakes_at_the_command_are_told(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / arguments[-1])])
    assert complaint in str(result.exception)
