"""Training: the prior where none is named, then the decoder.

RUN/prior/                  a run of its own, with its report
RUN/embeddings.safetensors  the CLIP embedding of every picture, computed once (of the prior alone: in its run)
RUN/                        the decoder's run; RUN/model holds both
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.papers.latent_diffusion import World
    from visionsmith.papers.unclip.recipes import PriorRecipe, UnclipRecipe
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["decoder_task", "prior_task", "train"]

PAPER = "unclip"
QUICK = 48
"""Pictures that a running training of the decoder is judged by, and the sampler's steps for them."""
QUICK_STEPS = 15
CARD = 300
"""Texts of the metric card."""


def train(
    recipe: UnclipRecipe | PriorRecipe,
    *,
    data: Path | None,
    output: Path,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train a prior and a decoder, or a prior alone.

    Args:
        recipe: model and settings.
        data: folder of captioned pictures, CSV / TSV / JSONL, WebDataset tar or record store; None for the built-in.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show bars.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.latent_diffusion import open_world
    from visionsmith.papers.training import First, train_in_two, train_once
    from visionsmith.papers.unclip.official import load_base, load_clip
    from visionsmith.papers.unclip.recipes import UnclipRecipe

    seed = recipe.train.seed

    def world(size: int, show: bool) -> World:
        # Both runs keep the same pairs to measure with, also where their seeds differ.
        return open_world(data, size=size, into=output / "records", seed=seed, progress=show)

    def make_first(recipe: PriorRecipe, run: RunFolder, show: bool) -> Task:
        size = load_clip(recipe.clip).model.config.vision.image_size
        return prior_task(recipe, world(size, show), folder=run.path, progress=show)

    if not isinstance(recipe, UnclipRecipe):
        return train_once(
            PAPER, recipe, make_first, data=data, output=output, resume=resume, progress=progress
        )
    # Before anything is written.
    load_base(recipe.base)
    first = First("prior", recipe.prior, make_first) if recipe.trained_prior is None else None

    def make(recipe: UnclipRecipe, run: RunFolder, trained: Path | None, show: bool) -> Task:
        source = trained or recipe.trained_prior
        assert source is not None, "a prior was trained or is named"
        size = load_base(recipe.base)[0].config.autoencoder.image_size
        pairs = world(size, show)
        return decoder_task(recipe, pairs, Path(source), folder=run.path, progress=show)

    return train_in_two(
        PAPER, recipe, first, make, data=data, output=output, resume=resume, progress=progress
    )


def prior_task(
    recipe: PriorRecipe, world: World, *, folder: Path | None = None, progress: bool = False
) -> Task:
    """A prior of a CLIP's embeddings.

    Args:
        recipe: of the training.
        world: the data.
        folder: where the embeddings are kept; None: in memory.
        progress: whether to show a bar.
    """
    from accelerate.utils import set_seed

    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.latent_diffusion import evenly
    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.unclip.card import metric_card
    from visionsmith.papers.unclip.config import UnclipConfig
    from visionsmith.papers.unclip.features import EmbeddingPairs, PairCollate, embeddings_of
    from visionsmith.papers.unclip.objective import PriorObjective, RegressionObjective
    from visionsmith.papers.unclip.official import digest, load_clip
    from visionsmith.papers.unclip.prior import set_statistics
    from visionsmith.papers.unclip.reader import TextReader
    from visionsmith.papers.unclip.unclip import Unclip, export
    from visionsmith.train.task import Task

    source = Path(recipe.clip) if recipe.clip else shipped_checkpoint("clip")
    clip = load_clip(recipe.clip)
    reader = TextReader(clip)
    file = folder / "embeddings.safetensors" if folder else None
    embeddings = embeddings_of(clip, world.store, file, progress=progress)
    set_seed(recipe.train.seed)
    config = UnclipConfig(
        prior=dataclasses.replace(
            recipe.model,
            embedding=embeddings.shape[1],
            text_width=reader.config.width,
            text_tokens=reader.config.context_length,
        ),
        clip=digest(source) if (source / "manifest.json").is_file() else "",
    )
    objective = (PriorObjective if config.prior.diffusion else RegressionObjective)(config.prior, reader)
    set_statistics(objective.prior, embeddings[list(world.train)])
    asked = evenly(world.held_out, CARD)
    captions = [world.store[index].caption for index in asked]
    user = Unclip(config, clip, objective.prior)

    def evaluate() -> Mapping[str, float]:
        truth = [world.truth(index) for index in asked]
        return metric_card(user.imagine(captions), embeddings[asked], embeddings, truth)

    return Task(
        paper=PAPER,
        objective=objective,
        dataset=EmbeddingPairs(
            world.store, embeddings, reword=recipe.reword, drop_text=recipe.drop_text, seed=recipe.train.seed
        ),
        plan=ShuffledBatches(world.train, recipe.train.batch_size, recipe.train.seed),
        collate=PairCollate(reader.tokenize),
        export=lambda state: export(
            config, {name.removeprefix("prior."): value for name, value in state.items()}
        ),
        about=world.about,
        evaluate=evaluate,
    )


def decoder_task(
    recipe: UnclipRecipe, world: World, trained: Path, *, folder: Path | None = None, progress: bool = False
) -> Task:
    """A decoder of a prior's embeddings.

    Args:
        recipe: of the training.
        world: the data, pictures of the size of the base.
        trained: a checkpoint with the prior.
        folder: where embeddings and latents are kept; None: in memory.
        progress: whether to show bars.
    """
    import torch
    from accelerate.utils import set_seed

    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.latent_diffusion import Judge, evenly, latents_of
    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.unclip.decoder import Decoder, DecoderObjective
    from visionsmith.papers.unclip.features import DecoderCollate, EmbeddingPairs, WithLatents, embeddings_of
    from visionsmith.papers.unclip.official import digest, load_base, load_unclip
    from visionsmith.papers.unclip.unclip import Unclip, export
    from visionsmith.report.sheet import contact_sheet
    from visionsmith.train.task import Task

    seed = recipe.train.seed
    clip_folder = Path(recipe.prior.clip) if recipe.prior.clip else None
    before = load_unclip(trained, clip=clip_folder, base=Path(recipe.base) if recipe.base else None)
    place = Path(recipe.base) if recipe.base else shipped_checkpoint("latent_diffusion")
    base = load_base(recipe.base)[0]
    config = dataclasses.replace(before.config, base=digest(place), extra_tokens=recipe.extra_tokens)
    kept = {name: folder / f"{name}.safetensors" if folder else None for name in ("embeddings", "latents")}
    embeddings = embeddings_of(before.clip, world.store, kept["embeddings"], progress=progress)
    size = base.config.autoencoder.image_size
    latents = latents_of(base.vae, world.store, world.train, size, kept["latents"], progress=progress)
    set_seed(seed)
    decoder = Decoder(base, embedding=config.prior.embedding, extra_tokens=config.extra_tokens)
    decoder.unet.to(memory_format=torch.channels_last)  # faster on processors
    user = Unclip(config, before.clip, before.prior, base=base, decoder=decoder)
    judge, asked = Judge(world, size), evenly(world.held_out, QUICK)
    captions = [world.store[index].caption for index in asked]
    pairs = EmbeddingPairs(
        world.store, embeddings, reword=recipe.prior.reword, drop_text=recipe.drop_text, seed=seed
    )
    return Task(
        paper=PAPER,
        objective=DecoderObjective(decoder, user.reader, drop_embedding=recipe.drop_embedding),
        dataset=WithLatents(pairs, latents, world.train),
        plan=ShuffledBatches(world.train, recipe.train.batch_size, seed),
        collate=DecoderCollate(user.reader.tokenize),
        export=lambda state: export(
            config,
            before.prior.state_dict(),
            {name.removeprefix("decoder."): value for name, value in state.items()},
        ),
        about=world.about,
        evaluate=lambda: judge.scores(user.paint(embeddings[asked], steps=QUICK_STEPS), asked),
        samples=lambda: contact_sheet(
            list(user.paint_texts(captions[:32])),
            captions[:32],
            columns=8,
            cell=128,
            title="Text, prior, decoder",
        ),
    )
