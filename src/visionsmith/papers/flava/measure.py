"""What FLAVA is measured by on held-out pairs: retrieval, matching, masked words and patches, beside their baselines.

Every choice (which word is hidden, which text is exchanged) is drawn from a fixed seed, so that two models are asked
the same.

Axes: b pairs, k hidden places, e embedding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visionsmith.data.sampler import generator
from visionsmith.image.io import decode
from visionsmith.losses.language import IGNORED
from visionsmith.papers.flava.codes import patch_codes
from visionsmith.papers.flava.flava import Flava, to_square
from visionsmith.papers.flava.masking import block_mask
from visionsmith.papers.flava.model import PAD
from visionsmith.papers.flava.samples import Others
from visionsmith.papers.flava.words import pad
from visionsmith.papers.flava.world import World, subject_of

__all__ = [
    "Asked",
    "alone",
    "ask",
    "masked_patches",
    "masked_pictures",
    "masked_words",
    "matching",
    "quick_scores",
    "sample_sheet",
    "ways",
]

SEED = 7
BATCH = 64
HIDDEN_PATCHES = 75 / 196
"""Share of the patches that is hidden, as published."""


@dataclass(frozen=True)
class Asked:
    """The held-out pairs, read once."""

    pictures: list[np.ndarray]
    """RGB HWC uint8, of the model's size."""
    captions: list[str]
    wrong: list[str]
    """For each picture a caption that is not true: of the same subject where there is one, in every second place."""


def ask(flava: Flava, world: World) -> Asked:
    """Read the held-out pairs and draw the wrong captions."""
    size = flava.model.config.image.image_size
    captions = dict(enumerate(world.candidates))
    own = [world.pairs[index].caption for index in world.held_out]
    # Places of the candidates are no records: twins and subjects are told by the truth and by the caption.
    place_of = {caption: place for place, caption in captions.items()}
    subject = subject_of(world.pairs)
    subjects = {world.pairs[index].caption: subject(index) for index in range(len(world.pairs))}
    others = Others(
        captions,
        subject=lambda place: subjects.get(captions[place], captions[place]),
        twins={place_of[caption]: truth for caption, truth in zip(own, world.truth, strict=True)},
    )
    wrong = []
    for place, caption in enumerate(own):
        other = others(place_of[caption], generator(SEED, 0, place), hard=float(place % 2))
        wrong.append(caption if other is None else captions[other])
    pictures = [
        to_square(decode(world.pairs[index].image, where=f"{world.pairs.path}[{index}]"), size)
        for index in world.held_out
    ]
    return Asked(pictures, own, wrong)


def quick_scores(flava: Flava, world: World) -> dict[str, float]:
    """What the log of a training shows: one figure of each kind, by name."""
    asked = ask(flava, world)
    found, words, patches = (
        ways(flava, world, asked),
        masked_words(flava, asked),
        masked_patches(flava, asked),
    )
    return {
        "zero_shot.top1": found["zero_shot.top1"],
        "zero_shot.top5": found["zero_shot.top5"],
        "matching": matching(flava, asked)["accuracy"],
        "words": words["with_picture"],
        "words_alone": words["text_alone"],
        "patches": patches["with_text"],
        "patches_alone": masked_pictures(flava, alone(flava, world))["picture_alone"],
    }


def ways(flava: Flava, world: World, asked: Asked) -> dict[str, float]:
    """Zero-shot among all candidates, and retrieval among the held-out pairs both ways: shares, by dotted name."""
    from visionsmith.evaluate.retrieval import retrieval
    from visionsmith.evaluate.zero_shot import zero_shot

    images, texts = flava.encode_images(asked.pictures), flava.encode_texts(world.candidates)
    scores = zero_shot(images, texts, world.truth)
    true = sum(len(truth) for truth in world.truth) / len(world.truth)
    own = sorted(set().union(*world.truth))
    place = {candidate: number for number, candidate in enumerate(own)}
    recalls = retrieval(images, texts[own], [{place[one] for one in truth} for truth in world.truth])
    return {
        **{f"zero_shot.{name}": value for name, value in scores.items()},
        "zero_shot.chance": true / len(world.candidates),
        **{f"retrieval.{name}": value for name, value in recalls.items()},
        "retrieval.chance": true / len(own),
    }


def matching(flava: Flava, asked: Asked) -> dict[str, float]:
    """Whether picture and text belong together, asked with the true caption and with a wrong one.

    Returns:
        "accuracy" (at a probability of one half), "same_subject" and "any" (of the two kinds of wrong captions, with as
        many true ones), "chance", which is also what a model that sees no picture gets.
    """
    right = flava.matches(asked.pictures, asked.captions) > 0.5
    wrong = flava.matches(asked.pictures, asked.wrong) <= 0.5
    both = torch.stack((right, wrong)).float()
    hard = torch.arange(len(right)) % 2 == 1
    return {
        "accuracy": float(both.mean()),
        **({"same_subject": float(both[:, hard].mean())} if hard.any() else {}),
        "any": float(both[:, ~hard].mean()),
        "chance": 0.5,
    }


@torch.no_grad()
def masked_words(flava: Flava, asked: Asked) -> dict[str, float]:
    """One word of each caption is hidden: how many of its pieces are said rightly.

    Returns:
        "with_picture" (the multimodal encoder), "text_alone" (the text encoder), "most_frequent" (always the commonest
        hidden piece), "pieces" (how many were asked).
    """
    words, rows = flava.words, []
    for place, caption in enumerate(asked.captions):
        pieces, begins = words.pieces(caption)
        units = np.cumsum(begins)
        own = np.flatnonzero(units == generator(SEED, 1, place).choice(np.unique(units)))
        said = np.asarray(pieces, dtype=np.int64)[own]
        masked = np.asarray(pieces, dtype=np.int64)
        masked[own] = words.mask
        rows.append((words.framed(masked), own + 1, said))
    right = {"with_picture": 0, "text_alone": 0}
    labels_seen: Counter[int] = Counter()
    with flava.judging():
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            ids, where, labels = (
                pad([row[column] for row in part], filling).to(flava.device)
                for column, filling in enumerate((PAD, 0, IGNORED))
            )
            states = flava.model.image_states(flava.pixels(asked.pictures[start : start + BATCH]))
            fused = flava.model.pair_features(states, ids, where)[:, 1:]
            right["with_picture"] += _right(flava.model.mmm_text_head(fused), labels)
            right["text_alone"] += _right(flava.model.mlm_head(flava.model.masked_texts(ids, where)), labels)
            labels_seen.update(labels[labels != IGNORED].tolist())
    return _of_all(right, labels_seen, "pieces")


@torch.no_grad()
def masked_patches(flava: Flava, asked: Asked) -> dict[str, float]:
    """Part of each picture is hidden in blocks: how many codes of hidden patches are said rightly.

    Returns:
        "with_text" (the multimodal encoder), "without_text" (the same, the text left empty), "most_frequent" (always
        the commonest hidden code), "patches" (how many were asked).

    Raises:
        CheckpointError: the model came without its codebook.
    """
    right, seen = {"with_text": 0, "without_text": 0}, Counter[int]()
    with flava.judging():
        for start, pictures, labels, where in _hidden_codes(flava, asked.pictures):
            pixels = flava.pixels(pictures)
            captions = asked.captions[start : start + len(pictures)]
            for name, texts in (("with_text", captions), ("without_text", [""] * len(captions))):
                words = flava.words.encode(texts).to(flava.device)
                nowhere = words.new_zeros(len(words), 1)
                read = flava.model.pairs(pixels, words, words, where, nowhere, contrast=False)
                right[name] += _right(flava.model.mmm_image_head(read.patches), labels)
            seen.update(labels.flatten().tolist())
    return _of_all(right, seen, "patches")


@torch.no_grad()
def masked_pictures(flava: Flava, pictures: Sequence[np.ndarray]) -> dict[str, float]:
    """The same by the image encoder alone, of pictures of the kind that it was trained on alone.

    Returns:
        "picture_alone", "most_frequent", "patches".
    """
    right, seen = {"picture_alone": 0}, Counter[int]()
    with flava.judging():
        for _, part, labels, where in _hidden_codes(flava, pictures):
            states = flava.model.masked_images(flava.pixels(part), where)
            right["picture_alone"] += _right(flava.model.mim_head(states), labels)
            seen.update(labels.flatten().tolist())
    return _of_all(right, seen, "patches")


def alone(flava: Flava, world: World, most: int = 300) -> list[np.ndarray]:
    """At most so many of the pictures for `masked_pictures`, evenly spread."""
    count = min(most, len(world.image_test))
    shown = [world.image_test[place * len(world.image_test) // count] for place in range(count)]
    size = flava.model.config.image.image_size
    return [to_square(decode(world.images[index].image), size) for index in shown]


def _hidden_codes(
    flava: Flava, pictures: Sequence[np.ndarray]
) -> Iterator[tuple[int, Sequence[np.ndarray], Tensor, Tensor]]:
    """Batch by batch: its first place, its pictures, the codes that are asked for and where they are (`b k`)."""
    codebook, grid = flava.require_codebook(), flava.model.config.image.grid
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        codes = patch_codes(codebook, np.stack(part), grid).astype(np.int64)
        hidden = np.stack([_hidden(start + number, grid) for number in range(len(part))])
        labels = torch.from_numpy(np.take_along_axis(codes, hidden, axis=1)).to(flava.device)
        yield start, part, labels, torch.from_numpy(hidden).to(flava.device)


def _of_all(right: Mapping[str, int], seen: Counter[int], name: str) -> dict[str, float]:
    """Shares of what was asked, and that of the commonest answer."""
    total = seen.total()
    return {
        **{way: value / total for way, value in right.items()},
        "most_frequent": max(seen.values()) / total,
        name: float(total),
    }


def sample_sheet(flava: Flava, world: World, count: int = 18) -> np.ndarray:
    """A contact sheet: held-out pictures under the caption that the model ranks first, framed right or wrong."""
    from visionsmith.report.sheet import contact_sheet

    asked = ask(flava, world)
    step = max(1, len(asked.pictures) // count)
    places = range(0, len(asked.pictures), step)[:count]
    images = flava.encode_images([asked.pictures[place] for place in places])
    best = (images @ flava.encode_texts(world.candidates).T).argmax(dim=1).tolist()
    return contact_sheet(
        [asked.pictures[place] for place in places],
        [world.candidates[choice] for choice in best],
        title="Held-out pictures and the caption ranked first",
        marks=[choice in world.truth[place] for choice, place in zip(best, places, strict=True)],
    )


def _hidden(place: int, grid: int) -> np.ndarray:
    count = max(1, round(HIDDEN_PATCHES * grid * grid))
    return block_mask(generator(SEED, 2, place), grid, count, smallest=max(1, min(16, count // 4)))


def _right(logits: Tensor, labels: Tensor) -> int:
    # A place that was filled up has the label IGNORED, which no logit's place equals.
    return int((logits.argmax(dim=-1) == labels).sum())
