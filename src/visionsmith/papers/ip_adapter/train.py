"""Training: the adapter alone, on latents and image features that are computed once.

RUN/latents.safetensors, RUN/features.safetensors    of every training picture
RUN/model                                            the adapter, in the published layout
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from visionsmith.papers.ip_adapter.bases import AnyPainter
    from visionsmith.papers.ip_adapter.encoder import ImageEncoder
    from visionsmith.papers.ip_adapter.objective import PromptObjective
    from visionsmith.papers.ip_adapter.recipes import IPAdapterRecipe
    from visionsmith.papers.latent_diffusion import Judge, World
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Export, Task

__all__ = ["make_task", "new_objective", "open_base", "train"]

QUICK = 48
"""Prompts that a running training is judged by, and the sampler's steps for them."""
QUICK_STEPS = 15


def train(
    recipe: IPAdapterRecipe, *, data: Path | None, output: Path, resume: bool = False, progress: bool = True
) -> Path:
    """Train an adapter.

    Args:
        recipe: model and settings.
        data: folder of captioned pictures, CSV / TSV / JSONL, WebDataset tar or record store; None for the built-in.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show bars.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.ip_adapter.encoder import open_encoder
    from visionsmith.papers.latent_diffusion import Judge, open_world
    from visionsmith.papers.training import train_once

    # Before anything is written.
    painter = open_base(recipe)
    encoder = open_encoder(recipe.encoder, recipe.variant)

    def make(recipe: IPAdapterRecipe, run: RunFolder, show: bool) -> Task:
        size = painter.size
        world = open_world(data, size=size, into=run.path / "records", seed=recipe.train.seed, progress=show)
        judge = Judge(world, size)
        return make_task(recipe, world, painter, encoder, judge, folder=run.path, progress=show)

    return train_once("ip_adapter", recipe, make, data=data, output=output, resume=resume, progress=progress)


def open_base(recipe: IPAdapterRecipe) -> AnyPainter:
    """The painter that a recipe names, or the one that ships."""
    from visionsmith.papers.ip_adapter.bases import open_painter
    from visionsmith.papers.paper import shipped_checkpoint

    return open_painter(recipe.base or shipped_checkpoint("latent_diffusion"))


def make_task(
    recipe: IPAdapterRecipe,
    world: World,
    painter: AnyPainter,
    encoder: ImageEncoder,
    judge: Judge,
    *,
    folder: Path | None = None,
    progress: bool = False,
) -> Task:
    """Adapter, objective and data of a recipe.

    Args:
        recipe: model and settings.
        world: the data.
        painter: the base, frozen.
        encoder: of pictures, frozen.
        judge: of what is painted.
        folder: where latents and features are kept; None: in memory.
        progress: whether to show bars.
    """
    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.ip_adapter.bases import base_of
    from visionsmith.papers.ip_adapter.measure import prompt_features, prompt_sheet, scores
    from visionsmith.papers.ip_adapter.prompter import ImagePrompter
    from visionsmith.papers.ip_adapter.samples import PromptCollate, PromptSamples, features_of
    from visionsmith.papers.latent_diffusion import evenly
    from visionsmith.train.task import Task

    objective = new_objective(recipe, painter, encoder)
    adapter = objective.adapter
    prompter = ImagePrompter(painter, adapter, encoder, attached=objective.attached)
    kept = (
        (None, None) if folder is None else (folder / "latents.safetensors", folder / "features.safetensors")
    )
    latents = base_of(painter).latents(world.store, world.train, kept[0], progress=progress)
    features = features_of(encoder, world.store, world.train, kept[1], progress=progress)
    asked = evenly(world.held_out, QUICK)

    def placed() -> ImagePrompter:
        # The loop moves the adapter; the painter follows it.
        return prompter.to(next(adapter.parameters()).device)

    def evaluate() -> Mapping[str, float]:
        prompts = prompt_features(prompter, judge, asked)
        return scores(judge, placed().paint_each(prompts, steps=QUICK_STEPS), asked)

    def samples() -> np.ndarray:
        return prompt_sheet(placed(), judge, world, evenly(world.held_out, 16), steps=QUICK_STEPS)

    return Task(
        paper="ip_adapter",
        objective=objective,
        dataset=PromptSamples(
            world.store,
            latents,
            features,
            encoder.nothing(),
            world.train,
            drop=recipe.drop,
            reword=recipe.reword,
            seed=recipe.train.seed,
        ),
        plan=ShuffledBatches(world.train, recipe.train.batch_size, recipe.train.seed),
        collate=PromptCollate(painter.tokenize),
        export=lambda state: _export(adapter.config, state),
        about=world.about,
        evaluate=evaluate,
        samples=samples,
    )


def new_objective(recipe: IPAdapterRecipe, painter: AnyPainter, encoder: ImageEncoder) -> PromptObjective:
    """A new adapter of a recipe, its keys and values copied from a UNet, and the error that it is trained to lower.

    Args:
        recipe: model and settings.
        painter: the base; it is frozen, and the adapter attached to its denoiser.
        encoder: of pictures.
    """
    from accelerate.utils import set_seed

    from visionsmith.papers.ip_adapter.adapter import IPAdapter, config_for
    from visionsmith.papers.ip_adapter.bases import base_of
    from visionsmith.papers.ip_adapter.objective import PromptObjective

    set_seed(recipe.train.seed)
    base = base_of(painter)
    names = ("variant", "form", "tokens", "resampler", "base", "encoder")
    settings = {name: getattr(recipe, name) for name in names}
    adapter = IPAdapter(config_for(base.denoiser, image_width=encoder.width, **settings))
    adapter.copy_from(base.denoiser)
    if recipe.checkpointing:
        base.denoiser.enable_gradient_checkpointing()
    return PromptObjective(adapter, base.frozen())


def _export(config: object, state: Mapping[str, Tensor]) -> Export:
    """The adapter alone: matrices in float16, vectors in float32."""
    from visionsmith.config import encode
    from visionsmith.train.task import Export

    tensors = {
        name.removeprefix("adapter."): value.half() if value.ndim > 1 else value.float()
        for name, value in state.items()
    }
    return Export(config=encode(config), tensors=tensors, files={})
