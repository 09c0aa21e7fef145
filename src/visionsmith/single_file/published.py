"""What shapes do not show: values of the published models, and what may be chosen otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionsmith.errors import ConfigError
from visionsmith.single_file.layouts import Family, Task

__all__ = ["Assumed", "heads", "prediction_of", "scheduler", "unet_extras", "vae_extras"]

PREDICTIONS = ("epsilon", "v_prediction")
BETAS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "steps_offset": 1,
}
IMAGE_SIZES = {Family.SD1: 512, Family.SD2: 512, Family.SDXL: 1024, Family.REFINER: 1024}
SCALES = {Family.SD1: 0.18215, Family.SD2: 0.18215, Family.SDXL: 0.13025, Family.REFINER: 0.13025}


@dataclass(frozen=True)
class Assumed:
    """What a user says about a model that its shapes do not show; None: as published."""

    prediction: str | None = None
    """What the UNet predicts: "epsilon" or "v_prediction"."""
    heads: int | None = None
    """Attention heads of every level of the UNet."""
    head_width: int | None = None
    """Width of a head of the UNet, where the number differs by level."""
    text_head_width: int = 64
    """Width of a head of a CLIP text encoder."""
    rope_axes: tuple[int, ...] | None = None
    """Channels of a Flux head that turn with (text, row, column)."""


def heads(family: Family, channels: list[int], assumed: Assumed) -> int | list[int]:
    """Heads of the UNet; diffusers calls their number `attention_head_dim`.

    Raises:
        ConfigError: they do not fit the channels.
    """
    number, width = assumed.heads, assumed.head_width
    if number is None and width is None and family is Family.SD1:
        number = 8
    if number is not None:
        if number < 1 or any(count % number for count in channels):
            raise ConfigError(
                f"the UNet's channels {channels} do not divide into {number} heads", do="give --heads"
            )
        return number
    width = width or 64
    if any(count % width for count in channels):
        raise ConfigError(
            f"the UNet's channels {channels} do not divide into heads of width {width}",
            do="give --head-width",
        )
    return [count // width for count in channels]


def prediction_of(family: Family, task: Task, names: Mapping[str, Any], assumed: Assumed) -> tuple[str, str]:
    """What the UNet predicts, and why that is taken to be so.

    Raises:
        ConfigError: it can not be told and was not said.
    """
    if assumed.prediction is not None:
        if assumed.prediction not in PREDICTIONS:
            raise ConfigError(
                f"the prediction is {assumed.prediction!r}", do=f"give {' or '.join(PREDICTIONS)}"
            )
        return assumed.prediction, "as you said"
    if "v_pred" in names:
        return "v_prediction", "the file is marked with a tensor v_pred"
    if family is Family.SD2 and task is Task.GENERATE:
        raise ConfigError(
            "SD 2 was published in two kinds whose weights look alike: the base model of 512 px predicts the "
            "noise, the one of 768 px predicts v",
            do="give --prediction epsilon or --prediction v_prediction",
        )
    return "epsilon", "as in the published model; a fine-tuned one may differ"


def unet_extras(family: Family, prediction: str) -> dict[str, Any]:
    """Published settings of the UNet beside those that shapes show."""
    if family is Family.SD2:
        # 2.1 overflows in float16 without it; elsewhere it changes nothing but speed.
        size = 96 if prediction == "v_prediction" else 64
        return {"sample_size": size, "upcast_attention": True}
    return {"sample_size": IMAGE_SIZES[family] // 8}


def vae_extras(family: Family) -> dict[str, Any]:
    """Published settings of the VAE beside those that shapes show."""
    if family in (Family.FLUX_DEV, Family.FLUX_SCHNELL):
        return {"sample_size": 1024, "scaling_factor": 0.3611, "shift_factor": 0.1159, "force_upcast": True}
    sdxl = family in (Family.SDXL, Family.REFINER)
    extras = {"sample_size": IMAGE_SIZES[family], "scaling_factor": SCALES[family]}
    return {**extras, "force_upcast": True} if sdxl else extras


def scheduler(family: Family, prediction: str, *, zero_snr: bool) -> dict[str, Any]:
    """Settings of the published scheduler.

    Args:
        family: of the model.
        prediction: "epsilon" or "v_prediction"; Flux has none.
        zero_snr: whether the last step was trained as pure noise.
    """
    if family in (Family.FLUX_DEV, Family.FLUX_SCHNELL):
        dev = family is Family.FLUX_DEV
        return {
            "_class_name": "FlowMatchEulerDiscreteScheduler",
            "num_train_timesteps": 1000,
            "shift": 3.0 if dev else 1.0,
            "use_dynamic_shifting": dev,
            "base_shift": 0.5,
            "max_shift": 1.15,
            "base_image_seq_len": 256,
            "max_image_seq_len": 4096,
        }
    values = {**BETAS, "prediction_type": prediction}
    if family in (Family.SDXL, Family.REFINER):
        values |= {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}
        return {**values, "rescale_betas_zero_snr": True} if zero_snr else values
    values |= {"set_alpha_to_one": False, "clip_sample": False}
    if family is Family.SD2:
        return {"_class_name": "DDIMScheduler", **values, "rescale_betas_zero_snr": zero_snr}
    return {"_class_name": "PNDMScheduler", **values, "skip_prk_steps": True}
