"""One task of each kind, for a linear classifier on what a frozen FLAVA gives (section 4, at the scale of a laptop).

| task  | question                                            | chance  | features                                     |
|-------|-----------------------------------------------------|---------|----------------------------------------------|
| image | which of 40 subjects does a built-in scene show?    | 1 of 40 | the image encoder's first token              |
| text  | are a caption's words in order, or shuffled?        | 1 of 2  | the text encoder's first token               |
| pair  | does a caption fit, or is it another of the subject | 1 of 2  | the multimodal first token, and the product  |
|       | that does not?                                      |         | of the two embeddings                        |

DIFFERS: the paper fine-tunes the whole model for its text and pair tasks; here the encoders stay as they are, so that
the figures say what pretraining put there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from visionsmith.data.sampler import generator
from visionsmith.image.io import decode
from visionsmith.papers.flava.flava import Flava, to_square
from visionsmith.papers.flava.samples import Others
from visionsmith.papers.flava.world import World, subject_of

__all__ = ["image_task", "pair_task", "text_task"]

SEED = 11
MOST_TRAIN, MOST_TEST = 2000, 1000
"""Samples that a classifier learns from, and is asked about."""
SHORTEST = 4
"""Words of a caption whose order is asked about."""

T = TypeVar("T")


def image_task(flava: Flava) -> dict[str, float]:
    """Subjects of the built-in scenes, whose test part shares neither drawing nor photograph with what is learned from.

    Returns:
        "top1", "majority", "train", "test".
    """
    from visionsmith.data.labelled import open_labelled

    data = open_labelled(None, size=flava.model.config.image.image_size)
    # At random: classes come in turn, so that every n-th scene would be of a few of them.
    train, test = (
        sorted(np.random.default_rng(SEED).permutation(part)[:most].tolist())
        for part, most in ((data.train, MOST_TRAIN), (data.test, MOST_TEST))
    )
    features = [
        flava.image_features(decode(data.store[index].image) for index in part) for part in (train, test)
    ]
    labels = [data.labels[list(part)] for part in (train, test)]
    return _probe(features, labels)


def text_task(flava: Flava, world: World) -> dict[str, float]:
    """Captions in order against the same words shuffled; tested on captions of held-out pictures.

    Returns:
        "top1", "majority", "train", "test"; or nothing where too few captions are long enough.
    """
    features, labels = [], []
    for part, most in ((world.train, MOST_TRAIN), (world.held_out, MOST_TEST)):
        # The head of a caption, and each caption once: its details are repeated in hundreds of others.
        captions = list(dict.fromkeys(world.pairs[index].caption for index in part))
        long = [caption for caption in captions if len(caption.split()) >= SHORTEST]
        chosen = _spread(long, most // 2)
        if len(chosen) < 10:
            return {}
        shuffled = [_shuffled(caption, place) for place, caption in enumerate(chosen)]
        features.append(flava.text_features([*chosen, *shuffled]))
        labels.append(np.repeat([1, 0], len(chosen)))
    return _probe(features, labels)


def pair_task(flava: Flava, world: World) -> dict[str, float]:
    """A picture with its own caption, or with one of the same subject that is not true; tested on held-out pictures.

    Returns:
        "top1", "text_only" (the same classifier on the text alone), "majority", "train", "test".
    """
    captions = {
        index: world.pairs[index].caption for index in range(len(world.pairs)) if world.pairs[index].caption
    }
    others = Others(captions, subject=subject_of(world.pairs), twins=world.twins)
    both, alone, labels = [], [], []
    for part, most in ((world.train, MOST_TRAIN), (world.held_out, MOST_TEST)):
        chosen = _spread(part, most // 2)
        texts, answers = [], []
        for index in chosen:
            other = others(index, generator(SEED, 0, index), hard=1.0)
            # Each picture is asked once each way, so that neither the picture nor its subject tells the answer.
            texts += [captions[index], captions[index if other is None else other]]
            answers += [1, 1 if other is None else 0]
        both.append(_pair_features(flava, world, np.repeat(chosen, 2).tolist(), texts))
        alone.append(flava.text_features(texts))
        labels.append(np.array(answers))
    return {**_probe(both, labels), "text_only": _probe(alone, labels)["top1"]}


def _pair_features(flava: Flava, world: World, indices: Sequence[int], texts: Sequence[str]) -> Tensor:
    def pictures() -> Iterator[np.ndarray]:
        for index in indices:
            yield to_square(decode(world.pairs[index].image), flava.model.config.image.image_size)

    agreement = flava.encode_images(pictures()) * flava.encode_texts(texts)
    # One scale for both: the classifier's penalty does not know theirs.
    fused = flava.pair_features(pictures(), texts)
    return torch.cat([part / part.std(dim=0).mean().clamp(min=1e-6) for part in (fused, agreement)], dim=1)


def _probe(features: Sequence[Tensor], labels: Sequence[np.ndarray]) -> dict[str, float]:
    from visionsmith.evaluate.probe import linear_probe

    # Of unit deviation, so that one sweep of penalties fits every model.
    scale = features[0].std(dim=0).mean().clamp(min=1e-6)
    found = linear_probe(features[0] / scale, labels[0], features[1] / scale, labels[1])
    return {
        "top1": found["top1"],
        "majority": float(np.bincount(labels[1]).max() / len(labels[1])),
        "train": float(len(labels[0])),
        "test": float(len(labels[1])),
    }


def _shuffled(caption: str, place: int) -> str:
    """The words of a caption in another order, the same each time."""
    words = caption.split()
    rng, moved = generator(SEED, 1, place), words
    while len(set(words)) > 1 and moved == words:
        moved = rng.permutation(words).tolist()
    return " ".join(moved)


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[place * len(items) // most] for place in range(most)]
