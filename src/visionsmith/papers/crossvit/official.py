"""The ways in for weights of CrossViT made elsewhere, or by this project.

| source                                                   | function        |
|----------------------------------------------------------|-----------------|
| a state dict under the published names, or timm's         | `from_official` |
| a checkpoint of this project, or a bare `.safetensors`    | `load_any`      |

The published `.pth` files are pickles of a bare state dict; `visionsmith convert official crossvit` reads them without
running them.
"""

from __future__ import annotations

import math
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
from visionsmith.papers.crossvit.config import CrossViTConfig, Fusion
from visionsmith.papers.crossvit.model import CrossViT
from visionsmith.vet import refuse_unsafe

__all__ = ["config_from_state", "from_official", "load_any"]

HEAD_WIDTH = 32
"""Channels of a head in the small branch of every published model; the large branch has as many heads."""


def config_from_state(state: Mapping[str, Tensor]) -> CrossViTConfig:
    """Sizes of a model from the shapes of its weights alone, under the published names.

    Heads are those of the published models, one for each 32 channels of the small branch: shapes do not show them.

    Raises:
        CheckpointError: a weight that shows a size is missing, or a grid is not square.
    """
    try:
        widths = (state["cls_token.0"].shape[-1], state["cls_token.1"].shape[-1])
        stem = "linear" if "patch_embed.0.proj.weight" in state else "convolutions"
        patches = _linear_patches(state) if stem == "linear" else (12, 16)
        stages = _count(state, r"blocks\.(\d+)\.")
        heads = max(1, widths[0] // HEAD_WIDTH)
        return CrossViTConfig(
            image_sizes=(_side(state, 0) * patches[0], _side(state, 1) * patches[1]),
            patch_sizes=patches,
            widths=widths,
            heads=(heads, heads),
            mlp_ratios=(_mlp_ratio(state, 0), _mlp_ratio(state, 1)),
            depths=tuple(_depth(state, stage) for stage in range(stages)),
            qkv_bias="blocks.0.blocks.0.0.attn.qkv.bias" in state,
            fusion=_fusion(state),
            stem="linear" if stem == "linear" else "convolutions",
            classes=len(state["head.0.weight"]),
        )
    except KeyError as error:
        raise CheckpointError(
            f"the weights are not those of a CrossViT under the published names: there is no {error.args[0]}",
            do=_likely_reason(state),
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"the weights have not the dimensions of a CrossViT ({error})", do=_likely_reason(state)
        ) from error


def _linear_patches(state: Mapping[str, Tensor]) -> tuple[int, int]:
    return state["patch_embed.0.proj.weight"].shape[-1], state["patch_embed.1.proj.weight"].shape[-1]


def _side(state: Mapping[str, Tensor], branch: int) -> int:
    patches = int(state[f"pos_embed.{branch}"].shape[1]) - 1
    side = math.isqrt(patches)
    if side**2 != patches:
        raise ValueError(f"pos_embed.{branch} has {patches} patches, which are no square")
    return side


def _mlp_ratio(state: Mapping[str, Tensor], branch: int) -> float:
    hidden, width = state[f"blocks.0.blocks.{branch}.0.mlp.fc1.weight"].shape
    return float(hidden / width)


def _depth(state: Mapping[str, Tensor], stage: int) -> tuple[int, int, int]:
    small, large = (_count(state, rf"blocks\.{stage}\.blocks\.{branch}\.(\d+)\.") for branch in (0, 1))
    numbered = {
        match[1] for key in state if (match := re.match(rf"blocks\.{stage}\.fusion\.0\.(\d+)\.", key))
    }
    return small, large, max(1, len(numbered))


def _fusion(state: Mapping[str, Tensor]) -> Fusion:
    if "blocks.0.fusion.0.norm1.weight" in state or "blocks.0.fusion.0.0.norm1.weight" in state:
        return "cross_attention"
    if "blocks.0.norm1.weight" in state:
        return "all_attention"
    if "blocks.0.projs.0.2.weight" in state:
        raise ValueError("shapes do not tell class-token from pairwise fusion: give the config")
    return "none"


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    found = {match[1] for key in state if (match := re.match(pattern, key))}
    if not found:
        raise KeyError(pattern.replace(r"(\d+)", "0").replace("\\", "") + "*")
    return len(found)


def from_official(state: Mapping[str, Tensor], config: CrossViTConfig | None = None) -> CrossViT:
    """A model with the weights of a state dict under the published names, or timm's.

    Args:
        state: weights in any floating type; they become float32.
        config: sizes; None: those that the shapes show, with the published heads.

    Raises:
        CheckpointError: names or shapes do not fit; says which and why that may be.
    """
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("the state dict holds more than tensors", do=_likely_reason(state))
    state = _published_names(state)
    config = config_from_state(state) if config is None else config
    with torch.device("meta"):
        model = CrossViT(config)
    load_masters(model, state, otherwise=_likely_reason(state))
    return model


def _published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Map timm's pos_embed_0 to the public code's pos_embed.0, and a list of one round of fusion to that round."""
    renamed = {re.sub(r"^(pos_embed|cls_token)_(\d)$", r"\1.\2", key): value for key, value in state.items()}
    if any(re.match(r"blocks\.\d+\.fusion\.\d\.1\.", key) for key in renamed):
        return renamed
    return {re.sub(r"^(blocks\.\d+\.fusion\.\d)\.0\.", r"\1.", key): value for key, value in renamed.items()}


def load_any(source: str | Path) -> CrossViT:
    """A model from whatever `source` is.

    Args:
        source: a checkpoint of this project, or a `.safetensors` file under the published names or timm's.

    Raises:
        CheckpointError: it is none of these, is damaged, or is a pickle.
    """
    path = Path(source)
    if path.is_file():
        refuse_unsafe(path, paper="crossvit")
        return from_official(checkpoint.read_tensors(path))
    opened = checkpoint.read(path, paper="crossvit")
    # A converted checkpoint holds the sizes alone, a trained one also the classes and how pictures are shown.
    sizes = opened.config.get("model", opened.config)
    return from_official(opened.tensors(), decode(CrossViTConfig, sizes, where=path / "config.json"))


def _likely_reason(state: Mapping[str, Tensor]) -> str:
    """What to do about a state dict that does not fit, judged by its names."""
    if (reason := reason_by_names(state)) is not None:
        return reason
    if "cls_token" in state and "blocks.0.attn.qkv.weight" in state:
        return "these are the weights of a plain vision transformer, which has a single branch"
    return "give the weights of a published CrossViT, or the config that they were made with"
