"""Training: a filler where none is named, then the adapter for edits beside it.

RUN/filler/              a run of its own, with its report
RUN/latents.safetensors  the latents of every picture, computed once
RUN/                     the adapter's run; RUN/model holds all parts
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from visionsmith.papers.icedit.editor import Parts
    from visionsmith.papers.icedit.edits import EditWorld
    from visionsmith.papers.icedit.model import Filler
    from visionsmith.papers.icedit.recipes import EditRecipe, FillerRecipe
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Export, Task

__all__ = ["check_data", "edit_task", "filler_task", "new_filler", "train"]

PAPER = "icedit"
QUICK = 8
"""Edits of each kind that a running training is judged by, and the sampler's steps for them."""
QUICK_STEPS = 12


def train(
    recipe: EditRecipe | FillerRecipe,
    *,
    data: Path | None,
    output: Path,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train an adapter for edits, its filler first where the recipe names none; or a filler alone.

    Args:
        recipe: model and settings.
        data: table or parquet files of edits, see `sources.open_edits`; None for the built-in ones.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show bars.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.icedit.checkpoints import open_parts
    from visionsmith.papers.icedit.recipes import EditRecipe
    from visionsmith.papers.icedit.sources import open_edits
    from visionsmith.papers.latent_diffusion import load_checkpoint
    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.training import First, train_in_two, train_once

    worlds: dict[int, EditWorld] = {}

    def world(size: int, show: bool) -> EditWorld:
        if size not in worlds:
            worlds[size] = open_edits(data, size=size, seed=recipe.train.seed, progress=show)
        return worlds[size]

    def make_first(recipe: FillerRecipe, run: RunFolder, show: bool) -> Task:
        model, tokenizer = new_filler(recipe, *load_checkpoint(_painter(recipe)))
        pairs = world(model.config.autoencoder.image_size, show)
        return filler_task(recipe, pairs, model, tokenizer, folder=run.path, progress=show)

    def _painter(recipe: FillerRecipe) -> Path:
        return Path(recipe.painter) if recipe.painter else shipped_checkpoint("latent_diffusion")

    if not isinstance(recipe, EditRecipe):
        return train_once(
            PAPER, recipe, make_first, data=data, output=output, resume=resume, progress=progress
        )
    first = None
    if recipe.filler is None:
        assert recipe.train_filler is not None, "the recipe checks it"
        first = First("filler", recipe.train_filler, make_first)
    # Before anything is written.
    given = None if recipe.filler is None else _filling(recipe.filler)

    def make(recipe: EditRecipe, run: RunFolder, trained: Path | None, show: bool) -> Task:
        parts = given
        if parts is None:
            assert trained is not None, "a filler was trained or is named"
            parts = open_parts(trained)
        return edit_task(recipe, world(parts.size, show), parts, folder=run.path, progress=show)

    return train_in_two(
        PAPER, recipe, first, make, data=data, output=output, resume=resume, progress=progress
    )


def _filling(source: str) -> Parts:
    """The parts round a filler that a recipe names.

    Raises:
        CheckpointError: it is no filler, or another one's checkpoint.
    """
    from visionsmith.errors import CheckpointError
    from visionsmith.papers.icedit.checkpoints import open_parts

    parts = open_parts(source)
    if not parts.fills:
        raise CheckpointError(
            "paints from text alone, and an adapter is trained beside a model that fills what is hidden",
            where=source,
            do="name a FluxFillPipeline's folder, or a checkpoint of icedit",
        )
    return parts


def check_data(path: Path) -> None:
    """Refuse data that hold no edits; see `sources.check_edits`."""
    from visionsmith.papers.icedit.sources import check_edits

    check_edits(path)


def new_filler(recipe: FillerRecipe, painter: object, tokenizer: bytes) -> tuple[Filler, bytes]:
    """A filler whose transformer is new, with a painter's autoencoder and text encoder, and its tokenizer.json.

    Args:
        recipe: of the training.
        painter: a `LatentDiffusion`.
        tokenizer: the content of its tokenizer.json.
    """
    import dataclasses

    from accelerate.utils import set_seed

    from visionsmith.papers.icedit.config import FillerConfig
    from visionsmith.papers.icedit.model import Filler
    from visionsmith.papers.latent_diffusion import LatentDiffusion

    assert isinstance(painter, LatentDiffusion), f"a {type(painter).__name__} is no painter"
    set_seed(recipe.train.seed)
    text = painter.config.text
    sizes = dataclasses.replace(recipe.transformer, text_width=text.width, pooled_width=text.width)
    model = Filler(FillerConfig(autoencoder=painter.config.autoencoder, text=text, transformer=sizes))
    model.vae.load_state_dict(painter.vae.state_dict())
    model.text_encoder.load_state_dict(painter.text_encoder.state_dict())
    model.vae.requires_grad_(False)
    model.text_encoder.requires_grad_(False)
    model.eval()
    return model, tokenizer


def filler_task(
    recipe: FillerRecipe,
    world: EditWorld,
    model: Filler,
    tokenizer: bytes,
    *,
    folder: Path | None = None,
    progress: bool = False,
) -> Task:
    """A filler of half a diptych.

    Args:
        recipe: of the training.
        world: its pictures and captions are used, its edits are not.
        model: whose transformer learns.
        tokenizer: the content of its tokenizer.json.
        folder: where latents are kept; None: in memory.
        progress: whether to show a bar.
    """
    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.icedit.editor import export_filler
    from visionsmith.papers.icedit.model import gray_half
    from visionsmith.papers.icedit.objective import FillingObjective
    from visionsmith.papers.icedit.samples import DiptychCollate, FillingSamples, encoded
    from visionsmith.papers.latent_diffusion import make_tokenizer, tokenize
    from visionsmith.train.task import Task

    words = make_tokenizer(tokenizer, model.config.text)
    latents = encoded(model.vae, world, folder / "latents.safetensors" if folder else None, progress=progress)
    gray = gray_half(model.vae, world.size, world.size)
    samples = FillingSamples(world, latents, drop_text=recipe.drop_text, seed=recipe.train.seed)

    def finished(state: dict[str, Tensor]) -> Export:
        rest = {name: value for name, value in model.state_dict().items() if name.startswith("vae.")}
        return export_filler(model.config, {**rest, **state}, tokenizer)

    return Task(
        paper=PAPER,
        objective=FillingObjective(
            model.transformer, model.text_encoder, gray, model.config.autoencoder.factor, seen=recipe.seen
        ),
        dataset=samples,
        plan=ShuffledBatches(range(len(samples)), recipe.train.batch_size, recipe.train.seed),
        collate=DiptychCollate(lambda texts: tokenize(words, texts)),
        export=finished,
        about=world.about,
    )


def edit_task(
    recipe: EditRecipe,
    world: EditWorld,
    parts: Parts,
    *,
    folder: Path | None = None,
    progress: bool = False,
) -> Task:
    """An adapter for edits.

    Args:
        recipe: of the training.
        world: the edits.
        parts: round the filler, frozen.
        folder: where latents are kept; None: in memory.
        progress: whether to show a bar.
    """
    from accelerate.utils import set_seed

    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.icedit.adapter import adapter_for
    from visionsmith.papers.icedit.editor import Editor, export_adapter, export_filler
    from visionsmith.papers.icedit.measure import EditJudge, edited_sheet, made, of_each_kind
    from visionsmith.papers.icedit.model import gray_half
    from visionsmith.papers.icedit.objective import EditObjective, Frozen
    from visionsmith.papers.icedit.samples import DiptychCollate, EditSamples, encoded
    from visionsmith.train.task import Task

    vae, transformer = parts.vae.requires_grad_(False).eval(), parts.transformer
    latents = encoded(vae, world, folder / "latents.safetensors" if folder else None, progress=progress)
    set_seed(recipe.train.seed)
    adapter = adapter_for(transformer, recipe.adapter)
    if recipe.checkpointing:
        transformer.enable_gradient_checkpointing()
    frozen = Frozen(transformer, parts.reader, gray_half(vae, world.size, world.size), parts.factor)
    objective = EditObjective(adapter, frozen, balance=recipe.balance, shift=recipe.shift)
    editor = Editor(parts, adapter, template=recipe.template, attached=objective.attached)
    judge, asked = EditJudge(world), of_each_kind(world, QUICK)
    samples = EditSamples(world, latents, editor.prompt, drop_text=recipe.drop_text, seed=recipe.train.seed)

    def placed() -> Editor:
        # The loop moves the adapter; the rest follows it.
        return editor.to(next(adapter.parameters()).device)

    def evaluate() -> Mapping[str, float]:
        return judge.scores(made(placed(), world, asked, steps=QUICK_STEPS), asked)

    def finished(state: dict[str, Tensor]) -> Export:
        updates = {name.removeprefix("adapter."): value for name, value in state.items()}
        if parts.own is None:
            return export_adapter(adapter, updates, template=recipe.template, base=recipe.filler)
        model, tokenizer = parts.own
        beside = export_adapter(adapter, updates, template=recipe.template)
        return export_filler(model.config, model.state_dict(), tokenizer, beside)

    return Task(
        paper=PAPER,
        objective=objective,
        dataset=samples,
        plan=ShuffledBatches(range(len(samples)), recipe.train.batch_size, recipe.train.seed),
        collate=DiptychCollate(parts.reader.tokenize),
        export=finished,
        about=world.about,
        evaluate=evaluate,
        samples=lambda: edited_sheet(placed(), world, of_each_kind(world, 3), steps=QUICK_STEPS),
    )
