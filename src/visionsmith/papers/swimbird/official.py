"""The ways in for weights made elsewhere, or by this project.

| source                                                        | function       |
|---------------------------------------------------------------|----------------|
| a state dict under the published names (Qwen3-VL's)           | `from_official` |
| the published SwimBird folder, or a Qwen3-VL folder to begin with | `open_reasoner` |
| a checkpoint of this project                                  | `open_reasoner` |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.errors import CheckpointError
from visionsmith.nn.masters import load_masters
from visionsmith.papers.model_folder import find_folder, read_config, read_weights
from visionsmith.papers.swimbird.chat import SYSTEM, TOKENS
from visionsmith.papers.swimbird.config import SwimBirdConfig, TextConfig, VisionConfig
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.reasoner import Reasoner
from visionsmith.papers.vocabulary import read_vocabulary, token_id, vocabulary_file

__all__ = ["companion_files", "config_from_folder", "from_official", "load_any", "open_reasoner"]

OWN = ("<|latent|>", "<|latent_start|>", "<|latent_end|>")
"""What SwimBird adds to Qwen3-VL's vocabulary, in this order."""
OWN_SETTINGS = (
    "latent_id",
    "latent_start_id",
    "latent_end_id",
    "max_latent_token",
    "latent_loss",
    "latent_lambda",
)
"""What the published config.json has beyond Qwen3-VL's."""


def from_official(state: Mapping[str, Tensor], config: SwimBirdConfig | None = None) -> SwimBird:
    """A model with the weights of a state dict under Qwen3-VL's names (`model.visual.*`, `model.language_model.*`).

    Embeddings with fewer rows than the vocabulary needs are filled up with their mean: the rows of new tokens.

    Args:
        state: weights in any floating type; they become float32.
        config: the model's, which weights alone do not tell.

    Raises:
        CheckpointError: there is no config, or names or shapes do not fit; says which.
    """
    if config is None:
        raise CheckpointError(
            "weights alone do not tell the sizes of a SwimBird", do="give the folder, with its config.json"
        )
    with torch.device("meta"):
        model = SwimBird(config)
    table = "model.language_model.embed_tokens.weight"
    named = {f"qwen.{name}": tensor for name, tensor in state.items()}
    for name in (table, "lm_head.weight"):
        if f"qwen.{name}" in named:
            named[f"qwen.{name}"] = _filled_up(named[f"qwen.{name}"], config.text.vocab_size)
    if config.tie_word_embeddings and f"qwen.{table}" in named:
        named["qwen.lm_head.weight"] = named[f"qwen.{table}"]
    load_masters(
        model, named, otherwise="give the weights of a SwimBird or a Qwen3-VL, with their config.json"
    )
    _finish(model)
    return model


def config_from_folder(values: Mapping[str, Any], tokenizer: Tokenizer, *, where: Path) -> SwimBirdConfig:
    """The config of a SwimBird or Qwen3-VL folder.

    Args:
        values: its `config.json`; budgets and loss are the published ones where it has none.
        tokenizer: its own, with the latent tokens.
        where: the file, for messages.

    Raises:
        CheckpointError: a part or a token is missing.
    """
    ids = {name: token_id(tokenizer, token, where=where) for name, token in TOKENS.items()}
    try:
        text, vision = values["text_config"], values["vision_config"]
        # The newer files name what the older ones spread over two settings.
        rope = text.get("rope_parameters") or {
            **(text.get("rope_scaling") or {}),
            **_only(text, ("rope_theta",)),
        }
        settings = {
            **_only(values, (*OWN_SETTINGS, "tie_word_embeddings")),
            **ids,
            "text": {
                **_only(text, (field.name for field in dataclasses.fields(TextConfig))),
                **_only(rope, ("rope_theta", "mrope_section")),
                # Qwen3-VL's table has spare rows, and the latent tokens take three of them.
                "vocab_size": max(text["vocab_size"], max(ids.values()) + 1),
            },
            "vision": _only(vision, (field.name for field in dataclasses.fields(VisionConfig))),
        }
    except KeyError as error:
        raise CheckpointError(
            f"its config.json has no {error.args[0]}",
            where=where,
            do="give a folder that `save_pretrained` wrote",
        ) from error
    return decode(SwimBirdConfig, settings, where=where)


def open_reasoner(
    source: str | Path,
    *,
    budgets: SwimBirdConfig | None = None,
    system: str | None = None,
    download: bool = False,
) -> Reasoner:
    """A SwimBird with its vocabulary from whatever `source` is.

    Args:
        source: a checkpoint of this project, a published folder, or a hub id in the local cache.
        budgets: whose limits of tokens, loss and weight replace those of the source.
        system: what its dialogues begin with; None: what the source says, or the published text.
        download: whether a hub id may be fetched.

    Raises:
        CheckpointError: it is none of these, is damaged, or is a pickle.
    """
    folder = find_folder(source, download=download)
    if checkpoint.is_checkpoint(folder):
        opened = checkpoint.read(folder, paper="swimbird")
        # A converted checkpoint holds the sizes alone, a trained one also what its dialogues begin with.
        sizes = opened.config.get("model", opened.config)
        config = decode(SwimBirdConfig, sizes, where=folder / "config.json")
        tokenizer = read_vocabulary(folder)
        state = {name.removeprefix("qwen."): tensor for name, tensor in opened.tensors().items()}
        known = opened.config.get("system", SYSTEM)
    else:
        values = read_config(folder, "qwen3_vl")
        tokenizer = _with_own(read_vocabulary(folder))
        config = config_from_folder(values, tokenizer, where=folder / "config.json")
        state, known = dict(read_weights(folder)), SYSTEM
    if budgets is not None:
        names = ("max_latent_token", "min_latent_token", "latent_limit", "max_image_token", "min_image_token",
                 "latent_loss", "latent_lambda", "supervise_stay", "fixed_latent")  # fmt: skip
        config = dataclasses.replace(config, **{name: getattr(budgets, name) for name in names})
    model = from_official(state, config)
    return Reasoner(model.eval(), tokenizer, system=known if system is None else system)


def load_any(source: str | Path) -> SwimBird:
    """The model of a source that `open_reasoner` takes."""
    return open_reasoner(source).model


def companion_files(model: SwimBird, source: Path, tokenizer: Path | None) -> dict[str, bytes]:
    """What a converted checkpoint holds beside its weights: the vocabulary, with the latent tokens.

    Raises:
        CheckpointError: there is none.
    """
    return vocabulary_file(_with_own(read_vocabulary(source if tokenizer is None else tokenizer)))


def _with_own(tokenizer: Tokenizer) -> Tokenizer:
    """A vocabulary with the latent tokens, which a Qwen3-VL's lacks."""
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in OWN])
    return tokenizer


def _only(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def _filled_up(table: Tensor, rows: int) -> Tensor:
    """An embedding with rows of the mean added."""
    if len(table) >= rows:
        return table
    mean = table.float().mean(dim=0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(rows - len(table), -1)])


def _finish(model: SwimBird) -> None:
    """What no state dict holds: frequencies of the rotations, and that words in and out share one table."""
    inner = model.qwen.model
    text, vision = inner.language_model, inner.visual
    text.rotary_emb = type(text.rotary_emb)(config=text.config)
    vision.rotary_pos_emb = type(vision.rotary_pos_emb)(vision.config)
    if model.config.tie_word_embeddings:
        model.qwen.lm_head.weight = model.qwen.get_input_embeddings().weight
