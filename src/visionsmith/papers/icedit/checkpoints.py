"""Checkpoints of this paper, and folders of diffusers, opened as a filler or as an editor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.errors import CheckpointError
from visionsmith.keys import require_keys
from visionsmith.papers.icedit.adapter import Adapter
from visionsmith.papers.icedit.config import AdapterConfig, FillerConfig
from visionsmith.papers.icedit.editor import ADAPTER, TOKENIZER_FILE, Editor, Parts
from visionsmith.papers.icedit.inversion import InversionEditor
from visionsmith.papers.icedit.model import Filler
from visionsmith.papers.icedit.official import from_official, load_adapter
from visionsmith.papers.icedit.reader import ClipReader, FluxReader
from visionsmith.papers.icedit.recipes import PUBLISHED_TEMPLATE
from visionsmith.papers.latent_diffusion import make_tokenizer

__all__ = ["flow_scheduler", "load_editor", "load_filler", "open_parts", "parts_of"]

PAINT = "FluxPipeline"
"""A pipeline that paints from text alone: it edits by inversion."""
FLUX_SIZE = 512


def flow_scheduler() -> Any:
    """Times of the small model, evenly spaced."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def load_filler(folder: Path) -> tuple[Filler, bytes]:
    """A checkpoint's filler, and the content of its tokenizer.json.

    Raises:
        CheckpointError: it is damaged, of another paper, or holds an adapter alone.
    """
    found = checkpoint.read(folder, paper="icedit")
    if "filler" not in found.config:
        raise CheckpointError(
            "holds an adapter and no filler",
            where=folder,
            do="give a checkpoint that `visionsmith train` wrote",
        )
    config = decode(FillerConfig, found.config["filler"], where=str(folder))
    state = {name: value for name, value in found.tensors().items() if not name.startswith(ADAPTER)}
    return _filled(config, state, str(folder)), (folder / TOKENIZER_FILE).read_bytes()


def parts_of(model: Filler, tokenizer: bytes) -> Parts:
    """The parts of an editor round a filler of this project."""
    words = make_tokenizer(tokenizer, model.config.text)
    return Parts(
        vae=model.vae,
        transformer=model.transformer,
        scheduler=flow_scheduler(),
        reader=ClipReader(model.text_encoder, words),
        size=model.config.autoencoder.image_size,
        own=(model, tokenizer),
    )


def load_editor(
    source: str | Path,
    *,
    base: str | Path | None = None,
    template: str | None = None,
    download: bool = False,
) -> Editor:
    """Open an editor.

    Args:
        source: a checkpoint of the project; an adapter's safetensors file in a published layout, with `base`; or what
            `base` may be, which then edits without training: FLUX.1 Fill fills, FLUX.1 edits by inversion.
        base: a folder of diffusers with a FluxFillPipeline or FluxPipeline, or a hub id of one; a checkpoint of the
            project.
        template: of the prompt; None: the one that the checkpoint notes, or the published one.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        CheckpointError: a part is missing, damaged, or does not fit the others.
    """
    path = Path(source)
    adapter: Adapter | None = None
    noted = PUBLISHED_TEMPLATE
    alone = CheckpointError(
        "is an adapter alone, if anything",
        where=path,
        do="name the model that it is for with --base: a folder of FLUX.1 Fill, or a checkpoint of icedit",
    )
    if checkpoint.is_checkpoint(path):
        found = checkpoint.read(path, paper="icedit")
        if "adapter" in found.config:
            own = {
                name.removeprefix(ADAPTER): value
                for name, value in found.tensors().items()
                if name.startswith(ADAPTER)
            }
            adapter = from_official(own, decode(AdapterConfig, found.config["adapter"], where=str(path)))
            noted = found.config["template"]
        elif "filler" not in found.config:
            adapter = _converted(found)
        if "filler" not in found.config:
            base = found.config.get("base") if base is None else base
            if base is None:
                raise alone
    elif base is not None:
        adapter = load_adapter(path)
    elif path.is_file():
        raise alone
    parts = open_parts(source if base is None else base, download=download)
    kind = Editor if parts.fills else InversionEditor
    return kind(parts, adapter.eval() if adapter else None, template=noted if template is None else template)


def open_parts(source: str | Path, *, download: bool = False) -> Parts:
    """A checkpoint's filler, or a folder of FLUX.1 Fill or FLUX.1 (or a hub id of one), as the parts of an editor.

    Raises:
        CheckpointError: it is another kind of model, incomplete, or holds its weights as pickles only.
    """
    path = Path(source)
    if checkpoint.is_checkpoint(path):
        return parts_of(*load_filler(path))
    from visionsmith.diffusion.library import FluxFillPipeline, FluxPipeline
    from visionsmith.papers.flux_folder import open_flux
    from visionsmith.papers.model_folder import pipeline_kind

    paints = pipeline_kind(source, download=download) == PAINT
    pipeline = open_flux(source, FluxPipeline if paints else FluxFillPipeline, download=download)
    size = min(FLUX_SIZE, int(pipeline.vae.config.sample_size))
    return Parts(pipeline.vae, pipeline.transformer, pipeline.scheduler, FluxReader(pipeline), size)


def _converted(found: checkpoint.Checkpoint) -> Adapter:
    """The adapter of a checkpoint that `convert official` made, which holds a module's own names."""
    state, where = found.tensors(), str(found.path)
    layers = {
        name.removeprefix("transformer.").removesuffix(".lora_A.weight"): (
            state[name.replace(".lora_A.", ".lora_B.")].shape[0],
            value.shape[1],
        )
        for name, value in state.items()
        if name.endswith(".lora_A.weight") and name.replace(".lora_A.", ".lora_B.") in state
    }
    adapter = Adapter(decode(AdapterConfig, found.config, where=where), layers)
    require_keys(adapter.state_dict(), state, where=where)
    adapter.load_state_dict(state)
    return adapter


def _filled(config: FillerConfig, state: Mapping[str, Tensor], where: str) -> Filler:
    model = Filler(config)
    weights = {name: value.float() for name, value in state.items()}
    expected = {n: value for n, value in model.state_dict().items() if not n.endswith("position_ids")}
    require_keys(expected, weights, where=where)
    model.load_state_dict(weights, strict=False)
    return model.requires_grad_(False).eval()
