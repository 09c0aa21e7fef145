"""The published layout: a folder as the public code's `save_pretrained` leaves it, written here by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import Qwen2ForCausalLM
from typer.testing import CliRunner

from tests.papers.c3.common import WORDS, codec, model, vocabulary
from visionsmith.cli.app import app
from visionsmith.errors import CheckpointError, ConfigError, OutputError
from visionsmith.papers.c3.official import load_any, tokenizer_for, write_official
from visionsmith.papers.c3.run import load
from visionsmith.papers.c3.speech import SPECIAL, filled
from visionsmith.papers.vocabulary import learn_byte_pairs

VALUES = {
    "vocab_size": 320,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "hidden_act": "silu",
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}
EXTRAS = {
    "model_type": "C3",
    "architectures": ["C3QwenForCausalLM"],
    "auto_map": {"AutoModel": "modeling_C3.C3QwenForCausalLM"},
    "latent_token_len": 6,
    "contexts_compression_llm_hidden_size": 16,
    "im_patch_token": 5,
    "im_start_token": 3,
    "im_end_token": 4,
    "use_im_start_end": True,
}


def language_model(width: int, hidden: int) -> dict[str, torch.Tensor]:
    """The keys of a Qwen2 model with two layers, as the sheet lists them."""
    sizes = {
        "self_attn.q_proj.weight": (width, width),
        "self_attn.q_proj.bias": (width,),
        "self_attn.k_proj.weight": (width // 2, width),
        "self_attn.k_proj.bias": (width // 2,),
        "self_attn.v_proj.weight": (width // 2, width),
        "self_attn.v_proj.bias": (width // 2,),
        "self_attn.o_proj.weight": (width, width),
        "mlp.gate_proj.weight": (hidden, width),
        "mlp.up_proj.weight": (hidden, width),
        "mlp.down_proj.weight": (width, hidden),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    state = {
        "model.embed_tokens.weight": torch.randn(320, width),
        "model.norm.weight": torch.rand(width) + 0.5,
    }
    for layer in range(2):
        state |= {f"model.layers.{layer}.{name}": 0.3 * torch.randn(size) for name, size in sizes.items()}
    return state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Decoder in two shards with the tied layer stored too, in bfloat16; compressor in one file."""
    path = tmp_path / "C3"
    (path / "llm1").mkdir(parents=True)
    outer = language_model(24, 40)
    outer["lm_head.weight"] = outer["model.embed_tokens.weight"].clone()
    outer |= {
        "model.Q.weight": torch.randn(6, 16),
        "model.mm_projector.weight": torch.randn(24, 16),
        "model.mm_projector.bias": torch.randn(24),
    }
    outer = {name: value.bfloat16() for name, value in outer.items()}
    names = sorted(outer)
    shards = {"model-00001-of-00002.safetensors": names[:10], "model-00002-of-00002.safetensors": names[10:]}
    for file, held in shards.items():
        save_file({name: outer[name] for name in held}, path / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in shards.items() for name in held}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "config.json").write_text(
        json.dumps({**VALUES, **EXTRAS, "hidden_size": 24, "intermediate_size": 40})
    )
    (path / "modeling_C3.py").write_text("raise SystemExit('remote code was run')")
    (path / "tokenizer.json").write_text(vocabulary().to_str())
    inner = {name: value.bfloat16() for name, value in language_model(16, 24).items()}
    save_file(inner, path / "llm1" / "model.safetensors", metadata={"format": "pt"})
    values = {**VALUES, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    (path / "llm1" / "config.json").write_text(
        json.dumps({**values, "hidden_size": 16, "intermediate_size": 24})
    )
    return path


def test_published_folder_gives_what_the_library_gives(folder: Path) -> None:
    """The compressor, loaded by transformers itself, put together as the public forward does."""
    mine = load(folder)
    config = mine.model.config
    assert (config.latents, config.stride, config.compressor.width, config.decoder.width) == (6, None, 16, 24)
    assert all(parameter.dtype == torch.float32 for parameter in mine.model.parameters())
    assert mine.model.decoder.lm_head.weight is mine.model.decoder.model.embed_tokens.weight
    theirs = Qwen2ForCausalLM.from_pretrained(folder / "llm1", dtype=torch.float32).eval()
    ids = list(range(40, 52))
    row = torch.tensor([[*ids, 3, *[5] * 6, 4]])
    states = theirs.model.embed_tokens(row).clone()
    states[:, 13:19] = mine.model.queries.weight
    hidden = theirs(inputs_embeds=states, output_hidden_states=True).hidden_states[-1]
    expected = mine.model.projector(hidden[:, 13:19])
    found = mine.model.compress(*filled([ids], 0)).values
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert len(mine.restore(mine.compress(" ".join(WORDS)))) > 0


@pytest.mark.parametrize("shard", [10_000_000, 8_000])
def test_what_is_written_is_read_again(tmp_path: Path, shard: int) -> None:
    original = model(stride=None)
    write_official(original, vocabulary(), tmp_path / "out", shard=shard)
    assert (tmp_path / "out" / "model.safetensors.index.json").exists() == (shard == 8_000)
    again = load_any(tmp_path / "out")
    tokenizer = tokenizer_for(tmp_path / "out", again.config)
    assert tokenizer.to_str() == vocabulary().to_str()
    for (name, value), (other_name, other) in zip(
        original.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(value, other)
    # The compressor alone is a folder that transformers opens.
    alone = Qwen2ForCausalLM.from_pretrained(tmp_path / "out" / "llm1").model
    assert torch.equal(alone.layers[1].mlp.up_proj.weight, original.compressor.layers[1].mlp.up_proj.weight)


def test_strides_cannot_be_published(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stride 4"):
        write_official(model(), vocabulary(), tmp_path / "out")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="there already"):
        write_official(model(stride=None), vocabulary(), tmp_path / "taken")


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    from visionsmith import checkpoint

    mine = codec()
    export = mine.export(mine.model.state_dict())
    assert "decoder.lm_head.weight" not in export.tensors, "tied: kept once"
    checkpoint.write(
        tmp_path / "c3", paper="c3", config=export.config, tensors=export.tensors, files=export.files
    )
    again = load(tmp_path / "c3")
    assert again.digest() == mine.digest(), "a mark survives the rounding to float16"
    text = " ".join(WORDS)
    for one, other in zip(mine.compress(text).latents, again.compress(text).latents, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


def test_mistakes_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        load(str(tmp_path / "none"))
    values = json.loads((folder / "config.json").read_text())

    def change(**settings) -> None:
        (folder / "config.json").write_text(json.dumps({**values, **settings}))

    change(model_type="qwen2")
    with pytest.raises(CheckpointError, match="model of type 'qwen2', not 'C3'"):
        load(folder)
    change(latent_token_len=7)
    with pytest.raises(CheckpointError, match=r"queries\.weight"):
        load(folder)
    change(vocab_size=321)
    with pytest.raises(CheckpointError, match="321 tokens and the compressor 320"):
        load(folder)
    change(im_start_token=9_999)
    with pytest.raises(CheckpointError, match="not in the vocabulary"):
        load(folder)
    change()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        load(folder)
    (folder / "llm1").rename(folder / "elsewhere")
    with pytest.raises(CheckpointError, match="no folder llm1/"):
        load(folder)


def test_convert_makes_a_checkpoint_of_a_folder(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert", "official", "c3", str(folder), str(tmp_path / "made")])
    assert result.exit_code == 0, result.output
    assert "with tokenizer.json" in result.output
    one, other = load(folder), load(tmp_path / "made")
    assert one.digest() == other.digest()
    assert one.compress("fox").latents[0].equal(other.compress("fox").latents[0])
    larger = learn_byte_pairs(
        ["many more words than the model has " * 3], size=400, special=[*SPECIAL, *"0123456789"]
    )
    larger.add_tokens([f"<{number}>" for number in range(100)])
    (folder / "tokenizer.json").write_text(larger.to_str())
    with pytest.raises(CheckpointError, match="tokens where the model has 320"):
        load(folder)
