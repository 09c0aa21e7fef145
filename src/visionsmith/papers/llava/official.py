"""The ways in for weights made elsewhere, or by this project.

| source                                                                  | function            |
|-------------------------------------------------------------------------|---------------------|
| a state dict under the published names (`model.mm_projector.*`, ...)    | `from_official`     |
| a folder of the public code, or of transformers (`model_type: llava`)   | `load_any`          |
| a checkpoint of this project                                            | `load_any`          |
| a projector alone (`mm_projector.*`)                                    | `load_projector`    |
| an adapter (`adapter_model.safetensors`, `non_lora_trainables`)          | `lora.merge_adapter` |
| a CLIP or Llama folder, or a part that this project trained             | `load_tower`, `load_language` |

Published `.bin` files are pickles; `visionsmith convert pickle` makes safetensors of them without running them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.memory.locks import require_loaded
from visionsmith.nn.masters import load_masters
from visionsmith.papers.llava.config import LanguageConfig, LlavaConfig, TowerConfig
from visionsmith.papers.llava.layouts import config_from_folder, language_config, ours, tower_config
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.model_folder import find_folder, read_config, read_weights
from visionsmith.papers.vocabulary import FILE, read_vocabulary
from visionsmith.vet import read_foreign, refuse_unsafe

__all__ = [
    "LANGUAGE", "TOWER", "companion_files", "from_official", "load_any", "load_language", "load_projector",
    "load_tower",
]  # fmt: skip

TOWER, LANGUAGE = "llava-tower", "llava-language"
"""What checkpoints of the parts call themselves."""

_NOT_LLAVA = "give a LLaVA checkpoint: the weights of one model, complete"


def from_official(state: Mapping[str, Tensor], config: LlavaConfig | None = None) -> Llava:
    """A model with the weights of a state dict, under the published names, transformers' or ours.

    Args:
        state: weights in any floating type; they become float32.
        config: sizes; None: those of the published 7B or 13B model, by the width of the weights.

    Raises:
        CheckpointError: names or shapes do not fit, or the vision tower is not among them.
    """
    renamed = ours(state)
    if config is None:
        config = _published(renamed)
    if not any(name.startswith("vision.") for name in renamed):
        raise CheckpointError(
            "the weights have no vision tower",
            do="give the folder of the checkpoint, with the CLIP that its config.json names in the local cache",
        )
    return _filled(config, renamed)


def load_any(source: str | Path, *, download: bool = False, tower: str | Path | None = None) -> Llava:
    """A model from a checkpoint, a folder or a hub id.

    Args:
        source: of this project, of the public code (`LlavaLlamaForCausalLM`), or of transformers.
        download: whether a hub id may be fetched.
        tower: where the vision tower is, for folders of the public code that leave it out; None: where their
            config.json says.

    Raises:
        CheckpointError: there is none, it is a pickle, or it is no LLaVA.
    """
    folder = find_folder(source, download=download)
    if checkpoint.is_checkpoint(folder):
        opened = checkpoint.read(folder, paper="llava")
        config = decode(LlavaConfig, opened.config, where=folder)
        return _filled(config, opened.tensors())
    values = read_config(folder, "llava", "llava_llama")
    state = ours(read_weights(folder))
    if values["model_type"] == "llava":
        config = config_from_folder(values, where=folder)
    else:
        seen = find_folder(tower or str(values.get("mm_vision_tower", "")), download=download)
        vision, weights = load_tower(seen)
        config = config_from_folder(values, where=folder, vision=vision)
        # A tower among the weights was perhaps trained with them.
        state = {f"vision.{name}": value for name, value in weights.items()} | state
    return _filled(config, state)


def load_tower(source: str | Path, *, download: bool = False) -> tuple[TowerConfig, dict[str, Tensor]]:
    """Sizes and weights (names of `CLIPVisionModel`) of a vision tower.

    Args:
        source: a checkpoint of the preset `tower`, a LLaVA checkpoint, whose tower is taken, or a CLIP folder of
            transformers.
        download: whether a hub id may be fetched.
    """
    folder = find_folder(source, download=download)
    if checkpoint.is_checkpoint(folder):
        opened = checkpoint.read(folder)
        if opened.paper == "llava":
            whole = decode(LlavaConfig, opened.config, where=folder)
            own = {
                name.removeprefix("vision."): value
                for name, value in opened.tensors().items()
                if name[:7] == "vision."
            }
            return whole.vision, own
        opened = checkpoint.read(folder, paper=TOWER, check=False)
        return decode(TowerConfig, opened.config, where=folder), opened.tensors()
    values = read_config(folder, "clip", "clip_vision_model")
    state = {
        re.sub(r"^vision_model\.", "", name): value
        for name, value in read_weights(folder).items()
        if not name.startswith(("text_", "logit_scale", "visual_projection"))
    }
    state.pop("embeddings.position_ids", None)
    return tower_config(values.get("vision_config", values), where=folder), state


def load_language(source: str | Path, *, download: bool = False) -> tuple[LanguageConfig, dict[str, Tensor]]:
    """Sizes and weights (names of `LlamaForCausalLM`) of a language model.

    Args:
        source: a checkpoint of the preset `language`, or a Llama folder of transformers.
        download: whether a hub id may be fetched.
    """
    folder = find_folder(source, download=download)
    if checkpoint.is_checkpoint(folder):
        opened = checkpoint.read(folder, paper=LANGUAGE)
        return decode(LanguageConfig, opened.config, where=folder), opened.tensors()
    values = read_config(folder, "llama")
    return language_config(values, where=folder), read_weights(folder)


def load_projector(model: Llava, file: Path) -> None:
    """Give a model the projector of a file: `mm_projector.*`, as the first stage of the public code writes it.

    Raises:
        CheckpointError: it is a pickle, holds no projector, or one of other sizes.
    """
    refuse_unsafe(file)
    state = ours(read_foreign(file))
    inside = {
        name.removeprefix("projector."): value
        for name, value in state.items()
        if name.startswith("projector.")
    }
    if not inside:
        raise CheckpointError("holds no projector", where=file, do="give a file with mm_projector.* in it")
    load_masters(model.projector, inside, otherwise="give the projector of a model of these sizes")


def companion_files(model: Llava, source: Path, tokenizer: Path | None) -> dict[str, bytes]:
    """The tokenizer of published weights, for the checkpoint that is made of them."""
    place = tokenizer or source
    folder = place if place.is_dir() else place.parent
    return {FILE: read_vocabulary(folder).to_str().encode("utf-8")} if (folder / FILE).is_file() else {}


def _filled(config: LlavaConfig, state: Mapping[str, Tensor]) -> Llava:
    with torch.device("meta"):
        model = Llava(config)
    complete = dict(state)
    complete.pop("vision.embeddings.position_ids", None)
    words, head = "language.model.embed_tokens.weight", "language.lm_head.weight"
    if config.language.tied and words in complete:
        complete[head] = complete[words]
    load_masters(model, complete, otherwise=_NOT_LLAVA)
    if config.language.tied:
        model.language.lm_head.weight = model.language.model.embed_tokens.weight
    _restore_buffers(model, config)
    require_loaded(model, "LLaVA")
    return model.eval()


def _restore_buffers(model: Llava, config: LlavaConfig) -> None:
    """What is computed and not stored: positions of the tower, frequencies of the language model."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    embeddings = model.vision.embeddings
    embeddings.register_buffer(
        "position_ids", torch.arange(config.vision.patches + 1)[None], persistent=False
    )
    model.language.model.rotary_emb = LlamaRotaryEmbedding(model.language.config)


def _published(state: Mapping[str, Tensor]) -> LlavaConfig:
    from visionsmith.papers.llava.config import llava_7b, llava_13b

    words: Any = state.get("language.model.embed_tokens.weight")
    for config in (llava_7b(), llava_13b()):
        if words is not None and words.shape == (config.language.vocab_size, config.language.width):
            return config
    raise ConfigError(
        "the weights do not show the sizes of the model", do="give its folder, with the config.json"
    )
