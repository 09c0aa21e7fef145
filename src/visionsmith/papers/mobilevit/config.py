"""Sizes of MobileViT and the three published models.

Mehta and Rastegari 2022, arXiv:2110.02178, table 4. Imports no torch.
"""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError, nearest

__all__ = ["PUBLISHED", "STRIDE", "MobileViTConfig", "published"]

STRIDE = 32
"""Input pixels a side of one position of the last feature map."""


def _require_positive(name: str, value: float) -> None:
    if value < 1:
        raise ConfigError(f"model.{name} = {value} is not positive", do="choose at least 1")


@config
class MobileViTConfig:
    """Sizes of a MobileViT; the defaults are those of MobileViT-S."""

    stem: int = 16
    """Channels of the first convolution."""
    channels: tuple[int, int, int, int, int] = (32, 64, 96, 128, 160)
    """Channels of layers 1 to 5."""
    expansion: int = 4
    """Factor by which an inverted residual widens its input."""
    widths: tuple[int, int, int] = (144, 192, 240)
    """Widths d of the transformers in layers 3 to 5."""
    depths: tuple[int, int, int] = (2, 4, 3)
    """Transformer layers L in layers 3 to 5."""
    heads: int = 4
    """Attention heads; divides every width."""
    feedforward: int = 2
    """Factor by which a transformer's feed-forward part widens its input."""
    patches: tuple[int, int, int] = (2, 2, 2)
    """Sides h = w of a patch in layers 3 to 5, positions of the feature map."""
    kernel: int = 3
    """Side n of the convolutions before and after the transformers; odd."""
    dropout: float = 0.1
    """Share of values dropped after attention, after the feed-forward part and before the classifier."""
    classes: int = 1000

    def __post_init__(self) -> None:
        for name in ("stem", "expansion", "heads", "feedforward", "kernel", "classes"):
            _require_positive(name, getattr(self, name))
        for name in ("channels", "widths", "depths", "patches"):
            _require_positive(name, min(getattr(self, name)))
        for width in self.widths:
            if width % self.heads:
                raise ConfigError(
                    f"model.widths: {width} is not a multiple of {self.heads} heads",
                    do=f"choose a multiple of {self.heads}",
                )
        if self.kernel % 2 == 0:
            raise ConfigError(f"model.kernel = {self.kernel} is even", do="choose an odd number")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout = {self.dropout} is out of range", do="choose 0 <= dropout < 1")

    @property
    def last_channels(self) -> int:
        """Channels before the classifier: four times those of layer 5, at most 960."""
        return min(4 * self.channels[-1], 960)


_PUBLISHED = {
    "XXS": MobileViTConfig(channels=(16, 24, 48, 64, 80), expansion=2, widths=(64, 80, 96)),
    "XS": MobileViTConfig(channels=(32, 48, 64, 80, 96), widths=(96, 120, 144)),
    "S": MobileViTConfig(),
}

PUBLISHED = tuple(_PUBLISHED)
"""Names of the published models."""


def published(name: str) -> MobileViTConfig:
    """The config of a published model, e.g. "XXS".

    Raises:
        ConfigError: there is no published model of that name; names the nearest.
    """
    if name in _PUBLISHED:
        return _PUBLISHED[name]
    close = nearest(name, PUBLISHED)
    hint = f"did you mean '{close}'" if close else f"there are: {', '.join(PUBLISHED)}"
    raise ConfigError(f"there is no published MobileViT '{name}'", do=hint)
