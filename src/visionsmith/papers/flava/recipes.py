"""Training recipes of FLAVA: functions that return a frozen config.

`tiny` is what the shipped checkpoint is made with, its codebook included; `codebook` trains a codebook alone; `paper`
has the published sizes and settings.
"""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.flava.config import (
    CodebookConfig,
    FlavaConfig,
    ImageConfig,
    MultimodalConfig,
    TextConfig,
)
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = [
    "CodebookRecipe",
    "FlavaRecipe",
    "LossWeights",
    "MaskConfig",
    "ViewConfig",
    "codebook",
    "paper",
    "tiny",
]

Kind = Literal["image", "text", "pair"]


@config
class LossWeights:
    """What each loss counts in the sum; a loss of weight 0 is not computed."""

    mim: float = 1.0
    """Masked image modelling, on pictures alone."""
    mlm: float = 1.0
    """Masked language modelling, on texts alone."""
    contrastive: float = 1.0
    """Whole pictures against whole texts, over the batch of all processes."""
    mmm_image: float = 1.0
    """Masked patches of a pair."""
    mmm_text: float = 1.0
    """Masked words of a pair."""
    itm: float = 1.0
    """Whether picture and text belong together."""

    def __post_init__(self) -> None:
        for name in ("mim", "mlm", "contrastive", "mmm_image", "mmm_text", "itm"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"weights.{name} = {getattr(self, name)} is negative", do="choose 0 or more"
                )

    @property
    def fuses(self) -> bool:
        """Whether a loss needs the multimodal encoder."""
        return self.mmm_image + self.mmm_text + self.itm > 0


@config
class MaskConfig:
    """What is hidden, and which texts are exchanged."""

    patches: float = 75 / 196
    """Share of the patches."""
    smallest_block: int = 16
    """Least area of a block of patches."""
    words: float = 0.15
    """Share of the word pieces of a text, or of the words of a pair's text; at least one."""
    mismatched: float = 0.1
    """Share of the pairs whose text is another's."""
    hard: float = 0.0
    """Share of these whose text is another of the same subject."""

    def __post_init__(self) -> None:
        for name in ("patches", "words"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(
                    f"mask.{name} = {getattr(self, name)} is out of range", do="choose 0 < share <= 1"
                )
        for name in ("mismatched", "hard"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"mask.{name} = {getattr(self, name)} is out of range", do="choose a share from 0 to 1"
                )
        if self.smallest_block < 1:
            raise ConfigError(f"mask.smallest_block = {self.smallest_block}", do="choose at least 1")


@config
class ViewConfig:
    """How a picture is shown, and a text said, in training."""

    count: int = 4
    """Views of a picture, taken in turn from epoch to epoch: their codes are computed once."""
    crop: tuple[float, float] | None = (0.9, 1.0)
    """Random crop: range of its share of the picture's area; null leaves the picture whole."""
    flip: bool = True
    """Mirror half of the time."""
    degrees: float = 0.0
    """Largest rotation either way; what comes into view is white."""
    shift: float = 0.0
    """Largest shift either way, as a share of the side."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the zoom that goes with rotation and shift."""
    reword: float = 0.0
    """Share of captions that are said in other words (`papers.clip.reword`)."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"views.count = {self.count} is not positive", do="choose at least 1")
        if not 0 <= self.reword <= 1:
            raise ConfigError(
                f"views.reword = {self.reword} is out of range", do="choose a share from 0 to 1"
            )


@config
class CodebookRecipe:
    """A codebook and how to train it."""

    model: CodebookConfig = CodebookConfig()
    train: TrainConfig
    size: int = 64
    """Side of the pictures, pixels; a multiple of 8."""
    crop: int = 32
    """Side of the random part of a picture that a sample is, pixels; a multiple of 8. A cell looks no further."""
    loose: float = 0.4
    """Share of the steps before codes come in."""
    commitment: float = 0.25
    """Weight of the pull on the features towards their codes."""

    def __post_init__(self) -> None:
        for name in ("size", "crop"):
            if getattr(self, name) < 8 or getattr(self, name) % 8:
                raise ConfigError(
                    f"{name} = {getattr(self, name)} px is not a multiple of 8", do="choose e.g. 32"
                )
        if self.crop > self.size:
            raise ConfigError(
                f"crop = {self.crop} px is larger than size = {self.size} px",
                do=f"choose at most {self.size}",
            )
        if not 0 < self.loose < 1:
            raise ConfigError(f"loose = {self.loose} is out of range", do="choose a share between 0 and 1")


@config
class FlavaRecipe:
    """A FLAVA and how to train it."""

    model: FlavaConfig = FlavaConfig()
    train: TrainConfig
    weights: LossWeights = LossWeights()
    mask: MaskConfig = MaskConfig()
    views: ViewConfig = ViewConfig()
    cycle: tuple[Kind, ...] | None = None
    """Whose turn it is, batch by batch, over and over; or null, and `sampling` decides by chance."""
    sampling: dict[Kind, float] | None = None
    """How often a batch of pictures, texts or pairs is drawn, relative to the others."""
    grouped_share: float = 0.0
    """Share of a batch of pairs that comes in groups of one subject, each other's hard negatives."""
    codebook: str | None = None
    """A trained codebook (a checkpoint of the preset `codebook`, or of a FLAVA), or a transformers folder of
    `FlavaImageCodebook` or `FlavaForPreTraining`; null: train one first, by `train_codebook`."""
    train_codebook: TrainConfig | None = None
    """How the codebook is trained when none is given."""
    initial: str | None = None
    """Weights to start from: a checkpoint or a transformers folder. Its sizes and vocabulary are used."""
    vocabulary: str | None = None
    """Folder with the `tokenizer.json` to use; null: learn one from the training texts."""

    def __post_init__(self) -> None:
        if (self.cycle is None) == (self.sampling is None):
            raise ConfigError(
                "either cycle or sampling says which batches come", do="give one, and set the other to null"
            )
        if self.cycle is not None and not self.cycle:
            raise ConfigError("the cycle has no turns", do="name some: image, text, pair")
        if self.sampling is not None and not any(self.sampling.values()):
            raise ConfigError("sampling draws nothing", do="give a kind of batch a weight above 0")
        if self.codebook is None and self.train_codebook is None:
            raise ConfigError("there is no codebook", do="set codebook=FOLDER, or give train_codebook")


def codebook() -> CodebookRecipe:
    """A codebook of 256 codes for 64 px pictures, in minutes on one core."""
    return CodebookRecipe(model=CodebookConfig(codes=256, width=8, blocks=2), train=_codebook_training())


def _codebook_training() -> TrainConfig:
    return TrainConfig(
        steps=2000,
        optim=OptimConfig(lr=4e-3, warmup_steps=20, weight_decay=0.0, beta2=0.99),
        batch_size=32,
        threads=1,
        save_every=500,
        log_every=50,
    )


def tiny() -> FlavaRecipe:
    """Minutes on a laptop CPU: 48 px pictures in 36 patches, encoders of width 128."""
    return FlavaRecipe(
        model=FlavaConfig(
            image=ImageConfig(image_size=48, patch_size=8, width=128, layers=3, heads=4, hidden=512),
            text=TextConfig(vocab_size=1500, context_length=32, width=128, layers=2, heads=4, hidden=512),
            multimodal=MultimodalConfig(width=128, layers=2, heads=4, hidden=512),
            codebook=CodebookConfig(codes=256, width=8, blocks=2),
            embed_dim=128,
        ),
        train=TrainConfig(
            steps=1900,
            optim=OptimConfig(lr=1e-3, warmup_steps=50, weight_decay=0.1, beta2=0.98),
            batch_size=128,
            ema=0.995,
            threads=1,
            save_every=100,
            evaluate_every=475,
        ),
        # DIFFERS: a tenth of mismatched pairs would be twelve of a batch; and emoji of one subject differ in little.
        mask=MaskConfig(smallest_block=3, mismatched=0.3, hard=0.5),
        # DIFFERS: these drawings fill their square, so a crop would cut what the caption names.
        views=ViewConfig(crop=None, flip=False, degrees=6, shift=0.05, scale=(0.88, 1.08), reword=0.5),
        cycle=("pair", "image", "pair", "pair", "text"),
        # DIFFERS: batches of 8,192 hold hard negatives by chance; one of 128 must look for them.
        grouped_share=0.3,
        train_codebook=_codebook_training(),
    )


def paper() -> FlavaRecipe:
    """ViT-B/16 as published: 8,192 a batch, AdamW 1e-3 with decay 0.1, cosine after 10,000 steps of warm-up.

    The published data (PMD) were never released as files; the codebook is DALL-E's (`codebook=` its folder).
    """
    return FlavaRecipe(
        train=TrainConfig(
            steps=150_000,
            optim=OptimConfig(lr=1e-3, warmup_steps=10_000, weight_decay=0.1, beta2=0.999, eps=1e-8),
            batch_size=8192,
            precision="bf16",
            workers=8,
            save_every=1000,
        ),
        sampling={"image": 1.0, "text": 1.0, "pair": 1.0},
        codebook="facebook/flava-image-codebook",
        vocabulary=None,
    )
