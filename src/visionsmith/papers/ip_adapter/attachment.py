"""Picture prompts on a denoiser: attached, shown, taken off again; its weights and its class stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor

from visionsmith.errors import ConfigError, nearest
from visionsmith.papers.ip_adapter.attention import Branch, ImageAttention, Layer, Region, cross_layers
from visionsmith.papers.ip_adapter.config import Denoiser
from visionsmith.papers.ip_adapter.flux_attention import FluxImageAttention, double_layers

if TYPE_CHECKING:
    from visionsmith.papers.ip_adapter.adapter import IPAdapter

__all__ = ["CALLED", "Attachment", "ImagePrompt", "Scale", "layers_of"]

PROCESSORS: Mapping[Denoiser, type[ImageAttention] | type[FluxImageAttention]] = {
    "unet": ImageAttention,
    "flux": FluxImageAttention,
}
CALLED: Mapping[Denoiser, str] = {"unet": "cross-attention layer", "flux": "double block"}
"""What pictures speak at."""

Scale = float | Mapping[str, float]
"""One for all layers, or by the beginning of a layer's name ("up_blocks.1", "mid_block"): the longest that fits
counts, and a layer that none fits gets 0."""


@dataclass(frozen=True)
class ImagePrompt:
    """What a picture says through an adapter."""

    adapter: IPAdapter
    tokens: Tensor
    """`b t d` of `adapter.project`: b samples, or 1 for all. Tokens of several pictures may follow each other."""
    scale: Scale = 1.0
    mask: Tensor | None = None
    """Where it counts, float `h w` from 0 to 1; None: everywhere."""


class Attachment:
    """The processors that picture prompts work through.

    attached = Attachment(unet)
    attached.show([ImagePrompt(adapter, adapter.project(features))])
    unet(latents, times, text)      # any number of times: keys and values were computed once
    attached.detach()
    """

    def __init__(self, denoiser: Any) -> None:
        """Attach to a `UNet2DConditionModel` or a `FluxTransformer2DModel`.

        Raises:
            ConfigError: it has no place for prompts, or has been attached to already.
        """
        self.layers = layers_of(denoiser)
        before, processor = denoiser.attn_processors, PROCESSORS[self.layers[0].kind]
        if any(isinstance(each, processor) for each in before.values()):
            raise ConfigError(
                "the denoiser has an attachment already",
                do="show several prompts at once through that one, or detach it first",
            )
        self.processors = {
            layer.position: processor(before[f"{layer.name}.processor"]) for layer in self.layers
        }
        for layer in self.layers:
            layer.module.set_processor(self.processors[layer.position])

    def show(self, prompts: Sequence[ImagePrompt]) -> None:
        """Compute keys and values of picture prompts, in place of any shown before.

        Gradients reach the adapters where they are on. A layer where a prompt's scale is 0 skips that prompt, so that
        with scale 0 everywhere the denoiser answers as without prompts, bit for bit.

        Raises:
            ConfigError: a scale, a mask or tokens are not as they should be.
            CheckpointError: an adapter is made for another denoiser.
        """
        branches: dict[int, list[Branch]] = {layer.position: [] for layer in self.layers}
        appended: dict[int, list[Tensor]] = {layer.position: [] for layer in self.layers}
        for prompt in prompts:
            prompt.adapter.require_fits(self.layers)
            _require_tokens(prompt)
            scales = self._scales(prompt.scale)
            region = None if prompt.mask is None else Region(prompt.mask.to(prompt.tokens.device))
            if prompt.adapter.config.form == "concatenated":
                _require_whole(scales, region)
                for position in (place for place, scale in scales.items() if scale):
                    appended[position].append(prompt.tokens)
                continue
            if not any(scales.values()):
                continue
            computed = prompt.adapter.keys_values(prompt.tokens)
            for layer in self.layers:
                if scale := scales[layer.position]:
                    keys, values = computed[layer.position]
                    branch = Branch.of(keys, values, layer.module.heads, scale, region)
                    branches[layer.position].append(branch)
        for position, processor in self.processors.items():
            processor.branches = tuple(branches[position])
            processor.appended = tuple(appended[position])

    def clear(self) -> None:
        """Show no prompts."""
        self.show([])

    def detach(self) -> None:
        """Give the layers back the processors that they had."""
        for layer in self.layers:
            layer.module.set_processor(self.processors[layer.position].original)

    def _scales(self, scale: Scale) -> dict[int, float]:
        if isinstance(scale, (int, float)):
            _require_scale(scale)
            return {layer.position: float(scale) for layer in self.layers}
        names = [layer.name for layer in self.layers]
        for start, value in scale.items():
            _require_scale(value)
            if not any(_begins(name, start) for name in names):
                parts = [".".join(name.split(".")[:count]) for name in names for count in (1, 2, 4)]
                close = nearest(start, dict.fromkeys(parts))
                raise ConfigError(
                    f"no {CALLED[self.layers[0].kind]} begins with '{start}'",
                    do=f"did you mean '{close}'" if close else f"names look like '{names[0]}'",
                )
        return {
            layer.position: max(
                ((len(start), value) for start, value in scale.items() if _begins(layer.name, start)),
                default=(0, 0.0),
            )[1]
            for layer in self.layers
        }


def layers_of(denoiser: Any) -> tuple[Layer, ...]:
    """Where pictures speak in a denoiser of either kind.

    Raises:
        ConfigError: there is no such place.
    """
    if isinstance(denoiser, FluxTransformer2DModel):
        return double_layers(denoiser)
    return cross_layers(denoiser)


def _begins(name: str, start: str) -> bool:
    return name == start or name.startswith(start + ".")


def _require_scale(value: float) -> None:
    if not 0 <= value < float("inf"):  # NaN is neither
        raise ConfigError(f"scale = {value} is out of range", do="choose 0 or more; 1 is as trained")


def _require_tokens(prompt: ImagePrompt) -> None:
    tokens, width = prompt.tokens, prompt.adapter.config.text_width
    if tokens.ndim != 3 or tokens.shape[-1] != width:
        raise ConfigError(
            f"image tokens have the shape {tuple(tokens.shape)}",
            do=f"give what `project` returns: samples x tokens x {width}",
        )
    # Reading a value waits for the accelerator, so that a training does not do it at every step.
    if not torch.is_grad_enabled() and not bool(torch.isfinite(tokens).all()):
        raise ConfigError(
            "image tokens are not finite", do="check the image features and the adapter's weights"
        )


def _require_whole(scales: Mapping[int, float], region: Region | None) -> None:
    if region is not None or any(scale not in (0, 1) for scale in scales.values()):
        raise ConfigError(
            "concatenated tokens have no scale and no mask of their own",
            do="choose scale 0 or 1 without a mask, or an adapter of the decoupled form",
        )
