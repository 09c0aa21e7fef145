"""The settings of a UNet, read from the names and shapes of Latent Diffusion's layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionsmith.errors import CheckpointError
from visionsmith.single_file.header import Shape

__all__ = ["levels_of", "per_level", "read_unet"]


@dataclass(frozen=True)
class Level:
    """The resnets between two changes of size."""

    channels: int
    layers: int
    depth: int
    """Transformer blocks after each resnet; 0: none."""


def levels_of(shapes: Mapping[str, Shape]) -> list[Level]:
    """The levels of the way in.

    Args:
        shapes: of the UNet's tensors, names without the prefix.

    Raises:
        CheckpointError: the layers of a level differ, as in some distilled models.
    """
    levels: list[Level] = []
    found: list[tuple[int, int]] = []
    count = 1
    while f"input_blocks.{count}.0.op.weight" in shapes or _resnet(count) in shapes:
        if f"input_blocks.{count}.0.op.weight" in shapes:
            levels.append(_level(found, count))
            found = []
        else:
            found.append((shapes[_resnet(count)][0], _depth(shapes, f"input_blocks.{count}.1")))
        count += 1
    return [*levels, _level(found, count)]


def read_unet(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Settings of diffusers' UNet2DConditionModel that shapes show.

    `transformer_layers_per_block` is one number per level.

    Raises:
        CheckpointError: a tensor that shows a setting is missing, or the layers are not regular.
    """
    levels = levels_of(shapes)
    if len({level.layers for level in levels}) != 1:
        raise CheckpointError(
            f"the UNet's levels have {[level.layers for level in levels]} resnets, which is not supported",
            do="use a model with as many in each",
        )
    middle = _depth(shapes, "middle_block.1")
    if not middle or levels[-1].depth not in (0, middle):
        raise CheckpointError(
            f"the UNet's middle has {middle} transformer blocks and the level before {levels[-1].depth}, "
            "which is not supported",
            do="use a model that was not distilled to fewer blocks",
        )
    # A level without attention has no depth; diffusers wants a number all the same.
    depths = [level.depth or 1 for level in levels[:-1]] + [middle]
    attends = [level.depth > 0 for level in levels]
    text = next((shape for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")), None)
    if text is None or "input_blocks.0.0.weight" not in shapes or "out.2.weight" not in shapes:
        raise CheckpointError("the UNet lacks input_blocks.0.0.weight, out.2.weight or all attn2.to_k.weight")
    linear = any(name.endswith(".1.proj_in.weight") and len(shape) == 2 for name, shape in shapes.items())
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": [level.channels for level in levels],
        "layers_per_block": levels[0].layers,
        "down_block_types": ["CrossAttnDownBlock2D" if on else "DownBlock2D" for on in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if on else "UpBlock2D" for on in reversed(attends)],
        "transformer_layers_per_block": depths,
        "cross_attention_dim": text[1],
        "use_linear_projection": linear,
    }


def per_level(config: Mapping[str, Any]) -> dict[str, Any]:
    """A folder's settings of a UNet with every setting that names depend on, in one form.

    Raises:
        CheckpointError: it has blocks that single files have no names for.
    """
    levels = len(config["block_out_channels"])
    layers = config.get("layers_per_block", 2)
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * levels if isinstance(depths, int) else list(depths)
    layers = layers if isinstance(layers, int) else (layers[0] if len(set(layers)) == 1 else None)
    down = config.get("down_block_types", ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"])
    up = config.get("up_block_types", ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3)
    odd = [kind for kind in (*down, *up) if kind.replace("CrossAttn", "") not in ("DownBlock2D", "UpBlock2D")]
    middle = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    mirrored = [kind.replace("Up", "Down") for kind in reversed(up)] == list(down)
    plain = layers is not None and mirrored and all(isinstance(depth, int) for depth in depths)
    if odd or not plain or middle != "UNetMidBlock2DCrossAttn" or config.get("class_embed_type"):
        what = odd[0] if odd else "layers that differ within or between its levels, or a class embedding"
        raise CheckpointError(f"the UNet has {what}: the single-file layouts have no names for it")
    return {
        **config,
        "down_block_types": down,
        "up_block_types": up,
        "layers_per_block": layers,
        "transformer_layers_per_block": depths,
    }


def _resnet(count: int) -> str:
    return f"input_blocks.{count}.0.out_layers.3.weight"


def _depth(shapes: Mapping[str, Shape], place: str) -> int:
    depth = 0
    while f"{place}.transformer_blocks.{depth}.norm1.weight" in shapes:
        depth += 1
    return depth


def _level(found: list[tuple[int, int]], count: int) -> Level:
    if len(set(found)) != 1:
        raise CheckpointError(
            f"the resnets before input_blocks.{count} have (channels, transformer blocks) {found}; a level's "
            "must be equal",
            do="check that the file is complete; distilled models of this kind are not supported",
        )
    return Level(found[0][0], len(found), found[0][1])
