"""Folders of FLUX's pipelines, opened; and how their two text encoders read.

Axes: b texts, n and m tokens of CLIP and of T5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionsmith.diffusion.flux import Text
from visionsmith.errors import CheckpointError
from visionsmith.memory.locks import opening, require_loaded
from visionsmith.papers.model_folder import find_pipeline

__all__ = ["open_flux", "read", "sizes", "tokenize"]

PARTS = ("vae", "text_encoder", "text_encoder_2", "transformer")
T5_TOKENS = 512
"""That T5 reads, at most."""


def open_flux(source: str | Path, library: Any, *, download: bool = False) -> Any:
    """Open a folder of a pipeline, or a hub id of one; its parts are frozen.

    Weights stay in the dtype that the transformer is stored in (FLUX.1's is bfloat16, and in float32 would take 48 GB);
    the autoencoder is opened in float32.

    Args:
        source: where it is.
        library: the pipeline's class in diffusers, e.g. `FluxPipeline`.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        CheckpointError: it is another kind of model, incomplete, or holds its weights as pickles only.
    """
    from visionsmith.diffusion.library import silenced

    kind = library.__name__
    folder = find_pipeline(source, kind, PARTS, download=download)
    stored = _stored(folder / "transformer")
    with opening(folder, kind, do="save it again with `save_pretrained`"), silenced():
        pipeline = library.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            dtype={"vae": torch.float32, "default": stored},
        )
    for name in PARTS:
        part = getattr(pipeline, name)
        require_loaded(part, str(folder))
        part.requires_grad_(False).eval()
    return pipeline


def sizes(pipeline: Any) -> tuple[int, int]:
    """How many tokens CLIP and T5 of a pipeline read, n and m."""
    clip: int = pipeline.text_encoder.config.max_position_embeddings
    return clip, min(T5_TOKENS, int(pipeline.tokenizer_2.model_max_length))


def tokenize(pipeline: Any, texts: Sequence[str]) -> Tensor:
    """Texts to ids `b (n + m)` int64: CLIP's, then T5's, both padded and cut to what they read."""
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    found = [
        tokenizer(
            list(texts), padding="max_length", max_length=most, truncation=True, return_tensors="pt"
        ).input_ids
        for tokenizer, most in zip(tokenizers, sizes(pipeline), strict=True)
    ]
    return torch.cat(found, dim=1)


@torch.no_grad()
def read(clip: Any, t5: Any, tokens: Tensor) -> Text:
    """T5's states and CLIP's one embedding, each on its encoder's device.

    Args:
        clip: a `CLIPTextModel`.
        t5: a `T5EncoderModel`.
        tokens: int64 `b (n + m)` of `tokenize`.
    """
    places = clip.config.max_position_embeddings
    pooled = clip(tokens[:, :places].to(clip.device)).pooler_output
    return Text(t5(tokens[:, places:].to(t5.device)).last_hidden_state, pooled)


def _stored(folder: Path) -> torch.dtype:
    """The dtype of a folder's first weight."""
    from safetensors import SafetensorError, safe_open

    file = min(folder.glob("*.safetensors"))
    try:
        with safe_open(file, framework="pt") as opened:
            # One of them, in place of the header's name for it.
            found: torch.dtype = opened.get_tensor(min(opened.keys())).dtype
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"is not a readable safetensors file ({error})", where=file, do="copy it again from its source"
        ) from error
    return found
