"""The ways in for weights: this project's checkpoints, and folders of diffusers in Stable Diffusion's layout.

| source                                              | function        |
|-----------------------------------------------------|-----------------|
| a state dict with `vae.`, `text_encoder.`, `unet.`  | `from_official` |
| a checkpoint                                        | `load_checkpoint` |
| a checkpoint, or a folder of diffusers              | `load_painter`  |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.diffusion.library import StableDiffusionPipeline, silenced
from visionsmith.errors import CheckpointError
from visionsmith.keys import require_keys
from visionsmith.memory.locks import opening, require_loaded
from visionsmith.papers.latent_diffusion.config import LatentDiffusionConfig
from visionsmith.papers.latent_diffusion.model import LatentDiffusion
from visionsmith.papers.latent_diffusion.painter import TOKENIZER_FILE, Painter
from visionsmith.papers.model_folder import find_pipeline

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

__all__ = ["from_official", "load_autoencoder", "load_checkpoint", "load_painter"]

PIPELINE = "StableDiffusionPipeline"
PARTS = ("vae", "text_encoder", "unet")


def from_official(state: Mapping[str, Tensor], config: LatentDiffusionConfig) -> LatentDiffusion:
    """A model of weights under the names of a diffusers folder: `vae.`, `text_encoder.` and `unet.` before them.

    Raises:
        CheckpointError: a weight is missing, left over or of another shape.
    """
    model = LatentDiffusion(config)
    # Positions are counted, not learned; some releases save them.
    weights = {name: value.float() for name, value in state.items() if not name.endswith("position_ids")}
    # Older folders have one level more in the text encoder.
    weights = {name.replace("text_encoder.text_model.", "text_encoder."): v for name, v in weights.items()}
    expected = {
        name: value for name, value in model.state_dict().items() if not name.endswith("position_ids")
    }
    require_keys(expected, weights, where="the state dict")
    model.load_state_dict(weights, strict=False)
    return model.eval()


def load_checkpoint(folder: Path) -> tuple[LatentDiffusion, bytes]:
    """A checkpoint's model, and the content of its tokenizer.json.

    Raises:
        CheckpointError: it is damaged, of another paper, or holds an autoencoder alone.
    """
    found = checkpoint.read(folder, paper="latent_diffusion")
    if "autoencoder" in found.config and "denoiser" not in found.config:
        raise CheckpointError(
            "holds an autoencoder alone", where=folder, do="train with autoencoder=FOLDER to add a denoiser"
        )
    config = decode(LatentDiffusionConfig, found.config, where=str(folder))
    return from_official(found.tensors(), config), (folder / TOKENIZER_FILE).read_bytes()


def load_painter(source: str | Path, *, download: bool = False) -> Painter:
    """Open a checkpoint, a folder of diffusers in Stable Diffusion's layout, or a hub id of one.

    Args:
        source: where it is.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        CheckpointError: it is another kind of model, incomplete, or holds its weights as pickles only.
    """
    path = Path(source)
    if checkpoint.is_checkpoint(path):
        return Painter.of(*load_checkpoint(path))
    return Painter(_pipeline(find_pipeline(source, PIPELINE, PARTS, download=download)))


def load_autoencoder(source: str | Path) -> AutoencoderKL:
    """The autoencoder of a checkpoint (whole, or an autoencoder alone) or of a folder of diffusers.

    Raises:
        CheckpointError: there is none.
    """
    from visionsmith.papers.latent_diffusion.autoencoder import make_autoencoder
    from visionsmith.papers.latent_diffusion.config import AutoencoderConfig

    path = Path(source)
    if not checkpoint.is_checkpoint(path):
        vae: AutoencoderKL = load_painter(source).pipeline.vae
        return vae
    found = checkpoint.read(path, paper="latent_diffusion")
    if "denoiser" in found.config:
        return load_checkpoint(path)[0].vae
    made = make_autoencoder(decode(AutoencoderConfig, found.config["autoencoder"], where=str(path)))
    state = found.tensors()
    require_keys(made.state_dict(), state, where=str(path))
    made.load_state_dict(state)
    return made.eval()


def _pipeline(folder: Path) -> StableDiffusionPipeline:
    with opening(folder, PIPELINE, do="save it again with `save_pretrained`"), silenced():
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            safety_checker=None,
            feature_extractor=None,
        )
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
        require_loaded(part, str(folder))
    return pipeline
