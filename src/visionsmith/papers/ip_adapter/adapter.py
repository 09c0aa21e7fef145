"""The adapter: all that learns, under the published names.

Axes: b pictures, t image tokens, d text width, w width of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.ip_adapter.attachment import CALLED, Attachment, layers_of
from visionsmith.papers.ip_adapter.attention import CrossLayer, Layer
from visionsmith.papers.ip_adapter.config import IPAdapterConfig
from visionsmith.papers.ip_adapter.header import family
from visionsmith.papers.ip_adapter.projector import make_projector

__all__ = ["IPAdapter", "config_for"]


class IPAdapter(nn.Module):
    """A projector, and two projections (keys and values) for each cross-attention layer (figure 2).

    Of a Flux transformer the layers are its double blocks, and values start at zero: a new adapter changes nothing.

    adapter = IPAdapter(config_for(unet, image_width=1024))
    adapter.copy_from(unet)
    attached = adapter.attach(unet)
    attached.show([ImagePrompt(adapter, adapter.project(features))])
    """

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.image_proj = make_projector(config)
        decoupled = config.form == "decoupled"
        layers = zip(config.positions, config.widths, strict=True) if decoupled else ()
        flux = config.denoiser == "flux"
        self.ip_adapter = nn.ModuleDict(
            {
                str(position): nn.ModuleDict(
                    {
                        "to_k_ip": nn.Linear(config.text_width, width, bias=flux),
                        "to_v_ip": nn.Linear(config.text_width, width, bias=flux),
                    }
                )
                for position, width in layers
            }
        )
        if flux:
            for position in config.positions:
                values = self._linear(position, "to_v_ip")
                nn.init.zeros_(values.weight)
                nn.init.zeros_(values.bias)

    @torch.no_grad()
    def copy_from(self, denoiser: Any) -> None:
        """Start keys and values as copies of the layers' own (sec. 3.2.2).

        DIFFERS: the blocks of a Flux transformer read text states of its own width, and an adapter's tokens have the
        width of T5's, so that there is nothing to copy: keys stay random and values 0.

        Raises:
            CheckpointError: the adapter is made for another denoiser.
        """
        layers = layers_of(denoiser)
        self.require_fits(layers)
        if self.config.form == "concatenated":
            return
        for layer in layers:
            if not isinstance(layer, CrossLayer):
                continue
            self._linear(layer.position, "to_k_ip").weight.copy_(layer.module.to_k.weight)
            self._linear(layer.position, "to_v_ip").weight.copy_(layer.module.to_v.weight)

    def attach(self, denoiser: Any) -> Attachment:
        """Attach to a `UNet2DConditionModel` or a `FluxTransformer2DModel`; its weights and class stay as they are.

        Raises:
            CheckpointError: the adapter is made for another denoiser.
            ConfigError: the denoiser has an attachment already.
        """
        self.require_fits(layers_of(denoiser))
        return Attachment(denoiser)

    def project(self, features: Tensor) -> Tensor:
        """Image features to tokens `b t d`.

        Args:
            features: of "base" `b i`, of the others `b s i`.

        Raises:
            ConfigError: they have another shape, or (where gradients are off) are not finite.
        """
        self._require_features(features)
        dtype = next(self.image_proj.parameters()).dtype
        found: Tensor = self.image_proj(features.to(dtype))
        return found

    def keys_values(self, tokens: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values `b t w` of every layer by its position, in one product of matrices.

        Args:
            tokens: `b t d`.
        """
        kinds = ("to_k_ip", "to_v_ip")
        linears = [self._linear(position, kind) for position in self.config.positions for kind in kinds]
        weight = torch.cat([linear.weight for linear in linears])
        biased = self.config.denoiser == "flux"
        bias = torch.cat([linear.bias for linear in linears]) if biased else None
        sizes = [linear.out_features for linear in linears]
        parts = iter(torch.split(F.linear(tokens, weight, bias), sizes, dim=-1))
        return {position: (next(parts), next(parts)) for position in self.config.positions}

    def require_fits(self, layers: Sequence[Layer]) -> None:
        """Refuse a denoiser that the adapter is not made for.

        Raises:
            CheckpointError: its layers have other places or sizes; names both families.
        """
        config, first = self.config, layers[0]
        sizes = tuple(layer.width for layer in layers)
        ours = family(config.denoiser, config.text_width, config.widths)
        theirs = family(first.kind, first.text_width, sizes)
        if config.denoiser != first.kind:
            raise CheckpointError(
                f"the adapter is made for {ours}, and the denoiser is {theirs}",
                do=f"choose an adapter for {theirs}, or another base",
            )
        if config.text_width != first.text_width:
            raise CheckpointError(
                f"the adapter is made for {ours}, and the denoiser is {theirs}",
                do=f"choose an adapter for a text width of {first.text_width}, or another denoiser",
            )
        if tuple(layer.position for layer in layers) != config.positions or sizes != config.widths:
            raise CheckpointError(
                f"the adapter is made for {len(config.widths)} {CALLED[first.kind]}s of widths "
                f"{_short(config.widths)}, and the denoiser has {len(sizes)} of widths {_short(sizes)}",
                do="choose the denoiser that the adapter was trained on, or one tuned from it",
            )

    def _linear(self, position: int, kind: str) -> nn.Linear:
        layer = self.ip_adapter[str(position)]
        assert isinstance(layer, nn.ModuleDict)
        found = layer[kind]
        assert isinstance(found, nn.Linear)
        return found

    def _require_features(self, features: Tensor) -> None:
        wanted = self.config.features
        found = tuple(features.shape[1:])
        fits = len(found) == len(wanted) and all(
            there is None or here == there for here, there in zip(found, wanted, strict=True)
        )
        if not fits:
            shape = " x ".join("states" if size is None else str(size) for size in wanted)
            raise ConfigError(
                f"image features of a picture have the shape {found}, and this '{self.config.variant}' adapter "
                f"takes {shape}",
                do="use the image encoder that the adapter was trained with",
            )
        # Reading a value waits for the accelerator, so that a training does not do it at every step.
        if not torch.is_grad_enabled() and not bool(torch.isfinite(features).all()):
            raise ConfigError("image features are not finite", do="check the picture and the image encoder")


def config_for(denoiser: Any, **settings: Any) -> IPAdapterConfig:
    """Sizes of an adapter for a denoiser.

    Args:
        denoiser: a `UNet2DConditionModel` or a `FluxTransformer2DModel`.
        settings: further fields of the config.
    """
    layers = layers_of(denoiser)
    return IPAdapterConfig(
        denoiser=layers[0].kind,
        text_width=layers[0].text_width,
        positions=tuple(layer.position for layer in layers),
        widths=tuple(layer.width for layer in layers),
        **settings,
    )


def _short(widths: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(widths))))
