"""The ways in for weights of FLAVA made elsewhere, or by this project.

| source                                                         | function         |
|----------------------------------------------------------------|------------------|
| a state dict under the original names, or under transformers'  | `from_official`  |
| a transformers folder or hub id, a checkpoint of this project  | `load_any`       |
| the codebook in any of these, or alone                         | `load_codebook`  |

The original files are pickles; `visionsmith convert official flava FILE.pt FOLDER` reads them in a child that runs
nothing of them.
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
from visionsmith.errors import CheckpointError
from visionsmith.keys import reason_by_names
from visionsmith.nn.masters import load_masters
from visionsmith.papers.flava.codebook import Codebook
from visionsmith.papers.flava.config import CodebookConfig, FlavaConfig
from visionsmith.papers.flava.flava import CODEBOOK_FILE, codebook_file
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.transformers_layout import (
    codebook_config,
    config_from_transformers,
    plain_names,
)
from visionsmith.papers.flava.words import Words
from visionsmith.papers.model_folder import find_folder, read_config, read_weights
from visionsmith.papers.vocabulary import FILE, vocabulary_file
from visionsmith.vet import read_foreign

__all__ = [
    "companion_files",
    "from_official",
    "load_any",
    "load_codebook",
    "read_words",
    "rename_original",
]

THEIR_CODEBOOK = "image_codebook."
"""Prefix of the codebook in published weights."""

# Left: the original name, right: transformers'. The first that fits is used.
RENAMES = (
    (r"^model\.mm_encoder\.", "flava.multimodal_model."),
    (r"^model\.(image|text)_encoder\.", r"flava.\1_model."),
    (r"^model\.(image|text)(_to_mm)?_projection\.", r"flava.\1\2_projection."),
    (r"^image_codebook\.encoder\.blocks\.", "image_codebook.blocks."),
    (r"^image_codebook\.blocks\.", "image_codebook.blocks."),
    (r"^loss\.contrastive_loss\.logit_scale$", "flava.logit_scale"),
    (r"^loss\.(mlm|mim)_loss\.cls\.", r"\1_head."),
    (r"^loss\.mmm_loss\.mlm\.cls\.", "mmm_text_head."),
    (r"^loss\.mmm_loss\.mim\.cls\.", "mmm_image_head."),
    (r"^loss\.itm_loss\.pooler\.", "itm_head.pooler."),
    (r"^loss\.itm_loss\.cls\.seq_relationship\.", "itm_head.seq_relationship."),
)
INSIDE = (
    (r"\.attention\.(query|key|value)\.", r".attention.attention.\1."),
    (r"(\.layer\.\d+)\.attention\.output\.", r"\1.attention.output.dense."),
    (r"\.attention_layernorm\.", ".layernorm_before."),
    (r"\.feedforward_layernorm\.", ".layernorm_after."),
    (r"\.feedforward\.model\.0\.", ".intermediate.dense."),
    # A dropout between them would make the second one 3; the published model has none.
    (r"\.feedforward\.model\.2\.", ".output.dense."),
    (r"(text_model\.embeddings)\.layer_norm\.", r"\1.LayerNorm."),
    (r"^(m\w+_head)\.dense\.", r"\1.transform.dense."),
    (r"^(m\w+_head)\.layer_norm\.", r"\1.transform.LayerNorm."),
)


def rename_original(state: Mapping[str, Any]) -> dict[str, Any]:
    """The original names (model., loss., image_codebook.) under transformers'; a name of neither stays as it is."""
    return {_renamed(name): value for name, value in state.items()}


def from_official(state: Mapping[str, Tensor], config: FlavaConfig | None = None) -> FLAVA:
    """A model with the weights of a state dict.

    Args:
        state: under the original names or transformers', in any floating type; they become float32. What belongs to the
            codebook is left aside: `load_codebook` takes it.
        config: sizes; None: the published ones. Of weights under the original names the heads' norms were computed with
            1e-5 inside the root where transformers has 1e-12; the difference is below 1e-5 of a normed state.

    Raises:
        CheckpointError: names or shapes do not fit; says which and why that may be.
    """
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("the state dict holds more than tensors", do=_likely_reason(state))
    original = any(name.startswith("model.") for name in state)
    named = plain_names(rename_original(state) if original else state)
    own = {name: value for name, value in named.items() if not name.startswith(THEIR_CODEBOOK)}
    if original and not any("_head." in name for name in own):
        raise CheckpointError(
            "holds the encoders without the heads of the losses",
            do="give flava_for_pretraining_unified_text_encoder.pt",
        )
    with torch.device("meta"):
        model = FLAVA(FlavaConfig() if config is None else config)
    load_masters(model, own, otherwise=_likely_reason(state))
    _restore_buffers(model)
    return model


def load_any(source: str | Path, *, download: bool = False) -> FLAVA:
    """A model from whatever `source` is.

    Args:
        source: a checkpoint of this project, or a transformers folder or hub id of `FlavaForPreTraining`.
        download: whether a hub id may be fetched over the network.

    Raises:
        CheckpointError: it is none of these, is damaged, or is a pickle.
    """
    path = Path(source)
    if checkpoint.is_checkpoint(path):
        opened = checkpoint.read(path, paper="flava")
        if "image" not in opened.config:
            raise CheckpointError(
                "holds a codebook alone", where=path, do="give the checkpoint of a whole FLAVA"
            )
        return from_official(opened.tensors(), decode(FlavaConfig, opened.config, where=path / "config.json"))
    if path.is_file():
        raise CheckpointError(
            "is a file",
            where=path,
            do=f"make a folder of it: visionsmith convert official flava {path} FOLDER",
        )
    folder = find_folder(source, download=download)
    config = config_from_transformers(read_config(folder, "flava"), where=folder / "config.json")
    state = read_weights(folder)
    if not any(name.startswith("mim_head.") for name in state):
        raise CheckpointError(
            "holds the encoders without the heads of the losses",
            where=folder,
            do="give a folder of FlavaForPreTraining",
        )
    return from_official(state, config)


def load_codebook(source: str | Path, *, download: bool = False) -> Codebook | None:
    """The codebook of a model, or one alone, frozen; None where the source holds none.

    Args:
        source: a checkpoint of this project (a codebook's or a FLAVA's), or a transformers folder or hub id of
            `FlavaImageCodebook` or `FlavaForPreTraining`.
        download: whether a hub id may be fetched over the network.

    Raises:
        CheckpointError: it is none of these, or is damaged.
    """
    path = Path(source)
    if checkpoint.is_checkpoint(path):
        opened = checkpoint.read(path, paper="flava")
        config = decode(CodebookConfig, opened.config["codebook"], where=path / "config.json")
        if "image" not in opened.config:
            return _codebook(opened.tensors(), config)
        return _codebook(opened.tensors(CODEBOOK_FILE), config) if (path / CODEBOOK_FILE).is_file() else None
    folder = find_folder(source, download=download)
    values = read_config(folder)
    # Releases of the library differ in whether they name the type of a codebook.
    alone = "FlavaImageCodebook" in (values.get("architectures") or ())
    if not alone:
        values = read_config(folder, "flava")
    config = codebook_config(values if alone else values.get("image_codebook_config") or {})
    prefix = "" if alone else THEIR_CODEBOOK
    return _codebook(_encoder(read_weights(folder), prefix), config)


def companion_files(model: FLAVA, source: Path, tokenizer: Path | None) -> dict[str, bytes]:
    """What a checkpoint holds beside its weights: the vocabulary and the codebook, as far as they are there.

    Args:
        model: what was read from `source`.
        source: folder or file.
        tokenizer: a folder with `tokenizer.json`; None: the source's own.

    Raises:
        CheckpointError: the vocabulary is unreadable, or not this model's.
    """
    files = {}
    place = source if tokenizer is None else tokenizer
    place = place if place.is_dir() else place.parent
    if tokenizer is not None or (source.is_dir() and (source / FILE).is_file()):
        files = vocabulary_file(read_words(place, model.config).tokenizer)
    if source.is_dir():
        codebook = load_codebook(source)
    else:
        state = _encoder(rename_original(read_foreign(source)), THEIR_CODEBOOK)
        codebook = _codebook(state, model.config.codebook)
    return files | (codebook_file(codebook) if codebook is not None else {})


def read_words(folder: Path, config: FlavaConfig) -> Words:
    """The vocabulary in a folder, which must have as many ids as the model, or fewer.

    Raises:
        CheckpointError: there is none, or it is another model's.
    """
    words = Words.read(folder, config.text.context_length)
    if words.size > config.text.vocab_size:
        raise CheckpointError(
            f"its vocabulary has {words.size} ids where the model has {config.text.vocab_size}",
            where=folder,
            do="give the tokenizer that belongs to these weights",
        )
    return words


def _encoder(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights below a prefix, under the names of `Codebook`."""
    return {
        "encoder." + name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def _codebook(state: Mapping[str, Tensor], config: CodebookConfig) -> Codebook | None:
    if not state:
        return None
    with torch.device("meta"):
        codebook = Codebook(config, with_decoder=any(name.startswith("decoder.") for name in state))
    load_masters(codebook, state, otherwise="give a codebook in DALL-E's layout")
    return codebook.requires_grad_(requires_grad=False).eval()


def _restore_buffers(model: FLAVA) -> None:
    """The numbers of the positions, which no file holds."""
    embeddings = model.flava.text_model.embeddings
    length = model.config.text.context_length
    embeddings.register_buffer("position_ids", torch.arange(length)[None], persistent=False)
    kinds = torch.zeros(1, length, dtype=torch.int64)
    embeddings.register_buffer("token_type_ids", kinds, persistent=False)


def _renamed(name: str) -> str:
    for pattern, there in RENAMES:
        changed, hits = re.subn(pattern, there, name)
        if hits:
            name = changed
            break
    for pattern, there in INSIDE:
        name = re.sub(pattern, there, name)
    return name


def _likely_reason(state: Mapping[str, Any]) -> str:
    """What to do about a state dict that does not fit, judged by its names."""
    if any(name.startswith("model.") for name in state):
        return "give the sizes that these weights were made with"
    return reason_by_names(state) or "give the weights of a FLAVA for pretraining, with its heads"
