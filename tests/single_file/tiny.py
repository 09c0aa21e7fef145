"""Tiny random models of every family, saved as diffusers folders by the libraries themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from visionsmith.memory.locks import library_load
from visionsmith.single_file import Assumed, write_single

ASSUMED = Assumed(prediction="epsilon", head_width=32, text_head_width=8, rope_axes=(4, 6, 6))
SD1 = Assumed(text_head_width=8)
LEVELS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
SDXL_LEVELS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}


def unet(**values: Any) -> UNet2DConditionModel:
    settings = {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
        **LEVELS,
        **values,
    }
    return UNet2DConditionModel(**settings).eval()


def sdxl_unet(vector: int, **values: Any) -> UNet2DConditionModel:
    return unet(
        **{
            **SDXL_LEVELS,
            "attention_head_dim": (1, 2),
            "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": vector,
            **values,
        }
    )


def vae(**values: Any) -> AutoencoderKL:
    settings = {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        **values,
    }
    return AutoencoderKL(**settings).eval()


def text(kind: type[nn.Module] = CLIPTextModel, **values: Any) -> nn.Module:
    settings = {
        "vocab_size": 99,
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_position_embeddings": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 32,
        "hidden_act": "quick_gelu",
        "bos_token_id": 0,
        "eos_token_id": 2,
        **values,
    }
    return kind(CLIPTextConfig(**settings)).eval()


def t5() -> nn.Module:
    config = T5Config(
        vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config).eval()


def flux(*, guidance: bool) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    ).eval()


def models(family: str) -> dict[str, nn.Module]:
    """The parts of a family by folder."""
    openclip = {"hidden_act": "gelu"}
    match family:
        case "sd1":
            return {"unet": unet(), "vae": vae(), "text_encoder": text()}
        case "sd1 inpainting":
            return {"unet": unet(in_channels=9), "vae": vae(), "text_encoder": text()}
        case "sd1 without vae":
            return {"unet": unet(), "text_encoder": text()}
        case "sd2":
            linear = unet(use_linear_projection=True, attention_head_dim=(1, 2), upcast_attention=True)
            return {"unet": linear, "vae": vae(), "text_encoder": text(**openclip)}
        case "sdxl":
            second = text(CLIPTextModelWithProjection, **openclip)
            return {
                "unet": sdxl_unet(32 + 48),
                "vae": vae(),
                "text_encoder": text(),
                "text_encoder_2": second,
            }
        case "sdxl-refiner":
            second = text(CLIPTextModelWithProjection, **openclip)
            return {"unet": sdxl_unet(32 + 40), "vae": vae(), "text_encoder_2": second}
        case "flux-dev":
            parts = {"transformer": flux(guidance=True), "text_encoder": text(), "text_encoder_2": t5()}
            return {**parts, "vae": vae(use_quant_conv=False, use_post_quant_conv=False, latent_channels=4)}
        case "flux-schnell":
            return {"transformer": flux(guidance=False)}
    raise AssertionError(family)


def save(parts: dict[str, nn.Module], folder: Path) -> Path:
    """A pipeline's folder, each part written by its library."""
    for name, model in parts.items():
        model.save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline"}))
    return folder


def extras(family: str) -> dict[str, torch.Tensor]:
    """What published files hold beside the parts."""
    schedule = {"alphas_cumprod": torch.rand(1000), "betas": torch.rand(1000)}
    if family.startswith("sd1"):
        name = "cond_stage_model.transformer.text_model.embeddings.position_ids"
        return {**schedule, name: torch.arange(16)[None]}
    if family == "sd2":
        start = "cond_stage_model.model."
        last = f"{start}transformer.resblocks.2."
        shapes = {
            "ln_1": (32,),
            "ln_2": (32,),
            "attn.out_proj": (32, 32),
            "mlp.c_fc": (64, 32),
            "mlp.c_proj": (32, 64),
        }
        layer = {f"{last}{name}.weight": torch.rand(shape) for name, shape in shapes.items()}
        layer |= {f"{last}{name}.bias": torch.rand(shape[0]) for name, shape in shapes.items()}
        layer |= {
            f"{last}attn.in_proj_weight": torch.rand(96, 32),
            f"{last}attn.in_proj_bias": torch.rand(96),
        }
        return {
            **schedule,
            **layer,
            f"{start}text_projection": torch.rand(32, 32),
            f"{start}logit_scale": torch.tensor(4.6),
        }
    if family == "sdxl":
        return {
            "denoiser.sigmas": torch.rand(1000),
            "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6),
        }
    if family == "flux-dev":
        return {"text_encoders.clip_l.logit_scale": torch.tensor(4.6)}
    return {}


def single_file(
    family: str, folder: Path, *, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, nn.Module], Path]:
    """A family's models, and their published single file with its extras."""
    torch.manual_seed(1)
    parts = models(family)
    for model in parts.values():
        # Norms and biases begin as ones and zeros, which would hide a mistake.
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
        model.to(dtype)
    plain = folder / "plain.safetensors"
    write_single(save(parts, folder / "source"), plain)
    path = folder / "model.safetensors"
    save_file({**load_file(plain), **extras(family)}, path, metadata={"title": "tiny"})
    return parts, path


def reload(model: nn.Module, folder: Path) -> nn.Module:
    """A part of a folder as its library reads it."""
    with library_load():
        loaded, info = type(model).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"], info
    assert not [key for key in info["unexpected_keys"] if not key.endswith("position_ids")], info
    return loaded.eval()


@torch.no_grad()
def answer(model: nn.Module) -> torch.Tensor:
    """The output of one forward pass with a fixed seed."""
    # Weights read from a file lie at any address, and torch rounds differently where memory is not aligned.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    draw = torch.Generator().manual_seed(3)
    dtype = next(model.parameters()).dtype

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw).to(dtype)

    tokens = torch.arange(1, 11)[None]
    if isinstance(model, UNet2DConditionModel):
        width = model.config.projection_class_embeddings_input_dim
        numbers = 6 if width == 80 else 5
        added = {"text_embeds": noise(1, 32), "time_ids": noise(1, numbers)} if width else None
        return model(
            noise(1, model.config.in_channels, 8, 8), 7, noise(1, 5, 32), added_cond_kwargs=added
        ).sample
    if isinstance(model, AutoencoderKL):
        return model(noise(1, 3, 16, 16)).sample
    if isinstance(model, FluxTransformer2DModel):
        return model(
            hidden_states=noise(1, 4, 16),
            encoder_hidden_states=noise(1, 3, 32),
            pooled_projections=noise(1, 32),
            timestep=torch.tensor([0.5]),
            img_ids=torch.arange(12.0).reshape(4, 3),
            txt_ids=torch.zeros(3, 3),
            guidance=torch.tensor([3.5]) if model.config.guidance_embeds else None,
        ).sample
    output = model(tokens)
    return torch.cat([value.flatten() for value in output.values() if isinstance(value, torch.Tensor)])
