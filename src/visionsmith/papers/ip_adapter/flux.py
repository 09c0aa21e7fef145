"""What Flux's transformer is told beside an adapter: two readings of a text, and a strength of guidance."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from visionsmith.diffusion.flux import Text

__all__ = ["DISTILLED", "read"]

DISTILLED = 3.5
"""Strength of guidance that a distilled transformer is told: the default of FLUX's pipelines."""


def read(clip: Any, t5: Any, tokens: Tensor) -> Text:
    """Read texts: T5's states, and CLIP's one embedding.

    Args:
        clip: a `CLIPTextModel`.
        t5: a `T5EncoderModel`.
        tokens: int64 `b (n + m)`: CLIP's, as many as it has places, then T5's.
    """
    places = clip.config.max_position_embeddings
    pooled = clip(tokens[:, :places].to(clip.device)).pooler_output
    return Text(t5(tokens[:, places:].to(t5.device)).last_hidden_state, pooled)
