"""Sizes of CrossViT: two branches, their stages and what joins them, and the eleven published models.

Chen, Fan and Panda 2021, arXiv:2103.14899, table 1. Imports no torch.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError, nearest

__all__ = ["BRANCHES", "FUSIONS", "PUBLISHED", "STEM_STRIDES", "CrossViTConfig", "Fusion", "published"]

Fusion = Literal["cross_attention", "class_token", "pairwise", "all_attention", "none"]

FUSIONS: tuple[Fusion, ...] = ("cross_attention", "all_attention", "class_token", "pairwise", "none")
"""The four of fig. 3, the paper's choice first, and no fusion."""

BRANCHES = ("small", "large")
"""Names of the branches after their patches, in the order of every pair."""

STEM_STRIDES = {8: (4, 2, 1), 12: (4, 3, 1), 16: (4, 2, 2)}
"""Strides of the three convolutions of the stem by patch size; 12 and 16 as published."""


@config
class CrossViTConfig:
    """A CrossViT; pairs are (small patches, large patches), and the defaults are those of CrossViT-S."""

    image_sizes: tuple[int, int] = (240, 224)
    """Side of each branch's square input, pixels. The larger is that of the model's input."""
    patch_sizes: tuple[int, int] = (12, 16)
    """Side of a patch, pixels; divides the branch's image size."""
    widths: tuple[int, int] = (192, 384)
    heads: tuple[int, int] = (6, 6)
    """Attention heads; divide the width."""
    mlp_ratios: tuple[float, float] = (4.0, 4.0)
    """Width of the hidden layer over the width of the branch."""
    depths: tuple[tuple[int, int, int], ...] = ((1, 4, 1), (1, 4, 1), (1, 4, 1))
    """One entry a stage: transformer blocks of the small branch, of the large one, and rounds of fusion."""
    qkv_bias: bool = True
    fusion: Fusion = "cross_attention"
    """What the branches exchange at the end of a stage."""
    stem: Literal["linear", "convolutions"] = "linear"
    """How patches become tokens: one linear map, or the three convolutions of the models marked with a dagger."""
    classes: int = 1000
    init_std: float | None = 0.02
    """Standard deviation of a new linear map's weights, as published; null: one over the root of its inputs, which
    narrow models need to begin to learn."""
    drop_path: float = 0.0
    """Largest share of samples for which a residual branch is left out in training; rises linearly with depth."""

    def __post_init__(self) -> None:
        for name in ("image_sizes", "patch_sizes", "widths", "heads"):
            if min(getattr(self, name)) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is not positive", do="choose at least 1")
        for branch, name in enumerate(BRANCHES):
            self._require_multiple(branch, name, "image_sizes", "patch_sizes")
            self._require_multiple(branch, name, "widths", "heads")
            if int(self.widths[branch] * self.mlp_ratios[branch]) < 1:
                raise ConfigError(
                    f"mlp_ratios = {self.mlp_ratios} leaves the {name} branch no hidden layer",
                    do="choose at least 1",
                )
        if not self.depths or min(min(stage) for stage in self.depths) < 1:
            raise ConfigError(
                f"depths = {[list(stage) for stage in self.depths]} has an empty stage",
                do="give (small, large, fusion) of at least 1 each, e.g. [[1, 4, 1]]",
            )
        if self.classes < 1:
            raise ConfigError(f"classes = {self.classes} is not positive", do="choose at least 1")
        if self.init_std is not None and self.init_std <= 0:
            raise ConfigError(f"init_std = {self.init_std} is not positive", do="choose e.g. 0.02, or null")
        if not 0 <= self.drop_path < 1:
            raise ConfigError(
                f"drop_path = {self.drop_path} is out of range", do="choose 0 or more, less than 1"
            )
        if self.stem == "convolutions" and (unknown := set(self.patch_sizes) - set(STEM_STRIDES)):
            raise ConfigError(
                f"patch_sizes = {self.patch_sizes}: the stem of convolutions has no strides for {min(unknown)} px",
                do=f"choose among {sorted(STEM_STRIDES)}, or stem=linear",
            )
        if self.fusion != "cross_attention" and max(stage[2] for stage in self.depths) > 1:
            raise ConfigError(
                f"fusion = '{self.fusion}' has one round a stage",
                do="set the third number of each stage of depths to 1",
            )

    def _require_multiple(self, branch: int, name: str, whole: str, part: str) -> None:
        value, unit = getattr(self, whole)[branch], getattr(self, part)[branch]
        if value % unit:
            raise ConfigError(
                f"{whole}: {value} of the {name} branch is not a multiple of its {part} {unit}",
                do=f"choose a multiple of {unit}",
            )

    @property
    def input_size(self) -> int:
        """Side of the square input that the model is made for, pixels."""
        return max(self.image_sizes)

    @property
    def grids(self) -> tuple[int, int]:
        """Patches a side of each branch."""
        return (
            self.image_sizes[0] // self.patch_sizes[0],
            self.image_sizes[1] // self.patch_sizes[1],
        )

    def hidden(self, branch: int) -> int:
        """Width of the hidden layer of a branch's blocks."""
        return int(self.widths[branch] * self.mlp_ratios[branch])


def _plain(width: int, heads: int, depth: int, ratio: float) -> CrossViTConfig:
    """The rule of table 1: the large branch is twice as wide, with as many heads."""
    return CrossViTConfig(
        widths=(width, 2 * width),
        heads=(heads, heads),
        depths=((1, depth, 1),) * 3,
        mlp_ratios=(ratio, ratio),
    )


_PUBLISHED = {
    "Ti": _plain(96, 3, 4, 4.0),
    "S": _plain(192, 6, 4, 4.0),
    "B": _plain(384, 12, 4, 4.0),
    "9": _plain(128, 4, 3, 3.0),
    "15": _plain(192, 6, 5, 3.0),
    "18": _plain(224, 7, 6, 3.0),
}
_PUBLISHED |= {
    f"{name}-dagger": dataclasses.replace(_PUBLISHED[name], stem="convolutions") for name in ("9", "15", "18")
}
_PUBLISHED |= {
    f"{name}-dagger-384": dataclasses.replace(_PUBLISHED[f"{name}-dagger"], image_sizes=(408, 384))
    for name in ("15", "18")
}

PUBLISHED = tuple(_PUBLISHED)
"""Names of the published models; "-dagger" is the paper's mark for the stem of convolutions."""


def published(name: str) -> CrossViTConfig:
    """The config of a published model, e.g. "S" or "15-dagger".

    Raises:
        ConfigError: there is no published model of that name; names the nearest.
    """
    if name in _PUBLISHED:
        return _PUBLISHED[name]
    close = nearest(name, PUBLISHED)
    hint = f"did you mean '{close}'" if close else f"there are: {', '.join(PUBLISHED)}"
    raise ConfigError(f"there is no published CrossViT '{name}'", do=hint)
