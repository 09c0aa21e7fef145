"""A ControlNet beside a painter: a drawing says where things are (Zhang et al. 2023, arXiv:2302.05543).

The network and its pipeline are diffusers'; what is here opens them safely and says what does not fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionsmith.diffusion.library import silenced
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.geometry import resize
from visionsmith.memory.locks import opening, require_loaded
from visionsmith.papers.latent_diffusion.painter import Painter
from visionsmith.papers.model_folder import find_folder

__all__ = ["control_picture", "with_control"]


def with_control(painter: Painter, source: str | Path, *, download: bool = False) -> Painter:
    """The painter's own parts in a pipeline that a ControlNet steers.

    Args:
        painter: whose parts; it stays as it is.
        source: a folder of a `ControlNetModel` with safetensors, or a hub id.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        CheckpointError: it cannot be opened, or is made for another denoiser.
    """
    with silenced():
        from diffusers import StableDiffusionControlNetPipeline

        network = _network(find_folder(source, download=download))
        unet = painter.pipeline.unet
        for name, meaning in (
            ("cross_attention_dim", "a text width of"),
            ("block_out_channels", "blocks of widths"),
            ("in_channels", "channels of a latent:"),
        ):
            theirs, ours = network.config[name], unet.config[name]
            if _plain(theirs) != _plain(ours):
                raise CheckpointError(
                    f"is a ControlNet for {meaning} {_plain(theirs)}, and the denoiser has {_plain(ours)}",
                    where=str(source),
                    do="choose a ControlNet that was trained for this model, or another base",
                )
        parts = {name: part for name, part in painter.pipeline.components.items() if name != "image_encoder"}
        steered = StableDiffusionControlNetPipeline(
            **parts, controlnet=network.to(unet.device, unet.dtype), requires_safety_checker=False
        )
    return Painter(steered)


def control_picture(picture: np.ndarray, height: int, width: int) -> Tensor:
    """What a ControlNet reads of a picture: float32 `1 3 h w` from 0 to 1.

    Args:
        picture: RGB uint8 `h w 3`; what it shows (edges, depth, a pose, ...) is what the network was trained on.
        height: of the painting, pixels.
        width: likewise.

    Raises:
        ConfigError: its shape is another one than the painting's, so that it would be stretched.
    """
    high, wide = picture.shape[:2]
    if abs(high * width - wide * height) > max(high * width, wide * height) * 0.02:
        raise ConfigError(
            f"the control picture has {wide} x {high} pixels, which is another shape than {width} x {height}",
            do="cut it to the shape of the painting first: `visionsmith image crop`",
        )
    fitted = resize(picture, width=width, height=height)
    return torch.from_numpy(fitted).permute(2, 0, 1)[None].float() / 255


def _network(folder: Path) -> Any:
    from diffusers import ControlNetModel

    do = "give a folder that ControlNetModel saved, with safetensors"
    with opening(folder, "ControlNet", do=do):
        network = ControlNetModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    require_loaded(network, str(folder))
    return network.eval().requires_grad_(False)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
