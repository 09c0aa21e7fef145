"""The published layouts: which parts a single file has, under which prefixes, and which classes read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from visionsmith.single_file.names_flux import flux_pairs
from visionsmith.single_file.names_text import clip_pairs, nested_text_name, openclip_pairs, t5_pairs
from visionsmith.single_file.names_unet import unet_pairs
from visionsmith.single_file.names_vae import modern_vae_name, vae_pairs
from visionsmith.single_file.pairs import Pair

__all__ = ["PARTS", "PIPELINES", "Family", "Kind", "Part", "Task", "folder_name", "is_known_rest", "pairs_of"]


class Family(StrEnum):
    """A published model whose layout is known."""

    SD1 = "sd1"
    SD2 = "sd2"
    SDXL = "sdxl"
    REFINER = "sdxl-refiner"
    FLUX_DEV = "flux-dev"
    FLUX_SCHNELL = "flux-schnell"


class Task(StrEnum):
    """What the input channels make of it."""

    GENERATE = "text-to-image"
    INPAINT = "inpainting"
    EDIT = "instruct-pix2pix"
    CONTROL = "control image"


class Kind(Enum):
    """A part's architecture: library, class, its weights without ".safetensors", whose names a file has."""

    UNET = ("diffusers", "UNet2DConditionModel", "diffusion_pytorch_model", "Latent Diffusion")
    VAE = ("diffusers", "AutoencoderKL", "diffusion_pytorch_model", "Latent Diffusion")
    FLUX = ("diffusers", "FluxTransformer2DModel", "diffusion_pytorch_model", "Flux")
    CLIP = ("transformers", "CLIPTextModel", "model", "transformers")
    OPENCLIP = ("transformers", "CLIPTextModel", "model", "OpenCLIP")
    OPENCLIP_PROJECTED = ("transformers", "CLIPTextModelWithProjection", "model", "OpenCLIP")
    T5 = ("transformers", "T5EncoderModel", "model", "transformers")

    def __init__(self, library: str, class_name: str, weights: str, names: str) -> None:
        self.library, self.class_name, self.weights, self.names = library, class_name, weights, names


@dataclass(frozen=True)
class Part:
    """One part of a model: its folder, its architecture and what its names begin with in a single file."""

    folder: str
    kind: Kind
    prefixes: tuple[str, ...]
    """The first is the published one."""


_UNET = Part("unet", Kind.UNET, ("model.diffusion_model.",))
_VAE = Part("vae", Kind.VAE, ("first_stage_model.", "vae."))
_FLUX = (
    # Black Forest Labs publish the transformer alone and without a prefix; files for interfaces have one.
    Part("transformer", Kind.FLUX, ("", "model.diffusion_model.")),
    Part("vae", Kind.VAE, ("vae.", "first_stage_model.")),
    Part("text_encoder", Kind.CLIP, ("text_encoders.clip_l.transformer.",)),
    Part("text_encoder_2", Kind.T5, ("text_encoders.t5xxl.transformer.",)),
)
PARTS: Mapping[Family, tuple[Part, ...]] = {
    Family.SD1: (_UNET, _VAE, Part("text_encoder", Kind.CLIP, ("cond_stage_model.transformer.",))),
    Family.SD2: (_UNET, _VAE, Part("text_encoder", Kind.OPENCLIP, ("cond_stage_model.model.",))),
    Family.SDXL: (
        _UNET,
        _VAE,
        Part("text_encoder", Kind.CLIP, ("conditioner.embedders.0.transformer.",)),
        Part("text_encoder_2", Kind.OPENCLIP_PROJECTED, ("conditioner.embedders.1.model.",)),
    ),
    Family.REFINER: (
        _UNET,
        _VAE,
        Part("text_encoder_2", Kind.OPENCLIP_PROJECTED, ("conditioner.embedders.0.model.",)),
    ),
    Family.FLUX_DEV: _FLUX,
    Family.FLUX_SCHNELL: _FLUX,
}
PIPELINES: Mapping[tuple[Family, Task], str] = {
    (Family.SD1, Task.GENERATE): "StableDiffusionPipeline",
    (Family.SD1, Task.INPAINT): "StableDiffusionInpaintPipeline",
    (Family.SD1, Task.EDIT): "StableDiffusionInstructPix2PixPipeline",
    (Family.SD2, Task.GENERATE): "StableDiffusionPipeline",
    (Family.SD2, Task.INPAINT): "StableDiffusionInpaintPipeline",
    (Family.SDXL, Task.GENERATE): "StableDiffusionXLPipeline",
    (Family.SDXL, Task.INPAINT): "StableDiffusionXLInpaintPipeline",
    (Family.SDXL, Task.EDIT): "StableDiffusionXLInstructPix2PixPipeline",
    (Family.REFINER, Task.GENERATE): "StableDiffusionXLImg2ImgPipeline",
    (Family.FLUX_DEV, Task.GENERATE): "FluxPipeline",
    (Family.FLUX_DEV, Task.INPAINT): "FluxFillPipeline",
    (Family.FLUX_DEV, Task.CONTROL): "FluxControlPipeline",
    (Family.FLUX_SCHNELL, Task.GENERATE): "FluxPipeline",
}

KNOWN_REST = re.compile(
    r"""
    (sqrt_)?(one_minus_|recip_|recipm1_)?(alphas?_cumprod(_prev)?|betas)   # the noise schedule, computed anew
    | (log_one_minus|sqrt_one_minus|sqrt_recip|sqrt_recipm1)_alphas_cumprod
    | posterior_(variance|log_variance_clipped|mean_coef[12]) | lvlb_weights | logvar | scale_factor
    | denoiser\.(sigmas|log_sigmas) | v_pred | ztsnr | global_step | epoch
    | model_ema\.(decay|num_updates)                                        # counters of the moving average
    | .*\.logit_scale | .*\.attn_mask                               # CLIP's temperature, a constant mask
    | cond_stage_model\.model\.text_projection                      # SD 2 reads states, not the pooled text
    | text_encoders\.clip_l\.transformer\.text_projection\.weight           # Flux pools without it
    """,
    re.VERBOSE,
)
"""Tensors of published files that no part of a folder has a place for."""


def is_known_rest(name: str) -> bool:
    """Whether a tensor is known to belong to no part."""
    return KNOWN_REST.fullmatch(name) is not None


def pairs_of(kind: Kind, config: Mapping[str, Any]) -> list[Pair]:
    """All names of a part with these settings."""
    match kind:
        case Kind.UNET:
            return unet_pairs(config)
        case Kind.VAE:
            return vae_pairs(config)
        case Kind.FLUX:
            return flux_pairs(config)
        case Kind.CLIP:
            return clip_pairs(config)
        case Kind.T5:
            return t5_pairs(config)
        case Kind.OPENCLIP | Kind.OPENCLIP_PROJECTED:
            return openclip_pairs(config, projection=kind is Kind.OPENCLIP_PROJECTED)


def folder_name(kind: Kind, name: str) -> str:
    """A name of a folder's part as today's, whatever release wrote it."""
    if kind is Kind.VAE:
        return modern_vae_name(name)
    if kind in (Kind.CLIP, Kind.OPENCLIP, Kind.OPENCLIP_PROJECTED):
        return nested_text_name(name)
    return name
