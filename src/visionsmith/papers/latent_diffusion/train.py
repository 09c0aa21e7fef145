"""Training: the autoencoder where none is named, then the denoiser on its latents.

RUN/autoencoder/         a run of its own, with its report and pictures
RUN/latents.safetensors  the latents of every picture, computed once
RUN/                     the denoiser's run; RUN/model holds all parts
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from visionsmith.papers.latent_diffusion.model import LatentDiffusion
    from visionsmith.papers.latent_diffusion.recipes import AutoencoderRecipe, LatentDiffusionRecipe
    from visionsmith.papers.latent_diffusion.world import World
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Export, Task

__all__ = ["autoencoder_recipe", "autoencoder_task", "denoiser_task", "starting_model", "train"]

PAPER = "latent_diffusion"
QUICK = 48
"""Pictures that a running training is judged by, and the sampler's steps for them."""
QUICK_STEPS = 15


def train(
    recipe: LatentDiffusionRecipe | AutoencoderRecipe,
    *,
    data: Path | None,
    output: Path,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train a latent diffusion model, its autoencoder first where the recipe names none; or an autoencoder alone.

    Args:
        recipe: model and settings.
        data: folder of captioned pictures, CSV / TSV / JSONL, WebDataset tar or record store; None for the built-in.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show bars.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.latent_diffusion.recipes import LatentDiffusionRecipe
    from visionsmith.papers.latent_diffusion.world import open_world
    from visionsmith.papers.training import First, train_in_two, train_once

    seed = recipe.train.seed

    def world(size: int, show: bool) -> World:
        # Both runs keep the same pairs to measure with, also where their seeds differ.
        return open_world(data, size=size, into=output / "records", seed=seed, progress=show)

    def make_first(recipe: AutoencoderRecipe, run: RunFolder, show: bool) -> Task:
        return autoencoder_task(recipe, world(recipe.model.image_size, show))

    if not isinstance(recipe, LatentDiffusionRecipe):
        return train_once(
            PAPER, recipe, make_first, data=data, output=output, resume=resume, progress=progress
        )
    needed = recipe.autoencoder is None and recipe.initial is None
    first = First("autoencoder", autoencoder_recipe(recipe), make_first) if needed else None
    # Before anything is written.
    given = None if needed else starting_model(recipe, None)

    def make(recipe: LatentDiffusionRecipe, run: RunFolder, trained: Path | None, show: bool) -> Task:
        start = given or starting_model(recipe, trained)
        pairs = world(start[0].config.autoencoder.image_size, show)
        return denoiser_task(recipe, pairs, *start, latents=run.path / "latents.safetensors", progress=show)

    return train_in_two(
        PAPER, recipe, first, make, data=data, output=output, resume=resume, progress=progress
    )


def autoencoder_recipe(recipe: LatentDiffusionRecipe) -> AutoencoderRecipe:
    """How the autoencoder of a recipe that names none is trained."""
    from visionsmith.papers.latent_diffusion.recipes import AutoencoderRecipe

    assert recipe.train_autoencoder is not None, "the recipe checks it"
    return AutoencoderRecipe(model=recipe.model.autoencoder, train=recipe.train_autoencoder)


def starting_model(recipe: LatentDiffusionRecipe, trained: Path | None) -> tuple[LatentDiffusion, bytes]:
    """The model that a training starts with, and the content of its tokenizer.json.

    Args:
        recipe: of the training.
        trained: the autoencoder's checkpoint, where the recipe names none.
    """
    import torch
    from accelerate.utils import set_seed

    from visionsmith.keys import require_keys
    from visionsmith.papers.clip import load_any, tokenizer_for
    from visionsmith.papers.latent_diffusion.model import LatentDiffusion
    from visionsmith.papers.latent_diffusion.official import load_autoencoder, load_checkpoint
    from visionsmith.papers.latent_diffusion.text import text_config, text_state
    from visionsmith.papers.paper import shipped_checkpoint

    if recipe.initial is not None:
        return load_checkpoint(Path(recipe.initial))
    source = recipe.autoencoder or trained
    assert source is not None, "an autoencoder was trained or is named"
    autoencoder = load_autoencoder(source)
    reader = recipe.text or shipped_checkpoint("clip")
    clip = load_any(reader)
    words = tokenizer_for(reader, clip.config)
    set_seed(recipe.train.seed)
    model = LatentDiffusion(dataclasses.replace(recipe.model, text=text_config(clip, words)))
    require_keys(model.vae.state_dict(), autoencoder.state_dict(), where=str(source))
    model.vae.load_state_dict(autoencoder.state_dict())
    model.text_encoder.load_state_dict(text_state(clip), strict=False)
    model.unet.to(memory_format=torch.channels_last)  # faster on processors
    return model, words.save()


def denoiser_task(
    recipe: LatentDiffusionRecipe,
    world: World,
    model: LatentDiffusion,
    tokenizer: bytes,
    *,
    latents: Path | None = None,
    progress: bool = False,
) -> Task:
    """A denoiser on the latents of the training pictures.

    Args:
        recipe: of the training.
        world: the data.
        model: whose denoiser learns.
        tokenizer: the content of its tokenizer.json.
        latents: where they are kept; None: in memory.
        progress: whether to show a bar.
    """
    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.latent_diffusion.latents import LatentPairs, PairCollate, latents_of
    from visionsmith.papers.latent_diffusion.measure import Judge, evenly, painted_sheet
    from visionsmith.papers.latent_diffusion.objective import DenoisingObjective
    from visionsmith.papers.latent_diffusion.painter import Painter, export
    from visionsmith.train.task import Task

    seed, size = recipe.train.seed, model.config.autoencoder.image_size
    painter = Painter.of(model, tokenizer)
    encoded = latents_of(model.vae.eval(), world.store, world.train, size, latents, progress=progress)
    judge, asked = Judge(world, size), evenly(world.held_out, QUICK)

    def placed() -> Painter:
        # The loop moves what learns; the autoencoder follows it.
        return painter.to(model.unet.device)

    def evaluate() -> Mapping[str, float]:
        captions = [world.store[index].caption for index in asked]
        return judge.scores(placed().paint(captions, steps=QUICK_STEPS), asked)

    def finished(state: dict[str, Tensor]) -> Export:
        rest = {name: value for name, value in model.state_dict().items() if name.startswith("vae.")}
        return export(model, tokenizer, {**rest, **state})

    return Task(
        paper=PAPER,
        objective=DenoisingObjective(model, min_snr=recipe.min_snr),
        dataset=LatentPairs(
            world.store, encoded, world.train, reword=recipe.reword, drop_text=recipe.drop_text, seed=seed
        ),
        plan=ShuffledBatches(world.train, recipe.train.batch_size, seed),
        collate=PairCollate(painter.tokenize),
        export=finished,
        about=world.about,
        evaluate=evaluate,
        samples=lambda: painted_sheet(placed(), world, evenly(world.held_out, 32)),
    )


def autoencoder_task(recipe: AutoencoderRecipe, world: World) -> Task:
    """An autoencoder, learned from the training pictures and their mirror images."""
    import torch
    from accelerate.utils import set_seed

    from visionsmith.config import encode
    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.latent_diffusion.autoencoder import (
        AutoencoderObjective,
        make_autoencoder,
        restored_sheet,
        scores,
        whitened,
    )
    from visionsmith.papers.latent_diffusion.pictures import Pictures, picture_batch, some_pictures
    from visionsmith.train.task import Export, Task

    set_seed(recipe.train.seed)
    size = recipe.model.image_size
    model = make_autoencoder(recipe.model).to(memory_format=torch.channels_last)
    known = some_pictures(world.store, world.train, size, 512)
    held_out = some_pictures(world.store, world.held_out, size, 128)
    return Task(
        paper=PAPER,
        objective=AutoencoderObjective(model, edges=recipe.edges, kl=recipe.kl),
        dataset=Pictures(world.store, size, mirror=0.5, seed=recipe.train.seed),
        plan=ShuffledBatches(world.train, recipe.train.batch_size, recipe.train.seed),
        collate=picture_batch,
        export=lambda state: Export(
            config={"autoencoder": encode(recipe.model)},
            tensors=whitened(
                recipe.model,
                {name.removeprefix("autoencoder."): value for name, value in state.items()},
                known,
            ),
            files={},
        ),
        about=world.about,
        evaluate=lambda: scores(model, held_out),
        samples=lambda: restored_sheet(model, held_out[:16]),
    )
