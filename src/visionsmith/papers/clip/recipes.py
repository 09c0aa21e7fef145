"""Training recipes of CLIP: functions that return a frozen config.

`tiny` is what the shipped checkpoint was made with; the published sizes follow sec. 2.5 and tables 18 to 20.
"""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.clip.config import CLIPConfig, ModifiedResNetConfig, TextConfig, published
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = ["AugmentConfig", "ClipRecipe", "paper_rn50", "paper_vit_b32", "paper_vit_l14", "tiny"]


@config
class AugmentConfig:
    """Random changes of a training pair."""

    crop: tuple[float, float] | None = (0.9, 1.0)
    """Random square crop (the paper's only augmentation): range of its share of the picture's area."""
    degrees: float = 0.0
    """Largest rotation either way."""
    shift: float = 0.0
    """Largest shift either way, as a share of the side."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the zoom that goes with rotation and shift."""
    reword: float = 0.0
    """Share of captions that are said in other words (`captions.reword`)."""
    phrase: float = 0.0
    """Share of captions that are put into one of the project's phrases ("a drawing of a ...")."""

    def __post_init__(self) -> None:
        for name in ("reword", "phrase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"{name} = {getattr(self, name)} is out of range", do="choose a share from 0 to 1"
                )


@config
class ClipRecipe:
    """A CLIP and how to train it."""

    model: CLIPConfig
    train: TrainConfig
    augment: AugmentConfig = AugmentConfig()
    initial: str | None = None
    """Weights to start from: a checkpoint, a transformers folder, a .safetensors file or a hub id in the local cache.
    Its sizes replace those of `model`, its vocabulary the learned one."""
    tokenizer_words: int = 4096
    """Size of the vocabulary that is learned from the captions when `tokenizer` is null."""
    tokenizer: str | None = None
    """Official vocabulary: path of bpe_simple_vocab_16e6.txt.gz, or a folder with vocab.json and merges.txt."""
    grouped_share: float = 0.0
    """Share of a batch drawn as groups of captions about one subject, each other's hard negatives."""
    loss_chunk: int | None = None
    """Rows of the similarity matrix held at once; null holds it whole."""


def tiny() -> ClipRecipe:
    """Minutes on a laptop CPU: 64 px pictures, a three-stage ModifiedResNet, a three-layer text transformer."""
    return ClipRecipe(
        model=CLIPConfig(
            embed_dim=256,
            vision=ModifiedResNetConfig(image_size=64, width=32, layers=(1, 2, 2)),
            text=TextConfig(vocab_size=2048, context_length=32, width=128, heads=2, layers=3),
        ),
        tokenizer_words=2048,
        train=TrainConfig(
            steps=1500,
            optim=OptimConfig(lr=2e-3, warmup_steps=50, weight_decay=0.1),
            batch_size=256,
            precision="auto",
            ema=0.998,
            threads=1,
            save_every=100,
            evaluate_every=250,
        ),
        # DIFFERS: the paper crops only; these drawings fill their square, so a crop would cut what the caption names.
        augment=AugmentConfig(crop=None, degrees=6, shift=0.05, scale=(0.88, 1.08), reword=0.5, phrase=0.2),
        # DIFFERS: the paper's batches of 32,768 hold hard negatives by chance; a batch of 256 must look for them.
        grouped_share=0.3,
    )


def _paper(name: str, *, lr: float, beta2: float, eps: float) -> ClipRecipe:
    """Batch 32,768, 32 epochs of 400M pairs, AdamW with decay 0.2, cosine after 2,000 steps of warm-up."""
    return ClipRecipe(
        model=published(name),
        train=TrainConfig(
            steps=32 * 400_000_000 // 32_768,
            optim=OptimConfig(lr=lr, warmup_steps=2000, weight_decay=0.2, beta2=beta2, eps=eps),
            batch_size=32_768,
            precision="bf16",
            workers=8,
            save_every=2000,
        ),
        tokenizer_words=49_408,
        loss_chunk=4096,
    )


def paper_vit_b32() -> ClipRecipe:
    """ViT-B/32 as published."""
    return _paper("ViT-B/32", lr=5e-4, beta2=0.98, eps=1e-6)


def paper_vit_l14() -> ClipRecipe:
    """ViT-L/14 as published."""
    return _paper("ViT-L/14", lr=4e-4, beta2=0.98, eps=1e-6)


def paper_rn50() -> ClipRecipe:
    """RN50 as published."""
    return _paper("RN50", lr=5e-4, beta2=0.999, eps=1e-8)
