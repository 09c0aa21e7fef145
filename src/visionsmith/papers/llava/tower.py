"""The vision tower: transformers' CLIP vision model, read at a state in the middle, without what lies behind it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from visionsmith.memory.locks import library_load
from visionsmith.papers.llava.config import TowerConfig

__all__ = ["class_state", "patch_features", "vision_model"]


def vision_model(config: TowerConfig) -> CLIPVisionModel:
    """A CLIP vision model with new weights."""
    with library_load():
        return CLIPVisionModel(
            CLIPVisionConfig(
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_size=config.width,
                intermediate_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                hidden_act=config.activation,
            )
        )


def patch_features(tower: CLIPVisionModel, pixels: Tensor, select_layer: int) -> Tensor:
    """The states of the patches, `b n d`, without the class token.

    The blocks behind the chosen state are not run: with -2 the last one is left out, and no other state is kept.

    Args:
        tower: the vision model.
        pixels: float `b 3 h w`, normalised as CLIP's.
        select_layer: -1 for the last block's state, -2 for the one before, and so on.
    """
    states = tower.pre_layrnorm(tower.embeddings(pixels))
    blocks = tower.encoder.layers
    for block in blocks[: len(blocks) + 1 + select_layer]:
        states = block(states, None)
    patches: Tensor = states[:, 1:]
    return patches


def class_state(tower: CLIPVisionModel, pixels: Tensor, shown: Tensor) -> Tensor:
    """The state that the tower reads a picture out at, `b d`, of those of its patches that are shown.

    Args:
        tower: the vision model.
        pixels: float `b 3 h w`, normalised as CLIP's.
        shown: int64 `b s`, numbers of patches, row by row.
    """
    embedded = tower.embeddings(pixels)
    chosen = shown[..., None].expand(-1, -1, embedded.shape[-1])
    states = tower.pre_layrnorm(torch.cat([embedded[:, :1], embedded[:, 1:].gather(1, chosen)], dim=1))
    for block in tower.encoder.layers:
        states = block(states, None)
    read: Tensor = tower.post_layernorm(states[:, 0])
    return read
