"""Training samples: pictures with hidden patches, texts with hidden words, pairs; functions of (seed, epoch, index).

A picture is shown in a few views, in turn: view v of record i is a function of (seed, v, i). So its codes are computed
once, and mask and wording still change every epoch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.image.augment import horizontal_flip, random_affine, random_square_crop
from visionsmith.image.io import decode
from visionsmith.losses.language import IGNORED
from visionsmith.papers.clip import resize_and_crop, reword
from visionsmith.papers.flava.masking import block_mask, mask_words
from visionsmith.papers.flava.recipes import MaskConfig, ViewConfig
from visionsmith.papers.flava.words import Words, pad

__all__ = ["Collate", "Images", "Others", "Pairs", "Texts", "Views", "hidden_patches"]


class ImageSample(NamedTuple):
    """A picture and what of it is hidden."""

    image: np.ndarray
    """RGB HWC uint8."""
    places: np.ndarray
    """int64 (k,): hidden patches."""
    labels: np.ndarray
    """int64 (k,): their codes."""


class TextSample(NamedTuple):
    """A text and what of it is hidden."""

    masked: np.ndarray
    """int64 (t,): pieces, some hidden."""
    places: np.ndarray
    """int64 (k,): which of them."""
    labels: np.ndarray
    """int64 (k,): what they were."""


class PairSample(NamedTuple):
    """A picture, its own text, and the text that is read with it."""

    picture: ImageSample
    words: np.ndarray
    """int64 (t,): pieces of its own text."""
    read: TextSample
    matched: bool
    """Whether what is read is its own."""


@dataclass(frozen=True)
class Views:
    """How the pictures of a store are shown."""

    store: RecordStore
    size: int
    """Side, pixels."""
    config: ViewConfig
    seed: int

    def __call__(self, view: int, index: int) -> np.ndarray:
        """One view of a record: RGB HWC uint8, `size` x `size`."""
        config, rng = self.config, generator(self.seed, view, index)
        image = decode(self.store[index].image, where=f"{self.store.path}[{index}]")
        if config.crop is not None:
            image = random_square_crop(image, rng, self.size, config.crop)
        elif image.shape[:2] != (self.size, self.size):
            image = resize_and_crop(image, self.size)
        if config.flip:
            image = horizontal_flip(image, rng)
        if config.degrees or config.shift or config.scale != (1.0, 1.0):
            image = random_affine(image, rng, degrees=config.degrees, shift=config.shift, scale=config.scale)
        return image


class Images(Dataset[ImageSample]):
    """`dataset[(epoch, index)]` -> a picture with hidden patches."""

    def __init__(self, views: Views, codes: Mapping[int, np.ndarray], mask: MaskConfig, grid: int) -> None:
        """Make it.

        Args:
            views: of the pictures.
            codes: of each record, (views, patches).
            mask: what is hidden.
            grid: patches a side.
        """
        self.views, self.codes, self.mask, self.grid = views, codes, mask, grid

    def __getitem__(self, key: Key) -> ImageSample:
        epoch, index = key
        # Another seed than the view's, or view 3 would have the mask of epoch 3.
        return self.sample(epoch, index, generator(self.views.seed + 1, epoch, index))

    def sample(self, epoch: int, index: int, rng: np.random.Generator) -> ImageSample:
        """The picture in this epoch's view, with a mask drawn from `rng`."""
        view = epoch % self.views.config.count
        places = hidden_patches(rng, self.grid, self.mask)
        return ImageSample(self.views(view, index), places, self.codes[index][view][places].astype(np.int64))


class Texts(Dataset[TextSample]):
    """`dataset[(epoch, index)]` -> the caption of a record with hidden word pieces."""

    def __init__(
        self, store: RecordStore, words: Words, mask: MaskConfig, *, seed: int, reword: float = 0.0
    ) -> None:
        self.store, self.words, self.mask, self.seed, self.reword = store, words, mask, seed, reword

    def __getitem__(self, key: Key) -> TextSample:
        rng = generator(self.seed, *key)
        return self.masked(self.say(key[1], rng), rng, whole_words=False)

    def say(self, index: int, rng: np.random.Generator) -> str:
        """The record's caption, or the same in other words."""
        record = self.store[index]
        if rng.random() < self.reword:
            return str(reword(record.caption, record.meta, rng))
        return record.caption

    def masked(self, text: str, rng: np.random.Generator, *, whole_words: bool) -> TextSample:
        """A text with hidden pieces."""
        pieces, begins = self.words.pieces(text)
        changed, places = mask_words(
            rng,
            pieces,
            first_of_word=begins,
            share=self.mask.words,
            mask=self.words.mask,
            ordinary=self.words.ordinary,
            whole_words=whole_words,
        )
        return TextSample(self.words.framed(changed), places + 1, np.asarray(pieces, dtype=np.int64)[places])


class Others:
    """Texts that are wrong for a picture. One that only says less than a true one is not wrong."""

    def __init__(
        self,
        captions: Mapping[int, str],
        *,
        subject: Callable[[int], str],
        twins: Mapping[int, frozenset[int]] | None = None,
    ) -> None:
        """Prepare the choice.

        Args:
            captions: record -> caption: what may be chosen.
            subject: what a record shows, in a word: a hard choice shows the same.
            twins: record -> records of the same pixels, whose captions are true too.
        """
        self.captions, self.subject, self.twins = captions, subject, twins or {}
        self.words = {index: _words_of(caption) for index, caption in captions.items()}
        self.all = np.array(sorted(captions), dtype=np.int64)
        groups: dict[str, list[int]] = defaultdict(list)
        for index in captions:
            groups[subject(index)].append(index)
        self.alike = {name: np.array(sorted(members), dtype=np.int64) for name, members in groups.items()}

    def __call__(self, index: int, rng: np.random.Generator, *, hard: float) -> int | None:
        """A record whose caption is wrong for the picture of record `index`, or None when every caption is true.

        Args:
            index: of the picture.
            rng: random stream.
            hard: probability of a choice among those of the same subject, where there are wrong ones.
        """
        pools = [self.all]
        if rng.random() < hard:
            pools.insert(0, self.alike.get(self.subject(index), self.all))
        for pool in pools:
            # A few draws are nearly always enough; else all are looked at, so that the answer is never by luck.
            for other in rng.choice(pool, 4).tolist():
                if self.is_wrong(index, self.words[other]):
                    return int(other)
            wrong = [other for other in pool.tolist() if self.is_wrong(index, self.words[other])]
            if wrong:
                return int(wrong[rng.integers(len(wrong))])
        return None

    def is_wrong(self, index: int, said: frozenset[str]) -> bool:
        """Whether words say something that no caption of the picture of record `index` says."""
        return not any(
            said <= self.words[twin] for twin in {index, *self.twins.get(index, ())} & self.words.keys()
        )


_SAYS_NOTHING = frozenset({"a", "an", "the", "with", "and", "tone"})


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.lower().replace(",", " ").split()) - _SAYS_NOTHING


class Pairs(Dataset[PairSample]):
    """`dataset[(epoch, index)]` -> a picture, its text, and a text to be read with it, masked."""

    def __init__(self, images: Images, texts: Texts, others: Others, mask: MaskConfig) -> None:
        self.images, self.texts, self.others, self.mask = images, texts, others, mask

    def __getitem__(self, key: Key) -> PairSample:
        epoch, index = key
        rng = generator(self.images.views.seed + 2, epoch, index)
        own = self.texts.say(index, rng)
        other = self.others(index, rng, hard=self.mask.hard) if rng.random() < self.mask.mismatched else None
        said = own
        if other is not None:
            said = self.texts.say(other, rng)
            # Other words may leave out what was wrong.
            said = said if self.others.is_wrong(index, _words_of(said)) else self.others.captions[other]
        return PairSample(
            self.images.sample(epoch, index, rng),
            self.texts.words.framed(self.texts.words.pieces(own)[0]),
            self.texts.masked(said, rng, whole_words=True),
            other is None,
        )


class Collate:
    """Samples of one kind -> the batch that `objective` describes; texts are padded to the longest of the batch."""

    def __call__(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        """See the class."""
        if isinstance(samples[0], ImageSample):
            return _images(samples)
        if isinstance(samples[0], TextSample):
            return _texts(samples)
        return {
            **_images([sample.picture for sample in samples]),
            **_texts([sample.read for sample in samples]),
            "words": pad([sample.words for sample in samples]),
            "matched": torch.tensor([sample.matched for sample in samples], dtype=torch.int64),
        }


def hidden_patches(rng: np.random.Generator, grid: int, mask: MaskConfig) -> np.ndarray:
    """Places of the hidden patches of a picture: as many for every picture."""
    return block_mask(rng, grid, max(1, round(mask.patches * grid * grid)), smallest=mask.smallest_block)


def _images(samples: Sequence[ImageSample]) -> dict[str, Tensor]:
    return {
        "images": torch.from_numpy(np.stack([sample.image for sample in samples])),
        "patch_places": torch.from_numpy(np.stack([sample.places for sample in samples])),
        "patch_labels": torch.from_numpy(np.stack([sample.labels for sample in samples])),
    }


def _texts(samples: Sequence[TextSample]) -> dict[str, Tensor]:
    return {
        "masked_words": pad([sample.masked for sample in samples]),
        "word_places": pad([sample.places for sample in samples], 0),
        "word_labels": pad([sample.labels for sample in samples], IGNORED),
    }
