"""One lock round every model that transformers or diffusers load.

While these libraries load a model they replace functions of torch for the whole process (initialisers,
`linspace`, the default dtype) and put them back afterwards. Two loads at a time put back each other's
replacements: models come out with weights that were never read, and later loads in the process are broken
too.
"""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from visionsmith.errors import CheckpointError, VisionsmithError

__all__ = ["library_load", "opening", "require_loaded"]

_LOCK = threading.RLock()

CREATORS = ("arange", "empty", "full", "linspace", "ones", "rand", "randn", "tensor", "zeros")
"""Functions of torch that are replaced while a model is built without memory."""

Original = tuple[Any, str, Any]
"""Owner, attribute, and what the attribute was before any load."""


@contextmanager
def library_load() -> Iterator[None]:
    """Hold the lock while a model is loaded, and see to it that torch is afterwards what it was.

        with library_load():
            model = CLIPModel.from_pretrained(folder)

    A thread may enter it again. What a load outside of it left replaced is put back first, with a warning.

    Raises:
        VisionsmithError: the load left torch changed. It has been put back, but the model may be incomplete.
    """
    with _LOCK:
        if leaked := _put_back():
            warnings.warn(
                f"a load outside of library_load() had left torch changed ({_some(leaked)}); it was put back",
                RuntimeWarning,
                stacklevel=3,
            )
        dtype, device = torch.get_default_dtype(), torch.get_default_device()
        finished = False
        try:
            yield
            finished = True
        finally:
            changed = _put_back() + _put_back_defaults(dtype, device)
        if finished and changed:
            raise VisionsmithError(
                f"loading a model left torch changed ({_some(changed)}); it was put back",
                do="load the model again, and hold library_load() round every load of the process",
            )


@contextmanager
def opening(folder: Path, kind: str, *, do: str) -> Iterator[None]:
    """`library_load` of a folder; what a library says when it cannot open it becomes one sentence.

        with opening(folder, "CLIP vision tower", do="give one that `save_pretrained` wrote"):
            tower = CLIPVisionModelWithProjection.from_pretrained(folder)

    Args:
        folder: that is opened.
        kind: of model that it should hold.
        do: what to do about it.

    Raises:
        CheckpointError: it cannot be opened.
    """
    try:
        with library_load():
            yield
    except (
        *(OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError),
        SafetensorError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"cannot be opened as a {kind} ({reason})", where=folder, do=do) from error


def require_loaded(model: nn.Module, where: str) -> None:
    """Refuse a model some of whose weights were never read.

    Raises:
        CheckpointError: a parameter or buffer is still on the meta device.
    """
    named = (*model.named_parameters(), *model.named_buffers())
    if unread := [name for name, tensor in named if tensor.is_meta]:
        raise CheckpointError(
            f"{len(unread)} weights were not read ({_some(unread)})", where=where, do="load the model again"
        )


@functools.cache
def _originals() -> tuple[Original, ...]:
    """What the libraries replace while they load, as it is before the first load of the process."""
    from transformers import PreTrainedModel

    initialisers = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]
    importers = [module for name, module in list(sys.modules.items()) if name.startswith("torch.nn.modules.")]
    places = [
        *(
            (module, name)
            for module in (nn.init, *importers)
            for name in initialisers
            if name in vars(module)
        ),
        *((torch, name) for name in CREATORS),
        *((nn.Module, name) for name in ("__init__", "register_parameter", "register_buffer")),
        (nn.Parameter, "__new__"),
        *((PreTrainedModel, name) for name in ("init_weights", "tie_weights")),
    ]
    originals = tuple((owner, name, vars(owner)[name]) for owner, name in places)
    if replaced := [name for _, name, value in originals if "<locals>" in getattr(value, "__qualname__", "")]:
        raise VisionsmithError(
            f"an earlier load outside of library_load() left torch changed ({_some(replaced)})",
            do="start the process again, and hold library_load() round every load",
        )
    return originals


def _put_back() -> list[str]:
    """Restore every replaced function; their names."""
    replaced = [(owner, name, value) for owner, name, value in _originals() if vars(owner)[name] is not value]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    return [f"{owner.__name__}.{name}" for owner, name, _ in replaced]


def _put_back_defaults(dtype: torch.dtype, device: torch.device) -> list[str]:
    changed = []
    if torch.get_default_dtype() != dtype:
        changed.append(f"default dtype {torch.get_default_dtype()}")
        torch.set_default_dtype(dtype)
    if torch.get_default_device() != device:
        changed.append(f"default device {torch.get_default_device()}")
        torch.set_default_device(device)
    return changed


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
