"""What is trained for edits: low-rank updates beside the layers of a transformer, and how they are attached to it.

Which layers (the published weights; their parameters are counted in the tests):

    x_embedder
    transformer_blocks.{i}          norm1.linear, attn.to_q, to_k, to_v, to_out.0, ff.net.2
    single_transformer_blocks.{i}   norm.linear, attn.to_q, to_k, to_v, proj_mlp, proj_out

With experts, ff.net.2 and proj_out get a mixture in place of the plain update: the paper speaks of the attention's
output projection (sec. 3.3), and the public code, whose count of parameters is the published one, of these.

The names of a module are those of the published weights, but for the experts, which are stacked.

Axes: b samples, e experts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.icedit.config import AdapterConfig
from visionsmith.papers.icedit.experts import ExpertLowRank, LowRank, Routing

__all__ = ["Adapter", "Attachment", "Layers", "Usage", "adapter_for", "layers_of", "sizes_of"]

Layers = Mapping[str, tuple[int, int]]
"""Linear layers by name, e.g. "transformer_blocks.0.attn.to_q": outputs and inputs, as in the shape of the weight."""

LAYER = re.compile(
    r"x_embedder"
    r"|transformer_blocks\.\d+\.(norm1\.linear|attn\.to_[qkv]|attn\.to_out\.0|ff\.net\.2)"
    r"|single_transformer_blocks\.\d+\.(norm\.linear|attn\.to_[qkv]|proj_mlp|proj_out)"
)
EXPERT = re.compile(r"transformer_blocks\.\d+\.ff\.net\.2|single_transformer_blocks\.\d+\.proj_out")


class Adapter(nn.Module):
    """The updates by the name of their layer. They begin as zeros.

    adapter = adapter_for(transformer, AdapterConfig(experts=4))
    attached = adapter.attach(transformer)
    transformer(...)            # with the updates
    attached.detach()
    """

    def __init__(self, config: AdapterConfig, layers: Layers) -> None:
        super().__init__()
        self.config = config
        # Optimisers know parameters by their order, which is not to depend on where the layers were read.
        self.layers = dict(sorted(layers.items(), key=lambda layer: _order(layer[0])))
        self.transformer = nn.ModuleDict()
        for name, (outputs, inputs) in self.layers.items():
            _place(self.transformer, name, _made(config, name, inputs, outputs))

    def updates(self) -> dict[str, LowRank | ExpertLowRank]:
        """The update of each layer by the layer's name."""
        found: dict[str, LowRank | ExpertLowRank] = {}
        for name in self.layers:
            update = self.transformer.get_submodule(name)
            assert isinstance(update, LowRank | ExpertLowRank)
            found[name] = update
        return found

    def attach(self, transformer: Any) -> Attachment:
        """Attach to a `FluxTransformer2DModel`, whose weights, names and class stay as they are.

        Raises:
            CheckpointError: the adapter is made for a transformer of other sizes; names both.
            ConfigError: it is no transformer of this kind, or has an adapter attached already.
        """
        self.require_fits(transformer)
        return Attachment(self, transformer)

    def require_fits(self, transformer: Any) -> None:
        """Refuse a transformer that the adapter is not made for.

        Raises:
            CheckpointError: it has other layers; names the sizes of both.
            ConfigError: it is no transformer of this kind.
        """
        found = layers_of(transformer)
        if found == self.layers:
            return
        names = self.layers | found
        odd = next(name for name in names if self.layers.get(name) != found.get(name))
        raise CheckpointError(
            f"the adapter is made for {sizes_of(self.layers)}, and the transformer has {sizes_of(found)} "
            f"({odd} is {_size(self.layers.get(odd))} there and {_size(found.get(odd))} here)",
            do="choose the transformer that the adapter was trained on, or one tuned from it",
        )


class Usage:
    """How many tokens took each expert, added up over forward passes."""

    def __init__(self) -> None:
        self.counts: dict[str, Tensor] = {}
        """By layer, int64 `b e`. The samples of all passes are added up, so that each pass has the same."""

    def add(self, name: str, routing: Routing) -> None:
        """Count the tokens of a layer.

        Raises:
            ConfigError: the passes have different numbers of samples.
        """
        counts = routing.counts()
        before = self.counts.get(name)
        if before is None:
            self.counts[name] = counts
            return
        if before.shape != counts.shape:
            raise ConfigError(
                f"usage is counted for {len(before)} samples and a pass has {len(counts)}",
                do="count each batch by its own `count_usage`",
            )
        self.counts[name] = before + counts

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers with experts, in the order of their use."""
        return tuple(self.counts)

    def by_layer(self) -> Tensor:
        """Tokens of all samples, int64 `layers e`; empty before the first pass."""
        return self._whole().sum(dim=1)

    def by_sample(self) -> Tensor:
        """Tokens of all layers, int64 `b e`; empty before the first pass."""
        return self._whole().sum(dim=0)

    def _whole(self) -> Tensor:
        if not self.counts:
            return torch.zeros(0, 0, 0, dtype=torch.int64)
        return torch.stack(list(self.counts.values()))


class Attachment:
    """An adapter at work on a transformer."""

    def __init__(self, adapter: Adapter, transformer: Any) -> None:
        """Attach; `Adapter.attach` first looks whether the sizes fit.

        Raises:
            ConfigError: the transformer has an adapter attached already.
        """
        if any(
            isinstance(hook, _Hook) for part in transformer.modules() for hook in part._forward_hooks.values()
        ):
            raise ConfigError(
                "the transformer has an adapter attached already",
                do="detach that one first (`Attachment.detach`)",
            )
        self.adapter = adapter
        self.scale = 1.0
        """Multiplies all updates; at 0 none is computed, and the transformer answers as without an adapter."""
        self._routings: dict[str, Routing] = {}
        self._usage: Usage | None = None
        # Gradient checkpointing runs blocks again in the backward pass. Those are runs of blocks and not of the
        # transformer, and so are not recorded a second time.
        self._running = False
        self._handles = [
            transformer.register_forward_pre_hook(self._begin),
            transformer.register_forward_hook(self._end, always_call=True),
        ]
        for name, update in adapter.updates().items():
            hook = _Hook(self, name, update)
            self._handles.append(transformer.get_submodule(name).register_forward_hook(hook))

    def detach(self) -> None:
        """Leave the transformer as it was. A second call does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._routings.clear()

    def balance(self) -> Tensor:
        """The balance loss of the last forward pass, float32 scalar: the mean over the layers with experts.

        0 without experts, at scale 0, and before the first pass. Without gradient where the router is "published".
        """
        if not self._routings:
            return torch.zeros((), device=next(self.adapter.parameters()).device)
        return torch.stack([routing.balance() for routing in self._routings.values()]).mean()

    @contextmanager
    def count_usage(self) -> Iterator[Usage]:
        """Count which experts the tokens take in the forward passes inside.

        Counting does not wait for the accelerator; reading the counts does.
        """
        before, self._usage = self._usage, Usage()
        try:
            yield self._usage
        finally:
            self._usage = before

    def record(self, name: str, routing: Routing) -> None:
        """Note where the tokens of a layer went."""
        if not self._running:
            return
        self._routings[name] = routing
        if self._usage is not None:
            self._usage.add(name, routing)

    def _begin(self, transformer: nn.Module, given: tuple[Any, ...]) -> None:
        self._routings.clear()
        self._running = True

    def _end(self, transformer: nn.Module, given: tuple[Any, ...], found: Any) -> None:
        self._running = False


class _Hook:
    """Adds an update to what a layer has computed."""

    def __init__(self, attachment: Attachment, name: str, update: LowRank | ExpertLowRank) -> None:
        self.attachment, self.name, self.update = attachment, name, update

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor | None:
        """The sum in the dtype of the layer's output; None leaves that as it is."""
        scale = self.attachment.scale
        if scale == 0:
            return None
        (x,) = given
        if not torch.is_autocast_enabled(x.device.type):
            # A frozen transformer may be of a coarser dtype than weights that learn.
            x = x.to(self.update.lora_A.weight.dtype)
        update: Tensor
        if isinstance(self.update, LowRank):
            update = self.update(x, scale)
        else:
            update, routing = self.update(x, scale)
            self.attachment.record(self.name, routing)
        return found + update.to(found.dtype)


def adapter_for(transformer: Any, config: AdapterConfig) -> Adapter:
    """A new adapter for a `FluxTransformer2DModel`, in float32 on the default device.

    Raises:
        ConfigError: it is no transformer of this kind.
    """
    return Adapter(config, layers_of(transformer))


def layers_of(transformer: Any) -> dict[str, tuple[int, int]]:
    """The layers of a `FluxTransformer2DModel` that get an update, in the order of the module.

    Raises:
        ConfigError: it has none, or they are wrapped by another library's adapter.
    """
    found = {
        name: (part.out_features, part.in_features)
        for name, part in transformer.named_modules()
        if LAYER.fullmatch(name) and isinstance(part, nn.Linear)
    }
    if "x_embedder" not in found:
        raise ConfigError(
            f"a {type(transformer).__name__} has no Linear layer named 'x_embedder'",
            do="give a FluxTransformer2DModel without adapters of another library",
        )
    return found


def sizes_of(layers: Layers) -> str:
    """Blocks and width in words, e.g. "19 dual and 38 single blocks of width 3072 (384 channels in)"."""
    dual = {name.split(".")[1] for name in layers if name.startswith("transformer_blocks.")}
    single = {name.split(".")[1] for name in layers if name.startswith("single_transformer_blocks.")}
    width, channels = layers["x_embedder"]
    return f"{len(dual)} dual and {len(single)} single blocks of width {width} ({channels} channels in)"


def _made(config: AdapterConfig, name: str, inputs: int, outputs: int) -> LowRank | ExpertLowRank:
    if config.experts and EXPERT.fullmatch(name):
        return ExpertLowRank(
            inputs, outputs, config.rank, config.alpha, experts=config.experts, router=config.router
        )
    return LowRank(inputs, outputs, config.rank, config.alpha)


def _place(root: nn.ModuleDict, name: str, update: nn.Module) -> None:
    """Put an update where its dotted name says."""
    *parents, last = name.split(".")
    node = root
    for parent in parents:
        if parent not in node:
            node[parent] = nn.ModuleDict()
        inner = node[parent]
        assert isinstance(inner, nn.ModuleDict)
        node = inner
    node[last] = update


def _order(name: str) -> tuple[tuple[int, str], ...]:
    """Numbers in a name by their value."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in name.split("."))


def _size(size: tuple[int, int] | None) -> str:
    return "absent" if size is None else f"{size[1]} to {size[0]}"
