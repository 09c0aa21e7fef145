"""Several models in one device's memory, one after the other; and a cache emptied where it is, not elsewhere.

with on_device(text_encoder, "cuda:1"):
    embedding = text_encoder(tokens)
# back where it was, and its memory is free for the next
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from visionsmith.errors import ConfigError

__all__ = ["empty_cache", "on_device", "require_device"]

Module = TypeVar("Module", bound=nn.Module)


def require_device(device: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: there is no such device on this machine, or the name is none.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"'{device}' is not a device", do="write cpu, cuda, cuda:1 or mps") from error
    backend = getattr(torch, found.type, None)
    if found.type in ("cuda", "xpu", "mps"):
        count = backend.device_count() if backend is not None else 0
        if (found.index or 0) >= count:
            have = (
                f"this machine has {count} of that kind" if count else "this machine, or this torch, has none"
            )
            raise ConfigError(
                f"there is no device '{device}': {have}", do="visionsmith doctor --deep shows what torch sees"
            )
    return found


def empty_cache(device: str | torch.device) -> None:
    """Give the memory that torch keeps for later back to one device, without waking another.

    `torch.cuda.empty_cache()` works with the current device set, GPU 0 unless one was chosen, and sets up a context
    there: some hundred MB on a GPU that the process does not use, or an error when that is full
    (pytorch/pytorch#25752, #144025). Nothing is done for a device on which this process has not worked.
    """
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
    elif device.type == "xpu" and torch.xpu.is_initialized():  # type: ignore[no-untyped-call]
        with torch.xpu.device(device):
            torch.xpu.empty_cache()
    elif device.type == "mps" and torch.backends.mps.is_available():
        torch.mps.empty_cache()


@contextmanager
def on_device(model: Module, device: str | torch.device) -> Iterator[Module]:
    """Move a model to a device, and back when done, also after an error; then free what it took there.

    Args:
        model: all its weights and buffers on one device.
        device: where it works meanwhile. When that is where it is already, it stays.

    Raises:
        ConfigError: there is no such device, or the model lies on several.
    """
    target = require_device(device)
    home = _home(model, target)
    try:
        yield model.to(target)
    finally:
        model.to(home)
        if home != target:
            # What refers to the model in a circle is freed only by a collection, and memory before a cache.
            gc.collect()
            empty_cache(target)


def _home(model: nn.Module, otherwise: torch.device) -> torch.device:
    places = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if len(places) > 1:
        names = ", ".join(sorted(map(str, places)))
        raise ConfigError(f"the model lies on several devices ({names})", do="move it to one first")
    return places.pop() if places else otherwise
