"""Training CLIP: from a recipe and data to a checkpoint."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from visionsmith.errors import DataError

if TYPE_CHECKING:
    from visionsmith.data.records import RecordStore
    from visionsmith.papers.clip.config import CLIPConfig
    from visionsmith.papers.clip.model import CLIP
    from visionsmith.papers.clip.questions import Questions
    from visionsmith.papers.clip.recipes import ClipRecipe
    from visionsmith.papers.clip.tokenizer import ClipTokenizer
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["train"]

HELD_OUT_SHARE = 0.05
"""Of a user's data set: kept from training, to measure retrieval on."""


def train(
    recipe: ClipRecipe, *, data: Path | None, output: Path, resume: bool = False, progress: bool = True
) -> Path:
    """Train CLIP.

    Args:
        recipe: model and settings.
        data: folder of pictures with captions, CSV / TSV / JSONL, WebDataset tar or record store; None for OpenMoji.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show a bar.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.training import train_once

    def make(recipe: ClipRecipe, run: RunFolder, show: bool) -> Task:
        return make_task(recipe, data=data, run=run, progress=show)

    return train_once("clip", recipe, make, data=data, output=output, resume=resume, progress=progress)


def make_task(
    recipe: ClipRecipe, *, data: Path | None, run: RunFolder | None = None, progress: bool = False
) -> Task:
    """Model, objective and data of a recipe."""
    import torch
    from accelerate.utils import set_seed

    from visionsmith.data.sampler import GroupedBatches, ShuffledBatches
    from visionsmith.papers.clip.clip import Clip
    from visionsmith.papers.clip.objective import ClipObjective
    from visionsmith.papers.clip.pairs import PairCollate, PairDataset, subject_groups
    from visionsmith.papers.clip.questions import answer, sample_sheet
    from visionsmith.train.task import Task

    store, indices, questions = _open(recipe, data, run, progress)
    set_seed(recipe.train.seed)
    clip, tokenizer = _model(recipe, store, indices)
    user = Clip(clip, tokenizer)
    if clip.config.vision.kind == "resnet":
        clip.visual.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = ClipObjective(clip, loss_chunk=recipe.loss_chunk)
    size, seed = recipe.train.batch_size, recipe.train.seed
    plan = (
        GroupedBatches(subject_groups(store, indices), size, seed, share=recipe.grouped_share)
        if recipe.grouped_share
        else ShuffledBatches(indices, size, seed)
    )
    return Task(
        paper="clip",
        objective=objective,
        dataset=PairDataset(store, clip.config.vision.image_size, recipe.augment, seed),
        plan=plan,
        collate=PairCollate(tokenizer),
        export=lambda state: user.export(
            {name.removeprefix("clip."): value for name, value in state.items()}
        ),
        about={
            "records": len(indices),
            "held_out": len(questions.pictures),
            **store.info().get("attributes", {}),
        },
        after_step=objective.clamp,
        evaluate=lambda: answer(user, store, questions),
        samples=lambda: sample_sheet(user, store, questions),
    )


def _open(
    recipe: ClipRecipe, data: Path | None, run: RunFolder | None, progress: bool
) -> tuple[RecordStore, list[int], Questions]:
    """The store, the records to train on, and the questions to measure with."""
    import numpy as np

    from visionsmith.data.builtin import openmoji_store
    from visionsmith.data.split import split_combinations
    from visionsmith.papers.clip.questions import openmoji_questions, retrieval_questions

    if data is None:
        store = openmoji_store(recipe.model.vision.image_size, progress=progress)
        split = split_combinations(store)
        return store, list(split.train), openmoji_questions(store, split)
    from visionsmith.data.sources import open_or_pack

    store = open_or_pack(data, run.path / "records" if run else data.with_suffix(".records"))
    if progress and (left_out := store.info()["skipped"]):
        first = "; ".join(f"{key}: {reason}" for key, reason in store.info()["skipped_first"][:3])
        sys.stderr.write(f"{left_out:,} samples are left out ({first})\n")
    captioned = [index for index in range(len(store)) if store[index].caption and store[index].image]
    if len(captioned) < 2:
        raise DataError(
            f"has {len(captioned)} pictures with captions",
            where=data,
            do="give at least two pairs, better thousands",
        )
    order = np.random.default_rng(recipe.train.seed).permutation(captioned)
    held_out = max(1, int(len(order) * HELD_OUT_SHARE))
    train_part = sorted(int(index) for index in order[held_out:])
    return store, train_part, retrieval_questions(store, sorted(int(index) for index in order[:held_out]))


def _model(recipe: ClipRecipe, store: RecordStore, indices: list[int]) -> tuple[CLIP, ClipTokenizer]:
    """A new model with its vocabulary, or the one that the recipe starts from."""
    from visionsmith.papers.clip.model import CLIP
    from visionsmith.papers.clip.official import load_any, tokenizer_for

    if recipe.initial is not None:
        model = load_any(recipe.initial)
        return model, tokenizer_for(recipe.initial, model.config, recipe.tokenizer)
    tokenizer = _tokenizer(recipe, store, indices)
    return CLIP(_fit_vocabulary(recipe, tokenizer)), tokenizer


def _tokenizer(recipe: ClipRecipe, store: RecordStore, indices: list[int]) -> ClipTokenizer:
    """The official vocabulary, or one learned from the training captions and the phrases they are put into."""
    from visionsmith.papers.clip.prompts import PHRASES
    from visionsmith.papers.clip.tokenizer import ClipTokenizer

    length = recipe.model.text.context_length
    if recipe.tokenizer is not None:
        return ClipTokenizer.from_official(Path(recipe.tokenizer), context_length=length)
    texts = [*PHRASES, *(store[index].caption for index in indices)]
    if recipe.augment.reword:
        texts += [alias for index in indices for alias in store[index].meta.get("aliases", ())]
    return ClipTokenizer.train(texts, vocab_size=recipe.tokenizer_words, context_length=length)


def _fit_vocabulary(recipe: ClipRecipe, tokenizer: ClipTokenizer) -> CLIPConfig:
    """The model's config with the tokenizer's actual vocabulary, which may be smaller than asked for."""
    text = dataclasses.replace(
        recipe.model.text, vocab_size=tokenizer.vocab_size, end_token=tokenizer.end_token
    )
    return dataclasses.replace(recipe.model, text=text)
