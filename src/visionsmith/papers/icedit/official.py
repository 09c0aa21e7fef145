"""Weights in the published layouts, both ways.

    transformer.{layer}.lora_A.weight, lora_B.weight        a plain update: r x inputs, outputs x r
    transformer.{layer}.lora_A.expert_{i}.weight, lora_B.expert_{i}.weight, lora_route.weight (experts x inputs)
    transformer.{layer}.alpha                               only where it is another than the rank

The first is the layout that diffusers' `load_lora_adapter` and `load_lora_weights` read. No library that we know of
reads the second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionsmith.checkpoint import read_tensors
from visionsmith.errors import CheckpointError
from visionsmith.keys import compare_keys
from visionsmith.papers.icedit.adapter import Adapter
from visionsmith.papers.icedit.config import AdapterConfig
from visionsmith.papers.icedit.experts import ExpertLowRank
from visionsmith.vet import refuse_unsafe

__all__ = ["Recognised", "Shapes", "export", "from_official", "load_adapter", "recognise"]

Shapes = Mapping[str, tuple[int, ...]]

PREFIX = "transformer."
ALPHA = ".alpha"
METADATA = "lora_adapter_metadata"
"""Under this name diffusers keeps the settings of an adapter in a file's header."""


@dataclass(frozen=True)
class Recognised:
    """Published weights, by their names and shapes."""

    rank: int
    experts: int
    """0: plain updates alone."""
    dual: int
    """Dual-stream blocks of the transformer that they belong on."""
    single: int
    width: int
    channels: int
    """Of the transformer's input."""
    inner: int
    """Width of the feed-forward layers."""

    def config(self) -> AdapterConfig:
        """The sizes, with alpha = rank, and of experts with the published router."""
        if self.experts:
            return AdapterConfig(
                rank=self.rank, alpha=float(self.rank), experts=self.experts, router="published"
            )
        return AdapterConfig(rank=self.rank, alpha=float(self.rank))

    def layers(self) -> dict[str, tuple[int, int]]:
        """The layers of the transformer that they belong on: outputs and inputs by name."""
        width, inner = self.width, self.inner
        square = dict.fromkeys(("attn.to_q", "attn.to_k", "attn.to_v"), (width, width))
        dual = {
            "norm1.linear": (6 * width, width),
            **square,
            "attn.to_out.0": (width, width),
            "ff.net.2": (width, inner),
        }
        single = {
            "norm.linear": (3 * width, width),
            "proj_mlp": (inner, width),
            "proj_out": (width, width + inner),
            **square,
        }
        return {
            "x_embedder": (width, self.channels),
            **{
                f"transformer_blocks.{i}.{name}": size
                for i in range(self.dual)
                for name, size in dual.items()
            },
            **{
                f"single_transformer_blocks.{i}.{name}": size
                for i in range(self.single)
                for name, size in single.items()
            },
        }

    def __str__(self) -> str:
        return (
            f"of {_kind(self.rank, self.experts)} for {self.dual} dual and {self.single} single blocks of width "
            f"{self.width} ({self.channels} channels in)"
        )


def recognise(shapes: Shapes) -> Recognised:
    """Tell rank, experts, and the sizes of the transformer that weights belong on.

    Args:
        shapes: names and shapes in the published layout; names without "transformer." are taken too.

    Raises:
        CheckpointError: it is no adapter of this kind.
    """
    # All published weights are matrices; others are named by the comparison of names and shapes.
    found = {name.removeprefix(PREFIX): shape for name, shape in shapes.items() if len(shape) == 2}
    try:
        rank, channels = found["x_embedder.lora_A.weight"]
        width, _ = found["x_embedder.lora_B.weight"]
    except KeyError as error:
        raise CheckpointError(
            f"is no LoRA of a FLUX transformer's picture layers: '{PREFIX}x_embedder.lora_A.weight' and lora_B, which "
            "tell the rank and the width, are not there",
            do="give a published ICEdit file, or one that was exported here",
        ) from error
    routes = [shape for name, shape in found.items() if name.endswith(".lora_route.weight")]
    inner = 4 * width
    for name, shape in found.items():
        # With and without experts: the inputs of A are the last axis of either layout.
        if name.startswith("transformer_blocks.") and ".ff.net.2.lora_A." in name:
            inner = shape[-1]
        elif name.endswith(".proj_mlp.lora_B.weight"):
            inner = shape[0]
    return Recognised(
        rank=rank,
        experts=routes[0][0] if routes else 0,
        dual=_blocks(found, "transformer_blocks"),
        single=_blocks(found, "single_transformer_blocks"),
        width=width,
        channels=channels,
        inner=inner,
    )


def from_official(state: Mapping[str, Tensor], config: AdapterConfig | None = None) -> Adapter:
    """An adapter of weights in the published layout, in float32.

    The scale of an update is alpha / rank. Alphas in the file count; where it has none, that of the config counts, and
    without a config alpha is the rank, as in the published files.

    Args:
        state: the weights; names without "transformer." are taken too.
        config: the sizes; None: they are recognised, and experts are of the router "published".

    Raises:
        CheckpointError: the weights are of another rank or number of experts than the sizes (both are named), names are
            missing or unknown (they are listed), or weights are not finite.
    """
    state = {name if name.startswith(PREFIX) else PREFIX + name: value for name, value in state.items()}
    alphas = {
        name.removeprefix(PREFIX).removesuffix(ALPHA): value
        for name, value in state.items()
        if name.endswith(ALPHA)
    }
    state = {name: value for name, value in state.items() if not name.endswith(ALPHA)}
    seen = recognise({name: tuple(value.shape) for name, value in state.items()})
    if config is not None and (config.rank, config.experts) != (seen.rank, seen.experts):
        raise CheckpointError(
            f"the weights are {seen}, and the adapter to fill is of {_kind(config.rank, config.experts)}",
            do="choose the rank and the number of experts that the weights were trained with",
        )
    config = config or seen.config()
    config, factors = _scaled(config, seen, alphas)
    with torch.device("meta"):
        adapter = Adapter(config, seen.layers())
    report = compare_keys(_published(adapter), state)
    unknown = sorted(set(alphas) - set(adapter.layers))
    if unknown:
        raise CheckpointError(
            f"the weights have an alpha of {len(unknown)} layers that have no update ({unknown[0]}, ...)",
            do="take these names out of the file",
        )
    if not report.fits:
        raise CheckpointError(
            f"the weights are {seen}, but not all of their names and shapes are: {report}",
            do="give a published ICEdit file, or one that was exported here",
        )
    if broken := [name for name, value in state.items() if not bool(torch.isfinite(value).all())]:
        raise CheckpointError(
            f"{len(broken)} weights are not finite ({broken[0]}, ...)",
            do="take an earlier checkpoint, or copy the file again",
        )
    adapter.load_state_dict(_stacked(adapter, state, factors), assign=True)
    return adapter.eval()


def export(adapter: Adapter) -> dict[str, Tensor]:
    """The weights in the published layout, in their own dtype; write them with `safetensors.torch.save_file`."""
    written = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in _published(adapter).items()
    }
    if adapter.config.alpha != adapter.config.rank:
        written |= {f"{PREFIX}{name}{ALPHA}": torch.tensor(adapter.config.alpha) for name in adapter.layers}
    return written


def load_adapter(source: str | Path) -> Adapter:
    """Open a safetensors file in a published layout.

    An alpha that diffusers has noted in the file's header counts.

    Raises:
        CheckpointError: it is a folder or a pickle, is damaged, or is no adapter of this kind.
    """
    path = Path(source)
    if not path.is_file():
        raise CheckpointError("is no file", where=path, do="give the path of a safetensors file")
    refuse_unsafe(path, paper="icedit")
    state = read_tensors(path)
    try:
        alpha = _noted_alpha(path)
        if alpha is not None and not any(name.endswith(ALPHA) for name in state):
            seen = recognise({name: tuple(value.shape) for name, value in state.items()})
            return from_official(state, replace(seen.config(), alpha=alpha))
        return from_official(state)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=path, do=error.do) from error


def _published(adapter: Adapter) -> dict[str, Tensor]:
    """The weights as views under the published names."""
    found: dict[str, Tensor] = {}
    for name, update in adapter.updates().items():
        first, second = f"{PREFIX}{name}.lora_A", f"{PREFIX}{name}.lora_B"
        if not isinstance(update, ExpertLowRank):
            found |= {f"{first}.weight": update.lora_A.weight, f"{second}.weight": update.lora_B.weight}
            continue
        parts = zip(
            update.lora_A.weight.chunk(update.experts),
            update.lora_B.weight.chunk(update.experts, dim=1),
            strict=True,
        )
        for expert, (down, up) in enumerate(parts):
            found |= {f"{first}.expert_{expert}.weight": down, f"{second}.expert_{expert}.weight": up}
        found[f"{PREFIX}{name}.lora_route.weight"] = update.lora_route.weight
    return found


def _stacked(
    adapter: Adapter, state: Mapping[str, Tensor], factors: Mapping[str, float]
) -> dict[str, Tensor]:
    """The module's own state dict of published weights; B of a layer times a factor, where there is one."""
    found: dict[str, Tensor] = {}
    for name, update in adapter.updates().items():
        place = PREFIX + name
        first, second = [f"{place}.lora_A.weight"], [f"{place}.lora_B.weight"]
        if isinstance(update, ExpertLowRank):
            first = [f"{place}.lora_A.expert_{expert}.weight" for expert in range(update.experts)]
            second = [f"{place}.lora_B.expert_{expert}.weight" for expert in range(update.experts)]
            found[f"{place}.lora_route.weight"] = state[f"{place}.lora_route.weight"].float()
        up = torch.cat([state[part].float() for part in second], dim=1)
        found[f"{place}.lora_A.weight"] = torch.cat([state[part].float() for part in first])
        found[f"{place}.lora_B.weight"] = up * factors[name] if name in factors else up
    return found


def _scaled(
    config: AdapterConfig, seen: Recognised, alphas: Mapping[str, Tensor]
) -> tuple[AdapterConfig, dict[str, float]]:
    """The config, and by what B of a layer is to be multiplied, so that the alphas of a file are kept."""
    if broken := [
        name for name, value in alphas.items() if value.numel() != 1 or not bool(torch.isfinite(value))
    ]:
        raise CheckpointError(
            f"alpha of '{broken[0]}' is no finite number",
            do="take an earlier checkpoint, or copy the file again",
        )
    values = {name: float(value) for name, value in alphas.items()}
    if len(set(values.values())) == 1 and values.keys() == seen.layers().keys():
        return replace(config, alpha=next(iter(values.values()))), {}
    # Alphas that differ from layer to layer have no place in the config.
    return config, {name: value / config.alpha for name, value in values.items() if value != config.alpha}


def _noted_alpha(path: Path) -> float | None:
    """The alpha in the header of a file that diffusers wrote; None: there is none.

    Raises:
        CheckpointError: the header has alphas of single layers, or cannot be read.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        text = (opened.metadata() or {}).get(METADATA)
    if text is None:
        return None
    try:
        noted: dict[str, Any] = {name.removeprefix(PREFIX): value for name, value in json.loads(text).items()}
        alpha = noted.get("lora_alpha")
        patterns, rooted = noted.get("alpha_pattern"), noted.get("use_rslora")
        found = None if alpha is None else float(alpha)
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the header's '{METADATA}' cannot be read ({error})", do="write the file again without it"
        ) from error
    if patterns or rooted:
        raise CheckpointError(
            "the header notes an alpha of single layers, or one by the root of the rank, which is not read here",
            do="write the file again with one alpha",
        )
    return found


def _blocks(names: Mapping[str, Any], kind: str) -> int:
    """How many blocks of a kind there are."""
    split = (name.split(".") for name in names)
    return len({parts[1] for parts in split if parts[0] == kind and len(parts) > 1})


def _kind(rank: int, experts: int) -> str:
    return f"rank {rank} " + (f"with {experts} experts" if experts else "without experts")
