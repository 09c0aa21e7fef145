"""Training: the autoencoder where none is named, then the denoiser on its latents.

RUN/autoencoder/         a run of its own, with its report and pictures
RUN/latents.safetensors  the latents of every picture, computed once
RUN/                     the denoiser's run; RUN/model holds all parts
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.papers.latent_diffusion.recipes import AutoencoderRecipe, LatentDiffusionRecipe
    from visionsmith.papers.latent_diffusion.world import World
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["autoencoder_task", "train"]


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
    from visionsmith.papers.latent_diffusion.recipes import AutoencoderRecipe
    from visionsmith.papers.latent_diffusion.world import open_world
    from visionsmith.papers.training import train_once

    assert isinstance(recipe, AutoencoderRecipe)

    def make(recipe: AutoencoderRecipe, run: RunFolder, show: bool) -> Task:
        size = recipe.model.image_size
        return autoencoder_task(recipe, open_world(data, size=size, into=run.path / "records", progress=show))

    return train_once("latent_diffusion", recipe, make, data=data, output=output, resume=resume, progress=progress)


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
        paper="latent_diffusion",
        objective=AutoencoderObjective(model, edges=recipe.edges, kl=recipe.kl),
        dataset=Pictures(world.store, size, mirror=0.5, seed=recipe.train.seed),
        plan=ShuffledBatches(world.train, recipe.train.batch_size, recipe.train.seed),
        collate=picture_batch,
        export=lambda state: Export(
            config={"autoencoder": encode(recipe.model)},
            tensors=whitened(
                recipe.model, {name.removeprefix("autoencoder."): value for name, value in state.items()}, known
            ),
            files={},
        ),
        about=world.about,
        evaluate=lambda: scores(model, held_out),
        samples=lambda: restored_sheet(model, held_out[:16]),
    )
