"""Weights in the published layout, both ways.

    image_proj.*                              the projector
    ip_adapter.{n}.to_k_ip.weight, to_v_ip    n: position among `unet.attn_processors` (down, up, middle)
    ip_adapter.{n}.to_k_ip.bias, to_v_ip      of a Flux transformer alone; n: its double block

These are the module's own names, so that a checkpoint of the project is a file that diffusers' `load_ip_adapter` reads.
For Flux it reads the variant "base", and supposes that there are 4 tokens, or 16 of width 4096. XLabs' files for FLUX.1
have names of their own, which are read here and not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.checkpoint import read_tensors
from visionsmith.config import decode
from visionsmith.errors import CheckpointError
from visionsmith.keys import compare_keys
from visionsmith.papers.ip_adapter.adapter import IPAdapter
from visionsmith.papers.ip_adapter.config import IPAdapterConfig
from visionsmith.papers.ip_adapter.header import (
    encoder_by_width,
    family,
    published_name,
    read_header,
    recognise,
)

__all__ = ["export", "from_official", "load_adapter"]


def from_official(state: Mapping[str, Tensor], config: IPAdapterConfig | None = None) -> IPAdapter:
    """An adapter of weights in the published layout, in float32.

    Args:
        state: the weights; XLabs' names do as well.
        config: the sizes; None: they are recognised.

    Raises:
        CheckpointError: the weights are of another variant, base or encoder than the sizes (both are named), are of a
            variant that is not built here, or are not finite.
    """
    state = {published_name(name): value for name, value in state.items()}
    if config is None:
        config = recognise({name: tuple(value.shape) for name, value in state.items()}).config()
    with torch.device("meta"):
        adapter = IPAdapter(config)
    report = compare_keys(adapter.state_dict(), state)
    if not report.fits:
        raise CheckpointError(
            f"the weights are {_described(state)}, and the adapter to fill is {_sizes(config)}: {report}",
            do="choose the variant, base and image encoder that the weights were trained with",
        )
    if broken := [name for name, value in state.items() if not bool(torch.isfinite(value).all())]:
        raise CheckpointError(
            f"{len(broken)} weights are not finite ({broken[0]}, ...)",
            do="take an earlier checkpoint, or copy the file again",
        )
    adapter.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    return adapter.eval()


def export(adapter: IPAdapter) -> dict[str, Tensor]:
    """The weights in the published layout, in their own dtype; write them with `safetensors.torch.save_file`."""
    return {name: value.detach().cpu().contiguous() for name, value in adapter.state_dict().items()}


def load_adapter(source: str | Path) -> IPAdapter:
    """Open a checkpoint of the project or a published safetensors file.

    Raises:
        CheckpointError: it is a pickle, is damaged, or is no adapter that is built here; says what it is.
    """
    path = Path(source)
    if path.is_dir():
        found = checkpoint.read(path, paper="ip_adapter")
        config = decode(IPAdapterConfig, found.config, where=str(path))
        return _placed(path, found.tensors(), config)
    header = read_header(path)
    try:
        config = recognise(header).config()
    except CheckpointError as error:
        raise CheckpointError(error.what, where=path, do=error.do) from error
    return _placed(path, read_tensors(path), config)


def _placed(path: Path, state: Mapping[str, Tensor], config: IPAdapterConfig) -> IPAdapter:
    try:
        return from_official(state, config)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=path, do=error.do) from error


def _described(state: Mapping[str, Tensor]) -> str:
    try:
        return str(recognise({name: tuple(value.shape) for name, value in state.items()}))
    except CheckpointError as error:
        return f"of no known kind ({error.what})"


def _sizes(config: IPAdapterConfig) -> str:
    return (
        f"'{config.variant}' with {config.tokens} tokens for "
        f"{family(config.denoiser, config.text_width, config.widths)}, "
        f"with {encoder_by_width(config.variant, config.image_width)}"
    )
