"""Training: the codebook where none is given, then FLAVA.

RUN/codebook/           a run of its own, with its report and pictures
RUN/codes.safetensors   the codes of every view, computed once
RUN/                    FLAVA's run; RUN/model holds the codebook too
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from visionsmith.data.sampler import BatchPlan
    from visionsmith.papers.flava.codebook import Codebook
    from visionsmith.papers.flava.flava import Flava
    from visionsmith.papers.flava.recipes import CodebookRecipe, FlavaRecipe, Kind
    from visionsmith.papers.flava.world import World
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["codebook_recipe", "codebook_task", "flava_task", "train"]


def train(
    recipe: FlavaRecipe | CodebookRecipe,
    *,
    data: Path | None,
    output: Path,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train FLAVA, its codebook first where the recipe names none; or a codebook alone.

    Args:
        recipe: model and settings.
        data: folder of captioned pictures, CSV / TSV / JSONL, WebDataset tar or record store; None for the built-in.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show bars.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.flava.recipes import FlavaRecipe
    from visionsmith.papers.flava.world import open_world
    from visionsmith.papers.training import First, train_in_two, train_once

    size = recipe.model.image.image_size if isinstance(recipe, FlavaRecipe) else recipe.size
    seed = recipe.train.seed

    def world(show: bool) -> World:
        # Both runs keep the same pairs to measure with, also where their seeds differ.
        return open_world(data, size=size, into=output / "records", seed=seed, progress=show)

    def make_first(recipe: CodebookRecipe, run: RunFolder, show: bool) -> Task:
        return codebook_task(recipe, world(show))

    if not isinstance(recipe, FlavaRecipe):
        return train_once(
            "flava", recipe, make_first, data=data, output=output, resume=resume, progress=progress
        )
    first = First("codebook", codebook_recipe(recipe), make_first) if recipe.codebook is None else None
    # Before anything is written.
    given = None if recipe.codebook is None else _open_codebook(recipe.codebook)

    def make(recipe: FlavaRecipe, run: RunFolder, trained: Path | None, show: bool) -> Task:
        codebook = given
        if codebook is None:
            assert trained is not None, "a codebook was trained or is named"
            codebook = _open_codebook(trained)
        return flava_task(recipe, world(show), codebook, codes=run.path / "codes.safetensors", progress=show)

    return train_in_two(
        "flava", recipe, first, make, data=data, output=output, resume=resume, progress=progress
    )


def _open_codebook(source: str | Path) -> Codebook:
    from visionsmith.papers.flava.official import load_codebook

    codebook = load_codebook(source)
    if codebook is None:
        raise CheckpointError("holds no codebook", where=source, do="give one that does")
    return codebook


def codebook_recipe(recipe: FlavaRecipe) -> CodebookRecipe:
    """How the codebook of a recipe that names none is trained."""
    from visionsmith.papers.flava.recipes import CodebookRecipe

    assert recipe.train_codebook is not None, "the recipe checks it"
    return CodebookRecipe(
        model=recipe.model.codebook,
        train=recipe.train_codebook,
        size=recipe.model.codebook_size,
        crop=min(32, recipe.model.codebook_size),
    )


def codebook_task(recipe: CodebookRecipe, world: World) -> Task:
    """A codebook, learned from the pictures of the training pairs."""
    from accelerate.utils import set_seed

    from visionsmith.config import encode
    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.flava.codebook import Codebook, CodebookObjective
    from visionsmith.papers.flava.pictures import (
        PictureBatch,
        Pictures,
        codebook_scores,
        codebook_sheet,
        some_pictures,
    )
    from visionsmith.train.task import Export, Task

    set_seed(recipe.train.seed)
    codebook = Codebook(recipe.model)
    loose = max(1, round(recipe.loose * recipe.train.total_steps))
    objective = CodebookObjective(codebook, commitment=recipe.commitment, loose_steps=loose)
    some = some_pictures(world.pairs, world.train, recipe.size, 400)
    held_out = some_pictures(world.pairs, world.held_out, recipe.size, 300)
    return Task(
        paper="flava",
        objective=objective,
        dataset=Pictures(world.pairs, recipe.size, crop=recipe.crop, seed=recipe.train.seed),
        plan=ShuffledBatches(world.train, recipe.train.batch_size, recipe.train.seed),
        collate=PictureBatch(),
        export=lambda state: Export(
            config={"codebook": encode(recipe.model)},
            tensors={
                name.removeprefix("codebook."): value
                for name, value in state.items()
                if name.startswith("codebook.")
            },
            files={},
        ),
        about=world.about,
        after_step=lambda: objective.after_step(some),
        evaluate=lambda: codebook_scores(codebook, held_out),
        samples=lambda: codebook_sheet(codebook, held_out[:16]),
    )


def flava_task(
    recipe: FlavaRecipe,
    world: World,
    codebook: Codebook,
    *,
    codes: Path | None = None,
    measure: Callable[[Flava], Mapping[str, float]] | None = None,
    progress: bool = False,
) -> Task:
    """Model, objective and data of a recipe.

    Args:
        recipe: whose codebook is `codebook`.
        world: the data.
        codebook: frozen.
        codes: file to keep the codes in; None: in memory.
        measure: what is measured in and after training; None: a figure of each kind on the held-out pairs.
        progress: whether to show a bar.
    """
    from accelerate.utils import set_seed

    from visionsmith.data.rounds import RoundBatches, RoundDataset
    from visionsmith.papers.flava.measure import quick_scores, sample_sheet
    from visionsmith.papers.flava.objective import FlavaObjective
    from visionsmith.papers.flava.samples import Collate
    from visionsmith.train.task import Task

    set_seed(recipe.train.seed)
    flava = _model(recipe, world, codebook)
    kinds = _kinds(recipe)
    records = {"image": world.image_train, "text": world.text_train, "pair": world.train}
    plan = RoundBatches(
        [_batches(recipe, world, kind, records[kind]) for kind in kinds],
        seed=recipe.train.seed,
        cycle=None if recipe.cycle is None else [kinds.index(kind) for kind in recipe.cycle],
        weights=None if recipe.sampling is None else [recipe.sampling[kind] for kind in kinds],
    )
    return Task(
        paper="flava",
        objective=FlavaObjective(flava.model, recipe.weights),
        dataset=RoundDataset(_datasets(recipe, flava, world, kinds, codes, progress=progress)),
        plan=plan,
        collate=Collate(),
        export=lambda state: flava.export(
            {name.removeprefix("flava."): value for name, value in state.items()}
        ),
        about=world.about,
        after_step=flava.model.clamp,
        evaluate=lambda: quick_scores(flava, world) if measure is None else measure(flava),
        samples=lambda: sample_sheet(flava, world),
    )


def _kinds(recipe: FlavaRecipe) -> list[Kind]:
    """The kinds of batches that come at all."""
    if recipe.cycle is not None:
        return sorted(set(recipe.cycle))
    assert recipe.sampling is not None, "the recipe checks it"
    return sorted(kind for kind, weight in recipe.sampling.items() if weight)


def _batches(recipe: FlavaRecipe, world: World, kind: Kind, records: Sequence[int]) -> BatchPlan:
    """The batches of one kind."""
    from visionsmith.data.sampler import GroupedBatches, ShuffledBatches
    from visionsmith.papers.flava.world import subject_of

    size, seed = recipe.train.batch_size, recipe.train.seed
    if kind != "pair" or not recipe.grouped_share:
        return ShuffledBatches(records, size, seed)
    groups: dict[str, list[int]] = {}
    subject = subject_of(world.pairs)
    for index in records:
        groups.setdefault(subject(index), []).append(index)
    return GroupedBatches(list(groups.values()), size, seed, share=recipe.grouped_share)


def _datasets(
    recipe: FlavaRecipe,
    flava: Flava,
    world: World,
    kinds: Sequence[Kind],
    codes: Path | None,
    *,
    progress: bool,
) -> list[Dataset[Any]]:
    """One data set a kind."""
    from visionsmith.papers.flava.codes import codes_of
    from visionsmith.papers.flava.samples import Images, Others, Pairs, Texts, Views
    from visionsmith.papers.flava.world import subject_of

    seed, mask = recipe.train.seed, recipe.mask
    size, grid = flava.model.config.image.image_size, flava.model.config.image.grid

    def texts(store: Any) -> Texts:
        return Texts(store, flava.words, mask, seed=seed, reword=recipe.views.reword)

    def images(store: Any, records: Sequence[int], kind: Kind) -> Images:
        views = Views(store, size, recipe.views, seed)
        file = None if codes is None else codes.with_stem(f"{codes.stem}-{kind}")
        known = codes_of(flava.require_codebook(), views, records, grid, file, progress=progress)
        return Images(views, known, mask, grid)

    def pairs() -> Pairs:
        captions = {index: world.pairs[index].caption for index in world.train}
        others = Others(captions, subject=subject_of(world.pairs), twins=world.twins)
        return Pairs(images(world.pairs, world.train, "pair"), texts(world.pairs), others, mask)

    makers = {
        "image": lambda: images(world.images, world.image_train, "image"),
        "text": lambda: texts(world.texts),
        "pair": pairs,
    }
    return [makers[kind]() for kind in kinds]


def _model(recipe: FlavaRecipe, world: World, codebook: Codebook) -> Flava:
    """A new model with its vocabulary, or the one that the recipe starts from."""
    from visionsmith.papers.flava.flava import Flava
    from visionsmith.papers.flava.model import FLAVA
    from visionsmith.papers.flava.official import load_any, read_words
    from visionsmith.papers.flava.words import Words
    from visionsmith.papers.model_folder import find_folder

    if recipe.initial is not None:
        model = load_any(recipe.initial)
        place = Path(recipe.vocabulary) if recipe.vocabulary else find_folder(recipe.initial)
        words = read_words(place, model.config)
    else:
        config = dataclasses.replace(recipe.model, codebook=codebook.config)
        length = config.text.context_length
        if recipe.vocabulary is not None:
            words = Words.read(Path(recipe.vocabulary), length)
        else:
            words = Words.learn(_texts(recipe, world), size=config.text.vocab_size, context_length=length)
        text = dataclasses.replace(config.text, vocab_size=words.size)
        model = FLAVA(dataclasses.replace(config, text=text))
    if model.config.codebook.codes != codebook.config.codes:
        raise ConfigError(
            f"the codebook has {codebook.config.codes} codes and the model {model.config.codebook.codes}",
            do="start from a model that was trained with this codebook",
        )
    return Flava(model, words, codebook)


def _texts(recipe: FlavaRecipe, world: World) -> list[str]:
    """What a vocabulary is learned from: captions and, where they are said in other words, examples of these."""
    from visionsmith.data.sampler import generator
    from visionsmith.papers.clip import reword

    pairs = [world.pairs[index] for index in world.train]
    texts = [record.caption for record in pairs]
    if world.text_train != world.train:
        texts += [world.texts[index].caption for index in world.text_train]
    if recipe.views.reword:
        for index, record in zip(world.train, pairs, strict=True):
            rng = generator(recipe.train.seed, 0, index)
            texts += [reword(record.caption, record.meta, rng) for _ in range(3)]
    return texts
