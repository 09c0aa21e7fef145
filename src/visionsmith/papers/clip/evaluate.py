"""Measuring CLIP: zero-shot, retrieval, linear probe, few-shot, and robustness to shifts (sec. 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from visionsmith.data.records import RecordStore
    from visionsmith.papers.clip.clip import Clip
    from visionsmith.papers.clip.questions import Questions

__all__ = ["bag_of_words_baseline", "evaluate", "zero_shot_scores"]

SHOTS = (1, 2, 4, 8, 16)


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a CLIP.

    Args:
        checkpoint: its folder; None for the one that ships.
        data: pictures with captions in any form that `train` takes; None for the held-out combinations of OpenMoji.
        progress: whether to show a bar.

    Returns:
        Plain values: "zero_shot" (top1, top5, pictures, candidates, chance), "retrieval", "linear_probe", "few_shot",
        "shift", "baseline", "model". Shares from 0 to 1. A part that the data cannot give says why under "skipped".
    """
    from rich.console import Console
    from rich.progress import track

    from visionsmith.papers.clip.run import load

    clip = load(checkpoint)
    store, questions, train = _open(clip, data)
    parts: dict[str, Callable[[], Any]] = {
        "zero_shot": lambda: zero_shot_scores(clip, store, questions),
        "retrieval": lambda: _retrieval(clip, store, questions),
        "linear_probe": lambda: _probe(clip, store, questions, train, few=False),
        "few_shot": lambda: _probe(clip, store, questions, train, few=True),
        "shift": lambda: _shift(clip, store, questions),
        "baseline": lambda: _baseline(store, questions, train),
    }
    result: dict[str, Any] = {
        "model": {
            "checkpoint": str(checkpoint) if checkpoint else "shipped",
            "parameters": sum(parameter.numel() for parameter in clip.model.parameters()),
            "image_size": clip.model.config.vision.image_size,
        },
        "data": str(data) if data else "openmoji held-out combinations",
    }
    console = Console(stderr=True)
    for name in track(parts, "evaluate", console=console, disable=not progress, transient=True):
        result[name] = parts[name]()
    return result


def _open(clip: Clip, data: Path | None) -> tuple[RecordStore, Questions, Sequence[int]]:
    """Store, questions, and the records that a probe or baseline may learn from."""
    from visionsmith.data.builtin import openmoji_store
    from visionsmith.data.cache import cached_store
    from visionsmith.data.split import split_combinations
    from visionsmith.papers.clip.questions import openmoji_questions, retrieval_questions

    if data is None:
        store = openmoji_store(max(64, min(clip.model.config.vision.image_size, 256)))
        split = split_combinations(store)
        return store, openmoji_questions(store, split), split.train
    if not data.exists():
        raise DataError("no such file or folder", where=data, do="give --data an existing path")
    store = cached_store(data)
    usable = [index for index in range(len(store)) if store[index].image and store[index].caption]
    if not usable:
        raise DataError("has no picture with a caption", where=data, do="put KEY.txt beside each picture")
    return store, retrieval_questions(store, usable), ()


def zero_shot_scores(clip: Clip, store: RecordStore, questions: Questions) -> dict[str, float]:
    """Shares "top1", "top5" and "chance"; "pictures" and "candidates"."""
    from visionsmith.evaluate.zero_shot import zero_shot
    from visionsmith.papers.clip.questions import embed_pictures

    images = embed_pictures(clip, store, questions.pictures)
    scores = zero_shot(
        images, clip.encode_texts(questions.captions), [set(truth) for truth in questions.truth]
    )
    true = sum(len(truth) for truth in questions.truth) / len(questions.truth)
    return {**scores, "chance": true / len(questions.captions)}


def _retrieval(clip: Clip, store: RecordStore, questions: Questions) -> dict[str, float]:
    """Among the asked pictures and their own captions, both ways."""
    from visionsmith.evaluate.retrieval import retrieval
    from visionsmith.papers.clip.questions import embed_pictures

    own = sorted(set().union(*questions.truth))
    place = {candidate: number for number, candidate in enumerate(own)}
    texts = clip.encode_texts([questions.captions[candidate] for candidate in own])
    truth = [{place[candidate] for candidate in candidates} for candidates in questions.truth]
    return retrieval(embed_pictures(clip, store, questions.pictures), texts, truth)


def _probe(
    clip: Clip, store: RecordStore, questions: Questions, train: Sequence[int], *, few: bool
) -> dict[str, Any]:
    """The factor "subject" of OpenMoji, or a record's "label", from frozen picture embeddings."""
    from visionsmith.evaluate.probe import few_shot, linear_probe
    from visionsmith.papers.clip.questions import embed_pictures

    train_part, test_part = _labelled(store, questions, train)
    if len(set(train_part.values())) < 2:
        return {"skipped": "the records carry no two different values of meta.label"}
    train_x, test_x = (embed_pictures(clip, store, tuple(part)) for part in (train_part, test_part))
    if few:
        curve = few_shot(train_x, list(train_part.values()), test_x, list(test_part.values()), shots=SHOTS)
        return {str(point["shots"]): {"mean": point["mean"], "std": point["std"]} for point in curve}
    return linear_probe(train_x, list(train_part.values()), test_x, list(test_part.values()))


def _labelled(
    store: RecordStore, questions: Questions, train: Sequence[int]
) -> tuple[dict[int, str], dict[int, str]]:
    def label(index: int) -> str:
        meta = store[index].meta
        return str(meta.get("label") or meta.get("subject") or "")

    test = {index: label(index) for index in questions.pictures if label(index)}
    if train:
        asked = set(test.values())
        return {index: label(index) for index in train if label(index) in asked}, test
    indices = list(test)
    return {i: test[i] for i in indices[::2]}, {i: test[i] for i in indices[1::2]}


def _shift(clip: Clip, store: RecordStore, questions: Questions) -> dict[str, float]:
    """Zero-shot top-1 on changed pictures."""
    from visionsmith.evaluate.shift import shifts
    from visionsmith.evaluate.zero_shot import zero_shot
    from visionsmith.image.io import decode

    candidates = clip.encode_texts(questions.captions)
    truth = [set(place) for place in questions.truth]
    result = {}
    for name, change in shifts().items():
        images = clip.encode_images(change(decode(store[index].image)) for index in questions.pictures)
        result[name] = zero_shot(images, candidates, truth)["top1"]
    return result


def _baseline(store: RecordStore, questions: Questions, train: Sequence[int]) -> dict[str, Any]:
    if not train:
        return {"skipped": "bag of words learns from a training part, which --data does not name"}
    return {"bag_of_words": bag_of_words_baseline(store, questions, train)}


def bag_of_words_baseline(store: RecordStore, questions: Questions, train: Sequence[int]) -> dict[str, float]:
    """Bag of words from pixels, "top1" and "top5": what can be had without learning to see."""
    import numpy as np
    import torch

    from visionsmith.evaluate.bag_of_words import BagOfWords, descriptor
    from visionsmith.evaluate.zero_shot import rank_scores
    from visionsmith.image.io import decode

    def describe(indices: Sequence[int]) -> np.ndarray:
        return np.stack([descriptor(decode(store[index].image)) for index in indices])

    model = BagOfWords()
    model.fit(describe(train), [store[index].caption for index in train])
    scores: Tensor = torch.from_numpy(
        np.asarray(model.scores(describe(questions.pictures), questions.captions))
    )
    found = rank_scores(scores, [set(place) for place in questions.truth])
    return {"top1": found["top1"], "top5": found["top5"]}
