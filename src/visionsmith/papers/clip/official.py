"""The ways in for weights of CLIP made elsewhere, or by this project.

| source                                            | function            |
|---------------------------------------------------|---------------------|
| a state dict under OpenAI's names                 | `from_official`     |
| a transformers folder or hub id (`CLIPModel`)     | `from_transformers` |
| any of these, a checkpoint, a bare `.safetensors` | `load_any`          |

The published `.pt` files are TorchScript archives; `visionsmith convert official clip` reads them without
running them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.errors import CheckpointError
from visionsmith.keys import reason_by_names
from visionsmith.nn.masters import load_masters
from visionsmith.papers.clip.config import (
    CLIPConfig,
    ModifiedResNetConfig,
    TextConfig,
    VisionTransformerConfig,
)
from visionsmith.papers.clip.model import CLIP
from visionsmith.papers.clip.tokenizer import ClipTokenizer
from visionsmith.papers.clip.transformers_layout import read_transformers
from visionsmith.papers.model_folder import find_folder
from visionsmith.vet import refuse_unsafe

__all__ = [
    "companion_files",
    "config_from_state",
    "from_official",
    "from_transformers",
    "load_any",
    "tokenizer_for",
]

NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}
"""Scalars that the published archives keep beside the weights."""


def config_from_state(state: Mapping[str, Tensor]) -> CLIPConfig:
    """Sizes of a published model from the shapes of its weights alone.

    Heads are one a 64 channels and the activation is QuickGELU, as in every published model: shapes do not
    show them.

    Raises:
        CheckpointError: a weight that shows a size is missing.
    """
    try:
        width, embed_dim = state["text_projection"].shape
        text = TextConfig(
            vocab_size=len(state["token_embedding.weight"]),
            context_length=len(state["positional_embedding"]),
            width=width,
            heads=max(1, width // 64),
            layers=_count(state, r"transformer\.resblocks\.(\d+)\."),
        )
        vision = _vit_config(state) if "visual.proj" in state else _resnet_config(state)
    except KeyError as error:
        raise CheckpointError(
            f"the weights are not those of a CLIP under OpenAI's names: there is no {error.args[0]}",
            do=_likely_reason(state),
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"the weights have not the dimensions of a CLIP ({error})", do=_likely_reason(state)
        ) from error
    return CLIPConfig(embed_dim=embed_dim, vision=vision, text=text)


def _vit_config(state: Mapping[str, Tensor]) -> VisionTransformerConfig:
    width, _, patch_size, _ = state["visual.conv1.weight"].shape
    grid = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    return VisionTransformerConfig(
        image_size=grid * patch_size,
        patch_size=patch_size,
        width=width,
        layers=_count(state, r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=max(1, width // 64),
    )


def _resnet_config(state: Mapping[str, Tensor]) -> ModifiedResNetConfig:
    stages = _count(state, r"visual\.layer(\d+)\.")
    grid = round((len(state["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
    return ModifiedResNetConfig(
        image_size=grid * 4 * 2 ** (stages - 1),
        width=len(state["visual.layer1.0.conv1.weight"]),
        layers=tuple(_count(state, rf"visual\.layer{stage + 1}\.(\d+)\.") for stage in range(stages)),
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    found = {match[1] for key in state if (match := re.match(pattern, key))}
    if not found:
        raise KeyError(pattern.replace(r"(\d+)", "0").replace("\\", "") + "*")
    return len(found)


def from_official(state: Mapping[str, Tensor], config: CLIPConfig | None = None) -> CLIP:
    """A model with the weights of a state dict under OpenAI's names.

    Args:
        state: weights in any floating type; they become float32, which training needs (the published float16
            weights give not-a-number after one step of Adam).
        config: sizes; None: those that the shapes show, with the published heads and activation. Give it for
            weights of this layout that were trained with GELU or another head width.

    Raises:
        CheckpointError: names or shapes do not fit; says which and why that may be.
    """
    # Old state dicts also keep the causal mask, which is no weight.
    state = {
        key: value for key, value in state.items() if key not in NOT_WEIGHTS and not key.endswith("attn_mask")
    }
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("the state dict holds more than tensors", do=_likely_reason(state))
    config = config_from_state(state) if config is None else config
    with torch.device("meta"):
        model = CLIP(config)
    load_masters(model, state, otherwise=_likely_reason(state))
    return model


def from_transformers(source: str | Path, *, download: bool = False) -> CLIP:
    """A model with the weights of a transformers `CLIPModel`, read from its files without that library.

    Args:
        source: a folder with `config.json` and `model.safetensors` (or its shards), or a hub id, looked up in
            the local cache.
        download: whether a hub id may be fetched over the network.

    Raises:
        CheckpointError: there is no such model, or it is no `CLIPModel` in safetensors.
    """
    config, state = read_transformers(source, download=download)
    return from_official(state, config)


def load_any(source: str | Path, *, download: bool = False) -> CLIP:
    """A model from whatever `source` is.

    Args:
        source: a checkpoint of this project, a transformers folder or hub id, or a `.safetensors` file under
            OpenAI's names.
        download: whether a hub id may be fetched over the network.

    Raises:
        CheckpointError: it is none of these, is damaged, or is a pickle.
    """
    path = Path(source)
    if checkpoint.is_checkpoint(path):
        opened = checkpoint.read(path, paper="clip")
        return from_official(opened.tensors(), decode(CLIPConfig, opened.config, where=path / "config.json"))
    if path.is_file():
        refuse_unsafe(path, paper="clip")
        return from_official(checkpoint.read_tensors(path))
    return from_transformers(source, download=download)


def tokenizer_for(
    source: str | Path, config: CLIPConfig, tokenizer: str | Path | None = None, *, download: bool = False
) -> ClipTokenizer:
    """The tokenizer that belongs to a model.

    Args:
        source: where the model came from, as `load_any` takes it; folders hold the tokenizer too.
        config: the model's sizes.
        tokenizer: the tokenizer's published file or folder, for weights that bring none.
        download: whether a hub id may be fetched over the network.

    Raises:
        CheckpointError: there is none, it is unreadable, or it has more ids than the model.
    """
    place = Path(source if tokenizer is None else tokenizer)
    if tokenizer is None and not place.exists():
        place = find_folder(source, download=download)
    context_length = config.text.context_length
    if (place / "tokenizer.json").is_file():
        made = ClipTokenizer.from_bytes((place / "tokenizer.json").read_bytes(), context_length)
    elif tokenizer is None and not (place / "vocab.json").is_file():
        raise CheckpointError(
            "brings no tokenizer",
            where=place,
            do="give one (--tokenizer): bpe_simple_vocab_16e6.txt.gz, or vocab.json with merges.txt",
        )
    else:
        made = ClipTokenizer.from_official(place, context_length=context_length)
    if made.vocab_size > config.text.vocab_size:
        raise CheckpointError(
            f"its tokenizer has {made.vocab_size} ids where the model has {config.text.vocab_size}",
            where=place,
            do="give the tokenizer that belongs to these weights",
        )
    return made


def companion_files(model: CLIP, source: Path, tokenizer: Path | None) -> dict[str, bytes]:
    """What a checkpoint holds beside its weights: the tokenizer, if one is given or lies in `source`.

    Raises:
        CheckpointError: as `tokenizer_for`.
    """
    if tokenizer is None and not any((source / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return {}
    return {"tokenizer.json": tokenizer_for(source, model.config, tokenizer).save()}


def _likely_reason(state: Mapping[str, Tensor]) -> str:
    """What to do about a state dict that does not fit, judged by its names."""
    if (reason := reason_by_names(state)) is not None:
        return reason
    if any(name.startswith(("text_model.", "vision_model.")) for name in state):
        return "these are transformers' names: give its folder instead, with config.json beside the weights"
    if any(name.startswith(("text.", "visual.trunk.")) or name == "logit_bias" for name in state):
        return "this looks like an open_clip model with other towers than the published: use that library"
    return "give the weights of a published CLIP, or the config that they were made with"
