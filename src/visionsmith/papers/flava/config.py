"""Sizes of FLAVA: two encoders of one kind, a multimodal one on top, and the codebook of picture parts.

Singh et al. 2021, arXiv:2112.04482, section 3.1 and appendix. The defaults are the published model. Imports no torch.
"""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["CodebookConfig", "FlavaConfig", "ImageConfig", "MultimodalConfig", "TextConfig"]


def _positive(part: str, settings: object, *names: str) -> None:
    for name in names:
        if (value := getattr(settings, name)) < 1:
            raise ConfigError(f"{part}.{name} = {value} is not positive", do="choose at least 1")


def _multiple(part: str, name: str, value: int, of: str, unit: int) -> None:
    if value % unit:
        raise ConfigError(
            f"{part}: {name} {value} is not a multiple of {of} {unit}", do=f"choose a multiple of {unit}"
        )


@config
class ImageConfig:
    """The image encoder: a ViT-B/16 by default."""

    image_size: int = 224
    """Side of the square input, pixels."""
    patch_size: int = 16
    """Side of a patch, pixels; divides image_size."""
    width: int = 768
    layers: int = 12
    heads: int = 12
    """Attention heads; divides width."""
    hidden: int = 3072
    """Width inside the feed-forward part of a layer."""
    norm_eps: float = 1e-12
    """Of the layer norms."""

    def __post_init__(self) -> None:
        _positive("image", self, "image_size", "patch_size", "width", "layers", "heads", "hidden")
        _multiple("image", "image_size", self.image_size, "patch_size", self.patch_size)
        _multiple("image", "width", self.width, "heads", self.heads)

    @property
    def grid(self) -> int:
        """Patches a side."""
        return self.image_size // self.patch_size


@config
class TextConfig:
    """The text encoder: the layers of the image encoder behind BERT's embeddings."""

    vocab_size: int = 30522
    context_length: int = 512
    """Most word pieces of a text, "[CLS]" and "[SEP]" included."""
    width: int = 768
    layers: int = 12
    heads: int = 12
    """Attention heads; divides width."""
    hidden: int = 3072
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        _positive("text", self, "vocab_size", "width", "layers", "heads", "hidden")
        _multiple("text", "width", self.width, "heads", self.heads)
        if self.context_length < 3:
            raise ConfigError(
                f"text.context_length = {self.context_length} leaves no room for a word",
                do="choose at least 3",
            )


@config
class MultimodalConfig:
    """The encoder over the states of both."""

    width: int = 768
    layers: int = 6
    heads: int = 12
    """Attention heads; divides width."""
    hidden: int = 3072
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        _positive("multimodal", self, "width", "layers", "heads", "hidden")
        _multiple("multimodal", "width", self.width, "heads", self.heads)


@config
class CodebookConfig:
    """The image codebook: the encoder of DALL-E's discrete VAE, which puts a code on every 8 x 8 pixels."""

    codes: int = 8192
    """Size of the codebook."""
    width: int = 256
    """Channels of the first of four groups of blocks; the others have 2, 4 and 8 times as many."""
    blocks: int = 2
    """Blocks of a group."""

    def __post_init__(self) -> None:
        _positive("codebook", self, "width", "blocks")
        if self.codes < 2:
            raise ConfigError(f"codebook.codes = {self.codes} tells nothing apart", do="choose at least 2")
        # A block works inside at a quarter of its width.
        _multiple("codebook", "width", self.width, "the blocks' factor", 4)


@config
class FlavaConfig:
    """The whole model; the defaults are those of `facebook/flava-full`."""

    image: ImageConfig = ImageConfig()
    text: TextConfig = TextConfig()
    multimodal: MultimodalConfig = MultimodalConfig()
    codebook: CodebookConfig = CodebookConfig()
    embed_dim: int = 768
    """Width of the space in which pictures and texts are compared."""

    def __post_init__(self) -> None:
        _positive("model", self, "embed_dim")
        widths = (self.image.width, self.text.width, self.multimodal.width)
        if len(set(widths)) > 1:
            # The heads over the multimodal states are built like those over the states of one kind.
            raise ConfigError(
                f"model: image.width, text.width and multimodal.width are {', '.join(map(str, widths))}",
                do="choose one width for the three",
            )

    @property
    def codebook_size(self) -> int:
        """Side at which the codebook sees a picture, pixels: so that it gives one code a patch."""
        return 8 * self.image.grid
