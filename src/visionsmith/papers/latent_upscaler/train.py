"""Training: the upscaler alone, on latents that are computed once.

RUN/latents.safetensors    of every training picture and of its half
RUN/model                  the upscaler's denoiser; its autoencoder and text encoder are the base's
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from visionsmith.papers.latent_diffusion import Painter, World
    from visionsmith.papers.latent_upscaler.config import UpscalerConfig
    from visionsmith.papers.latent_upscaler.enlarger import Enlarger
    from visionsmith.papers.latent_upscaler.recipes import UpscalerRecipe
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Export, Task

__all__ = ["make_task", "train"]

QUICK = 32
"""Pictures that a running training is judged by, and the sampler's steps for them."""
QUICK_STEPS = 4


def train(
    recipe: UpscalerRecipe, *, data: Path | None, output: Path, resume: bool = False, progress: bool = True
) -> Path:
    """Train an upscaler.

    Args:
        recipe: model and settings.
        data: folder of captioned pictures, CSV / TSV / JSONL, WebDataset tar or record store; None for the built-in.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show bars.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.latent_diffusion import load_painter, open_world
    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.training import train_once

    # Before anything is written.
    base = load_painter(recipe.model.base or shipped_checkpoint("latent_diffusion"))
    size = recipe.model.sample_size * base.pipeline.vae_scale_factor

    def make(recipe: UpscalerRecipe, run: RunFolder, show: bool) -> Task:
        world = open_world(data, size=size, into=run.path / "records", seed=recipe.train.seed, progress=show)
        return make_task(recipe, world, base, folder=run.path, progress=show)

    return train_once(
        "latent_upscaler", recipe, make, data=data, output=output, resume=resume, progress=progress
    )


def make_task(
    recipe: UpscalerRecipe,
    world: World,
    base: Painter,
    *,
    folder: Path | None = None,
    progress: bool = False,
) -> Task:
    """Denoiser, objective and data of a recipe.

    Args:
        recipe: model and settings.
        world: the data.
        base: whose autoencoder and text encoder are used, frozen.
        folder: where the latents are kept; None: in memory.
        progress: whether to show bars.
    """
    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.latent_diffusion import evenly
    from visionsmith.papers.latent_upscaler.measure import pair_sheet, pictures_of, scores
    from visionsmith.papers.latent_upscaler.objective import UpscalingObjective
    from visionsmith.papers.latent_upscaler.samples import UpscalingCollate, UpscalingPairs, pairs_of
    from visionsmith.train.task import Task

    config, enlarger = _new(recipe, base)
    unet, vae = enlarger.pipeline.unet, base.pipeline.vae.requires_grad_(False).eval()
    size = config.sample_size * base.pipeline.vae_scale_factor
    kept = None if folder is None else folder / "latents.safetensors"
    latents = pairs_of(vae, world.store, world.train, size, kept, progress=progress)
    low, high = pictures_of(world, evenly(world.held_out, QUICK), size)

    def placed() -> Enlarger:
        # The loop moves what learns; the autoencoder follows it.
        return enlarger.to(unet.device)

    def evaluate() -> Mapping[str, float]:
        return scores(placed().enlarge_batch(low, steps=QUICK_STEPS), high)

    def samples() -> np.ndarray:
        return pair_sheet(low[:8], placed().enlarge_batch(low[:8], steps=QUICK_STEPS), high[:8])

    return Task(
        paper="latent_upscaler",
        objective=UpscalingObjective(
            unet,
            base.pipeline.text_encoder.requires_grad_(False),
            log_mean=recipe.log_mean,
            log_std=recipe.log_std,
        ),
        dataset=UpscalingPairs(
            world.store, latents, world.train, drop_text=recipe.drop_text, seed=recipe.train.seed
        ),
        plan=ShuffledBatches(world.train, recipe.train.batch_size, recipe.train.seed),
        collate=UpscalingCollate(base.tokenize),
        export=lambda state: _export(config, state),
        about=world.about,
        evaluate=evaluate,
        samples=samples,
    )


def _new(recipe: UpscalerRecipe, base: Painter) -> tuple[UpscalerConfig, Enlarger]:
    """The config with what is read off the base, and a new upscaler round it."""
    import dataclasses

    import torch
    from accelerate.utils import set_seed

    from visionsmith.papers.latent_upscaler.enlarger import Enlarger
    from visionsmith.papers.latent_upscaler.model import make_upscaler

    parts = base.pipeline
    config = dataclasses.replace(
        recipe.model,
        latent_channels=parts.vae.config.latent_channels,
        text_width=parts.text_encoder.config.hidden_size,
    )
    set_seed(recipe.train.seed)
    unet = make_upscaler(config).to(memory_format=torch.channels_last)  # faster on processors
    return config, Enlarger.of(unet, base)


def _export(config: UpscalerConfig, state: Mapping[str, Tensor]) -> Export:
    """The denoiser alone: matrices in float16, vectors in float32."""
    from visionsmith.config import encode
    from visionsmith.train.task import Export

    tensors = {
        name.removeprefix("unet."): (value.half() if value.ndim > 1 else value.float()).contiguous()
        for name, value in state.items()
        if name.startswith("unet.")
    }
    return Export(config=encode(config), tensors=tensors, files={})
