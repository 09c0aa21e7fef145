"""The objective that contrastive learning is compared with (sec. 2.3, fig. 2): predict the words of the caption.

The image tower is that of CLIP; a linear layer gives each word of the vocabulary a logit, trained with a binary
cross-entropy. A caption's log-likelihood is then, up to a constant of the picture, the sum of its words' logits.

Axes: b pictures, w words, c captions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.papers.clip.config import CLIPConfig
from visionsmith.papers.clip.preprocess import normalise
from visionsmith.papers.clip.vision import image_tower

__all__ = ["WordCollate", "WordObjective", "caption_words"]

_WORD = re.compile(r"[\w-]+")


def caption_words(caption: str) -> set[str]:
    """The words of a caption, in lower case."""
    return set(_WORD.findall(caption.lower()))


class WordObjective(nn.Module):
    """Bag-of-words prediction."""

    def __init__(self, config: CLIPConfig, captions: Iterable[str]) -> None:
        super().__init__()
        self.words = sorted(set().union(*(caption_words(caption) for caption in captions)))
        self.visual = image_tower(config.vision, config.embed_dim)
        self.to_words = nn.Linear(config.embed_dim, len(self.words))
        # Words are rare: start at a probability of about one in a hundred instead of one in two.
        nn.init.constant_(self.to_words.bias, -4.6)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss of a batch: "images" uint8 (b, h, w, 3) and "words" float (b, w), 1 where the caption has the word."""
        logits = self.to_words(self.visual(normalise(batch["images"]))).float()
        return {"loss": F.binary_cross_entropy_with_logits(logits, batch["words"]) * len(self.words)}

    @torch.no_grad()
    def scores(self, images: Tensor, captions: Sequence[str]) -> Tensor:
        """Log-likelihoods (b, c) of captions, up to a constant a picture. `images`: uint8 (b, h, w, 3)."""
        logits: Tensor = self.to_words(self.visual(normalise(images))).float()
        return logits @ multi_hot(captions, self.words).T


class WordCollate:
    """A list of (picture, caption) -> {"images": uint8 (b, h, w, 3), "words": float (b, w)}."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def __call__(self, pairs: Sequence[tuple[np.ndarray, str]]) -> dict[str, Tensor]:
        """See the class."""
        images = torch.from_numpy(np.stack([image for image, _ in pairs]))
        return {"images": images, "words": multi_hot([caption for _, caption in pairs], self.words)}


def multi_hot(captions: Sequence[str], words: Sequence[str]) -> Tensor:
    """1 where a caption has a word: float (c, w)."""
    place = {word: number for number, word in enumerate(words)}
    table = torch.zeros(len(captions), len(words))
    for row, caption in enumerate(captions):
        for word in caption_words(caption):
            if word in place:
                table[row, place[word]] = 1
    return table
