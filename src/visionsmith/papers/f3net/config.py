"""Sizes of F3-Net (Qian et al. 2020, arXiv:2007.09355). Imports no torch."""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["DecisionConfig", "F3NetConfig", "XceptionConfig"]

LEAST = 32
"""Smallest side of an input, pixels: below it the last map is empty or a single position."""


def _require(name: str, value: object, holds: bool, do: str) -> None:
    if not holds:
        raise ConfigError(f"{name} = {value!r} is out of range", do=do)


@config
class XceptionConfig:
    """One stream; the defaults are the published Xception."""

    stem: tuple[int, int] = (32, 64)
    """Channels of the two convolutions in front."""
    entry: tuple[int, ...] = (128, 256, 728)
    """Channels of the entry blocks."""
    middle: int = 8
    """Residual blocks in the middle; the streams are mixed after the half of them, and at the end."""
    exit: tuple[int, int, int] = (1024, 1536, 2048)
    """Channels of the exit block and the two convolutions behind it."""
    strides: tuple[int, ...] = (2, 2, 2, 2)
    """Strides of the entry blocks and of the exit block."""

    def __post_init__(self) -> None:
        for name in ("stem", "entry", "exit", "strides"):
            value = getattr(self, name)
            _require(
                f"stream.{name}", list(value), bool(value) and min(value) >= 1, "choose numbers of at least 1"
            )
        _require("stream.middle", self.middle, self.middle >= 1, "choose at least 1")
        _require(
            "stream.strides",
            list(self.strides),
            len(self.strides) == len(self.entry) + 1,
            f"give {len(self.entry) + 1}: one an entry block, and one for the exit block",
        )


@config
class DecisionConfig:
    """When a picture is called forged, and how often that was wrong on pictures that had no part in it."""

    threshold: float = 0.5
    """Probability from which on a picture is called forged."""
    false_alarms: float | None = None
    """Share of the real test pictures that reach it; null: it was never measured."""
    misses: float | None = None
    """Share of the forged test pictures that stay below it."""
    pictures: int = 0
    """How many test pictures those shares are of."""
    trained_on: str = ""
    """What the model has seen, in words."""

    def __post_init__(self) -> None:
        _require("decision.threshold", self.threshold, 0 <= self.threshold <= 1, "choose a share from 0 to 1")


@config
class F3NetConfig:
    """Two frequency-aware heads, two streams and their mixing; the defaults are the paper's network."""

    image_size: int = 299
    """Side of the square input, pixels; the masks of FAD belong to it."""
    branches: Literal["both", "fad", "lfs", "rgb"] = "both"
    """Both streams, one of them, or a plain Xception on the picture itself, which the paper compares with."""
    mix: bool = True
    """Whether a MixBlock joins the two streams in the middle and at the end."""
    form: Literal["paper", "public"] = "paper"
    """"paper": disjoint bands, and the logarithm of a band's sum. "public": as the public re-implementation has them:
    neighbouring bands share a diagonal, the logarithm comes before the band's sum, white is 245."""
    learnable: bool = True
    """Whether masks are added to the fixed bands and learned."""
    stream: XceptionConfig = XceptionConfig()
    dropout: float = 0.2
    """Before the last layer."""
    decision: DecisionConfig = DecisionConfig()

    def __post_init__(self) -> None:
        _require("image_size", self.image_size, self.image_size >= LEAST, f"choose at least {LEAST} px")
        _require("dropout", self.dropout, 0 <= self.dropout < 1, "choose a share from 0 to 1, 1 excluded")

    @property
    def mixes(self) -> bool:
        """Whether there are two streams and they are mixed."""
        return self.mix and self.branches == "both"
