"""The ways in and out for weights of C3: the published folder, and this project's checkpoints.

The published layout is a folder of the decoder with `Q` and `mm_projector` among its weights, and in `llm1/` a whole
Qwen2 folder, the compressor. Its remote code is not needed and not run.

| here                                | published                               |
|-------------------------------------|-----------------------------------------|
| `compressor.*`                      | `llm1/`: `model.*`                      |
| `decoder.model.*`, `decoder.lm_head`| `model.*`, `lm_head`                    |
| `queries.weight`                    | `model.Q.weight`                        |
| `projector.*`                       | `model.mm_projector.*`                  |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.durable import write_whole
from visionsmith.errors import CheckpointError, ConfigError, OutputError
from visionsmith.memory.locks import library_load, require_loaded
from visionsmith.nn.masters import load_masters
from visionsmith.papers.c3.config import C3Config, LanguageConfig
from visionsmith.papers.c3.model import C3, TIED, qwen_config
from visionsmith.papers.model_folder import find_folder, read_config, read_weights
from visionsmith.papers.vocabulary import FILE, read_vocabulary, vocabulary_file

__all__ = ["companion_files", "from_official", "load_any", "read_official", "tokenizer_for", "write_official"]

COMPRESSOR = "llm1"
PARTS = {"queries": "Q", "projector": "mm_projector"}
"""Parts beside the two models, here and in the published decoder."""
OTHERWISE = "give a complete folder in the published layout, with llm1/ in it"


def from_official(state: Mapping[str, Tensor], config: C3Config) -> C3:
    """A model with the weights of a state dict under this project's names, see the module's table.

    Args:
        state: in any floating type; they become float32, which training needs.
        config: sizes.

    Raises:
        CheckpointError: names or shapes do not fit; says which and why that may be.
    """
    state = dict(state)
    if config.decoder.tied:
        # A published folder may hold the tied layer a second time.
        state.pop(TIED, None)
    with torch.device("meta"):
        model = C3(config)
    load_masters(model, state, otherwise=OTHERWISE)
    with library_load():
        # The tables of the positions are no weights; on the meta device they were not computed.
        model.compressor.rotary_emb = Qwen2RotaryEmbedding(model.compressor.config)
        model.decoder.model.rotary_emb = Qwen2RotaryEmbedding(model.decoder.config)
        model.decoder.tie_weights()
    require_loaded(model, "the weights of C3")
    return model


def load_any(source: str | Path, *, download: bool = False) -> C3:
    """A model from whatever `source` is.

    Args:
        source: a checkpoint of this project, or a folder or hub id in the published layout.
        download: whether a hub id may be fetched over the network.

    Raises:
        CheckpointError: it is neither, or is damaged.
    """
    path = Path(source)
    if checkpoint.is_checkpoint(path):
        opened = checkpoint.read(path, paper="c3")
        config = decode(C3Config, opened.config, where=path / "config.json")
        return from_official(opened.tensors(), config)
    return from_official(*read_official(find_folder(source, download=download)))


def tokenizer_for(source: str | Path, config: C3Config, *, download: bool = False) -> Tokenizer:
    """The vocabulary that belongs to a model.

    Args:
        source: where the model came from, as `load_any` takes it.
        config: the model's sizes.
        download: whether a hub id may be fetched over the network.

    Raises:
        CheckpointError: there is none, it is unreadable, or it has more tokens than the model.
    """
    folder = find_folder(source, download=download)
    tokenizer = read_vocabulary(folder)
    if (words := tokenizer.get_vocab_size()) > config.vocab_size:
        raise CheckpointError(
            f"its tokenizer has {words:,} tokens where the model has {config.vocab_size:,}",
            where=folder,
            do="give the tokenizer that belongs to these weights",
        )
    return tokenizer


def companion_files(model: C3, source: Path, tokenizer: Path | None) -> dict[str, bytes]:
    """What a checkpoint holds beside its weights: the vocabulary, of the folder itself or of one that is given.

    Raises:
        CheckpointError: as `tokenizer_for`.
    """
    return vocabulary_file(tokenizer_for(source if tokenizer is None else tokenizer, model.config))


def read_official(folder: Path) -> tuple[dict[str, Tensor], C3Config]:
    """Weights under this project's names, and sizes, of a folder in the published layout.

    Raises:
        CheckpointError: it is not in that layout, or a file is missing or damaged.
    """
    values = read_config(folder, "C3")
    inner = folder / COMPRESSOR
    if not inner.is_dir():
        raise CheckpointError(
            f"has no folder {COMPRESSOR}/, the compressor", where=folder, do="copy the whole published folder"
        )
    theirs, compressor = read_weights(folder), read_weights(inner)
    config = _config(values, read_config(inner, "qwen2"), where=folder)
    state: dict[str, Tensor] = {}
    for name, value in theirs.items():
        part = next((ours for ours, own in PARTS.items() if name.startswith(f"model.{own}.")), None)
        if part is not None:
            state[f"{part}.{name.rpartition('.')[2]}"] = value
        elif not name.startswith("model.llm1."):
            # Some writers keep the compressor a second time under the decoder; the folder is what is published.
            state[f"decoder.{name}"] = value
    for name, value in compressor.items():
        if name.startswith("model."):
            state[f"compressor.{name.removeprefix('model.')}"] = value
    return state, config


def _config(values: Mapping[str, Any], inner: Mapping[str, Any], *, where: Path) -> C3Config:
    try:
        if values["vocab_size"] != inner["vocab_size"]:
            raise CheckpointError(
                f"the decoder has {values['vocab_size']:,} tokens and the compressor {inner['vocab_size']:,}",
                where=where,
                do="give the two models that were trained together",
            )
        extras = {
            ours: values[theirs]
            for ours, theirs in (
                ("image_start", "im_start_token"),
                ("image_pad", "im_patch_token"),
                ("image_end", "im_end_token"),
            )
            if values.get(theirs, -1) >= 0
        }
        return C3Config(
            vocab_size=values["vocab_size"],
            latents=values["latent_token_len"],
            chunk=min(8192, values.get("max_position_embeddings", 32_768)),
            decoder=_sizes(values),
            compressor=_sizes(inner),
            norm_eps=values.get("rms_norm_eps", 1e-6),
            **extras,
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"its config.json has not the sizes of a C3 ({error})", where=where, do=OTHERWISE
        ) from error
    except ConfigError as error:
        raise CheckpointError(f"its config.json: {error.what}", where=where, do=OTHERWISE) from error


def _sizes(values: Mapping[str, Any]) -> LanguageConfig:
    rope = values.get("rope_parameters") or {}
    return LanguageConfig(
        width=values["hidden_size"],
        layers=values["num_hidden_layers"],
        heads=values["num_attention_heads"],
        key_heads=values["num_key_value_heads"],
        hidden=values["intermediate_size"],
        rope_theta=float(values.get("rope_theta") or rope.get("rope_theta") or 10_000.0),
        tied=bool(values.get("tie_word_embeddings", False)),
    )


def write_official(model: C3, tokenizer: Tokenizer, folder: Path, *, shard: int = 5_000_000_000) -> None:
    """Write a model in the published layout.

    Args:
        model: without a stride: the published code knows no other positions.
        tokenizer: its vocabulary.
        folder: to make.
        shard: most bytes of one file of weights.

    Raises:
        ConfigError: the model has a stride.
        OutputError: the folder is there, or cannot be written.
    """
    config = model.config
    if config.stride is not None:
        raise ConfigError(
            f"a model with stride {config.stride} has positions that the published code does not know",
            do="write one that was trained with stride=null",
        )
    if folder.exists():
        raise OutputError("is there already", where=folder, do="choose another folder")
    state = model.state_dict()
    inner: dict[str, Tensor] = {}
    outer: dict[str, Tensor] = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part == "compressor":
            inner[f"model.{rest}"] = value
        elif part == "decoder":
            outer[rest] = value
        else:
            outer[f"model.{PARTS[part]}.{rest}"] = value
    extras = {
        "architectures": ["C3QwenForCausalLM"],
        "model_type": "C3",
        "latent_token_len": config.latents,
        "contexts_compression_llm_hidden_size": config.compressor.width,
        "im_start_token": config.image_start,
        "im_patch_token": config.image_pad,
        "im_end_token": config.image_end,
        "use_im_start_end": True,
    }
    _write(
        folder / COMPRESSOR, inner, {**_values(config, config.compressor), "tie_word_embeddings": True}, shard
    )
    _write(folder, outer, {**_values(config, config.decoder), **extras}, shard)
    write_whole(folder / FILE, tokenizer.to_str().encode("utf-8"))


def _values(config: C3Config, part: LanguageConfig) -> dict[str, Any]:
    values: dict[str, Any] = qwen_config(config, part).to_dict()
    # As transformers wrote it when the weights were published, and newer versions still read.
    return {**values, "architectures": ["Qwen2ForCausalLM"], "rope_theta": part.rope_theta}


def _write(folder: Path, state: Mapping[str, Tensor], values: Mapping[str, Any], shard: int) -> None:
    from safetensors.torch import save

    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, value in state.items():
        size = value.numel() * value.element_size()
        if shards[-1] and filled + size > shard:
            shards.append({})
            filled = 0
        shards[-1][name] = value.detach().contiguous()
        filled += size
    write_whole(folder / "config.json", (json.dumps(values, indent=2) + "\n").encode())
    if len(shards) == 1:
        write_whole(folder / "model.safetensors", save(shards[0], metadata={"format": "pt"}))
        return
    where: dict[str, str] = {}
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_whole(folder / file, save(tensors, metadata={"format": "pt"}))
        where |= dict.fromkeys(tensors, file)
    total = sum(value.numel() * value.element_size() for value in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    write_whole(folder / "model.safetensors.index.json", (json.dumps(index, indent=2) + "\n").encode())
