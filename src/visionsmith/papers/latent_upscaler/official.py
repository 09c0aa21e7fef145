"""The ways in for weights: this project's checkpoints, and folders of diffusers in the published layout.

| source                                              | function          |
|-----------------------------------------------------|-------------------|
| a state dict of the denoiser (`unet/`)              | `from_official`   |
| a checkpoint, or a folder of diffusers              | `load_enlarger`   |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.diffusion.library import StableDiffusionLatentUpscalePipeline, silenced
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.keys import require_keys
from visionsmith.memory.locks import opening, require_loaded
from visionsmith.papers.latent_upscaler.config import UpscalerConfig
from visionsmith.papers.latent_upscaler.enlarger import Enlarger
from visionsmith.papers.latent_upscaler.model import make_upscaler
from visionsmith.papers.model_folder import find_pipeline

__all__ = ["from_official", "load_enlarger"]

PIPELINE = "StableDiffusionLatentUpscalePipeline"
PARTS = ("vae", "text_encoder", "unet")


def from_official(state: Mapping[str, Tensor], config: UpscalerConfig | None) -> UNet2DConditionModel:
    """A denoiser of weights under the names of diffusers, in float32.

    Raises:
        CheckpointError: a weight is missing, left over, of another shape or not finite.
        ConfigError: no sizes are given.
    """
    if config is None:
        raise ConfigError(
            "a file of weights does not say its sizes (the width of a head is in none of their shapes)",
            do="open the whole folder of diffusers: `visionsmith run latent_upscaler PICTURE --checkpoint FOLDER`",
        )
    # Not on the meta device: the kernels of the samplers are in no file.
    model = make_upscaler(config)
    weights = {name: value.float() for name, value in state.items()}
    require_keys(model.state_dict(), weights, where="the state dict")
    if broken := [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]:
        raise CheckpointError(
            f"{len(broken)} weights are not finite ({broken[0]}, ...)",
            do="take an earlier checkpoint, or copy the file again",
        )
    model.load_state_dict(weights, assign=True)
    found: UNet2DConditionModel = model.eval()
    return found


def load_enlarger(source: str | Path, *, base: str | Path | None = None, download: bool = False) -> Enlarger:
    """Open a checkpoint of the project, or a folder of diffusers in the published layout, or a hub id of one.

    Args:
        source: where it is.
        base: of a checkpoint: whose autoencoder and text encoder go with it; None: the one that it names, or else the
            one that ships.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        CheckpointError: it is another kind of model, incomplete, or holds its weights as pickles only.
    """
    from visionsmith.papers.latent_diffusion import load_painter
    from visionsmith.papers.paper import shipped_checkpoint

    path = Path(source)
    if not checkpoint.is_checkpoint(path):
        return Enlarger(_pipeline(find_pipeline(source, PIPELINE, PARTS, download=download)))
    found = checkpoint.read(path, paper="latent_upscaler")
    config = decode(UpscalerConfig, found.config, where=str(path))
    unet = from_official(found.tensors(), config).to(memory_format=torch.channels_last)
    painter = load_painter(base or config.base or shipped_checkpoint("latent_diffusion"), download=download)
    parts = painter.pipeline
    sizes = (parts.vae.config.latent_channels, parts.text_encoder.config.hidden_size)
    if sizes != (config.latent_channels, config.text_width):
        raise CheckpointError(
            f"is made for {config.latent_channels} latent channels and a text width of {config.text_width}, "
            f"and the base has {sizes[0]} and {sizes[1]}",
            where=path,
            do="give the base that it was trained with",
        )
    return Enlarger.of(unet, painter)


def _pipeline(folder: Path) -> StableDiffusionLatentUpscalePipeline:
    with opening(folder, PIPELINE, do="save it again with `save_pretrained`"), silenced():
        pipeline = StableDiffusionLatentUpscalePipeline.from_pretrained(
            folder, use_safetensors=True, local_files_only=True
        )
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        require_loaded(part, str(folder))
    return pipeline
