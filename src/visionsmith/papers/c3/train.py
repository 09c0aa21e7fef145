"""Training C3: from a recipe and texts to a checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer
    from torch.utils.data import Dataset

    from visionsmith.data.sampler import BatchPlan
    from visionsmith.data.texts import Texts
    from visionsmith.papers.c3.codec import Codec
    from visionsmith.papers.c3.model import C3
    from visionsmith.papers.c3.recipes import C3Recipe
    from visionsmith.papers.c3.samples import Piece
    from visionsmith.papers.c3.speech import Speech
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["check_data", "make_task", "train"]

MEASURED = 32
"""Chunks that are restored at each evaluation."""
ASKED = 256
"""Questions about scenes that are asked at each evaluation."""
TOLD = 500
"""Scenes told in words of which the vocabulary is learned, beside the training texts."""


def check_data(data: Path) -> None:
    """Refuse what holds no texts: a single file is as good as a folder.

    Raises:
        DataError: there is nothing, or something that is no text.
    """
    from visionsmith.data.texts import open_texts

    open_texts(data)


def train(
    recipe: C3Recipe, *, data: Path | None, output: Path, resume: bool = False, progress: bool = True
) -> Path:
    """Train C3.

    Args:
        recipe: model and settings.
        data: texts, as `data.texts.open_texts` takes them; None for the built-in ones.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show a bar.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.data.texts import open_texts
    from visionsmith.papers.training import train_once

    def make(recipe: C3Recipe, run: RunFolder, show: bool) -> Task:
        return make_task(recipe, open_texts(data, progress=show))

    return train_once("c3", recipe, make, data=data, output=output, resume=resume, progress=progress)


def make_task(recipe: C3Recipe, texts: Texts) -> Task:
    """Model, objective and data of a recipe.

    Raises:
        DataError: there is too little text.
        ConfigError: a batch is larger than the data set.
    """
    from accelerate.utils import set_seed

    from visionsmith.papers.c3.codec import Codec
    from visionsmith.papers.c3.measure import HeldOut, join
    from visionsmith.papers.c3.objective import C3Objective
    from visionsmith.papers.c3.samples import PieceCollate
    from visionsmith.train.task import Task

    seed = recipe.train.seed
    set_seed(seed)
    model, tokenizer = make_model(recipe, texts)
    codec = Codec(model, tokenizer)
    stream = join(texts.train, codec.speech)
    dataset, plan = _data(recipe, stream, codec.speech)
    held_out = HeldOut(join(texts.test, codec.speech), model.config.chunk, MEASURED)
    return Task(
        paper="c3",
        objective=C3Objective(model, chunk=recipe.loss_chunk),
        dataset=dataset,
        plan=plan,
        collate=PieceCollate(codec.speech),
        export=lambda state: codec.export(
            {name.removeprefix("model."): value for name, value in state.items()}
        ),
        about={"tokens": len(stream), **texts.about},
        evaluate=lambda: _evaluate(codec, held_out.chunks, recipe),
        samples=lambda: _samples(codec, held_out.chunks),
    )


def _data(recipe: C3Recipe, stream: np.ndarray, speech: Speech) -> tuple[Dataset[Piece], BatchPlan]:
    """Texts to repeat, and, in batches of their own, since they are longer, dialogues."""
    from visionsmith.data.rounds import RoundBatches, RoundDataset
    from visionsmith.data.sampler import OrderedBatches, ShuffledBatches
    from visionsmith.papers.c3.samples import AskedDataset, PieceDataset

    seed, size, share = recipe.train.seed, recipe.train.batch_size, recipe.mix.asked
    pieces = PieceDataset(stream, speech, recipe.mix, seed)
    plan = ShuffledBatches(range(len(pieces)), size, seed)
    if not share:
        return pieces, plan
    rounds = RoundBatches([plan, OrderedBatches(size, size)], seed=seed, weights=(1 - share, share))
    return RoundDataset([pieces, AskedDataset(speech, recipe.mix.turns, seed)]), rounds


def make_model(recipe: C3Recipe, texts: Texts) -> tuple[C3, Tokenizer]:
    """A new model with a vocabulary of the training texts, or the one that the recipe starts from."""
    from visionsmith.papers.c3.begin import begin
    from visionsmith.papers.c3.model import C3
    from visionsmith.papers.c3.official import load_any, tokenizer_for
    from visionsmith.papers.c3.scenes import texts as scene_texts
    from visionsmith.papers.c3.speech import IMAGE_END, IMAGE_PAD, IMAGE_START, REPEAT, SPECIAL
    from visionsmith.papers.vocabulary import learn_byte_pairs, token_id

    if recipe.initial is not None:
        model = load_any(recipe.initial)
        tokenizer = tokenizer_for(recipe.initial, model.config)
    else:
        assert recipe.words is not None, "a recipe has words or initial"
        told = (
            [*scene_texts(TOLD, recipe.train.seed), *["user\n", "assistant\n", REPEAT] * TOLD]
            if recipe.mix.asked
            else []
        )
        tokenizer = learn_byte_pairs([*texts.train, *told], size=recipe.words, special=SPECIAL)
        config = dataclasses.replace(
            recipe.model,
            vocab_size=tokenizer.get_vocab_size(),
            image_start=token_id(tokenizer, IMAGE_START),
            image_end=token_id(tokenizer, IMAGE_END),
            image_pad=token_id(tokenizer, IMAGE_PAD),
        )
        model = C3(config)
        begin(model)
    if recipe.checkpointing:
        for part in (model.compressor, model.decoder):
            part.gradient_checkpointing_enable()
    return model, tokenizer


def _samples(codec: Codec, chunks: list[list[int]]) -> np.ndarray:
    """A plot of the errors by position, RGB HWC uint8."""
    from visionsmith.image.io import decode
    from visionsmith.papers.c3.measure import fidelity, position_plot

    return decode(position_plot({"text": fidelity(codec, chunks)["by_position"]}))


def _evaluate(codec: Codec, chunks: list[list[int]], recipe: C3Recipe) -> dict[str, float]:
    from visionsmith.papers.c3.measure import answers, fidelity
    from visionsmith.papers.c3.scenes import known_questions

    found: dict[str, Any] = fidelity(codec, chunks)
    shown = {name: value for name, value in found.items() if isinstance(value, float)}
    if recipe.mix.asked:
        shown["answers"] = answers(codec, known_questions(ASKED))["exact"]
    return shown
