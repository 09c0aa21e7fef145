"""Which pictures are asked about, among which captions, and which answers are true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visionsmith.data.records import RecordStore
from visionsmith.data.split import Split
from visionsmith.image.io import decode
from visionsmith.papers.clip.clip import Clip

__all__ = [
    "Questions",
    "answer",
    "embed_pictures",
    "openmoji_questions",
    "retrieval_questions",
    "sample_sheet",
]


@dataclass(frozen=True)
class Questions:
    """A retrieval task over a store."""

    pictures: tuple[int, ...]
    """Records whose pictures are asked about."""
    captions: tuple[str, ...]
    """The candidates."""
    truth: tuple[frozenset[int], ...]
    """For each picture: places in `captions` that are true for it."""


def openmoji_questions(store: RecordStore, split: Split) -> Questions:
    """Held-out combinations against every caption of the store, the seen ones included."""
    captions = tuple(store[index].caption for index in range(len(store)))
    return Questions(pictures=split.pictures, captions=captions, truth=split.truth)


def retrieval_questions(store: RecordStore, indices: list[int]) -> Questions:
    """The given records' pictures against the same records' captions; equal captions are one candidate."""
    captions = tuple(dict.fromkeys(store[index].caption for index in indices))
    place = {caption: number for number, caption in enumerate(captions)}
    truth = tuple(frozenset({place[store[index].caption]}) for index in indices)
    return Questions(pictures=tuple(indices), captions=captions, truth=truth)


def embed_pictures(clip: Clip, store: RecordStore, indices: tuple[int, ...]):  # type: ignore[no-untyped-def]
    """Unit-norm embeddings (len(indices), e) of the records' pictures."""
    return clip.encode_images(decode(store[index].image, where=f"{store.path}[{index}]") for index in indices)


def answer(clip: Clip, store: RecordStore, questions: Questions) -> dict[str, float]:
    """Zero-shot top-1 and top-5: "zero_shot.top1", "zero_shot.top5"."""
    from visionsmith.evaluate.zero_shot import zero_shot

    images = embed_pictures(clip, store, questions.pictures)
    scores = zero_shot(
        images, clip.encode_texts(questions.captions), [set(truth) for truth in questions.truth]
    )
    return {"zero_shot.top1": scores["top1"], "zero_shot.top5": scores["top5"]}


def sample_sheet(clip: Clip, store: RecordStore, questions: Questions, count: int = 18) -> np.ndarray:
    """A contact sheet: held-out pictures under the caption that the model ranks first, framed right or wrong."""
    from visionsmith.report.sheet import contact_sheet

    step = max(1, len(questions.pictures) // count)
    places = range(0, len(questions.pictures), step)[:count]
    indices = tuple(questions.pictures[place] for place in places)
    best = (
        (embed_pictures(clip, store, indices) @ clip.encode_texts(questions.captions).T)
        .argmax(dim=1)
        .tolist()
    )
    return contact_sheet(
        [decode(store[index].image) for index in indices],
        [questions.captions[choice] for choice in best],
        title="Held-out pictures and the caption ranked first",
        marks=[choice in questions.truth[place] for choice, place in zip(best, places, strict=True)],
    )
