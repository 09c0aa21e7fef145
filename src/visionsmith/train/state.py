"""The complete state of a run: saved without pickles, restored bit for bit.

step-00000200/
  model.safetensors  optimizer.safetensors  [ema.safetensors]  random.safetensors
  progress.json   {"step": 200, "stage": 0, ...}, parameter groups, loss scale
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import save
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from visionsmith import checkpoint
from visionsmith.errors import CheckpointError
from visionsmith.train.ema import Ema

__all__ = ["load_state", "model_state", "save_state"]

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """The whole state dict on the CPU, without any wrapper's prefix; to be called by every process at once."""
    state = get_model_state_dict(model, options=_WHOLE)
    # Detached copies: the running model must not change what is about to be written, and tied tensors must not alias.
    return {name: _copy(tensor) for name, tensor in state.items() if isinstance(tensor, Tensor)}


def save_state(
    folder: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    progress: dict[str, Any],
) -> None:
    """Write the state; to be called by every process at once."""
    files = {"model.safetensors": model_state(model)}
    if ema is not None:
        with ema.applied():
            files["ema.safetensors"] = model_state(model)
    optimizer_state = get_optimizer_state_dict(model, optimizer, options=_WHOLE)
    files["random.safetensors"] = _random_states(accelerator)
    if not accelerator.is_main_process:  # only the main process is given the whole
        return
    files["optimizer.safetensors"], plain = _flatten(optimizer_state)
    content = {
        **progress,
        "optimizer": plain,
        "ema_updates": ema.updates if ema is not None else None,
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
    }
    payload = {name: save(tensors) for name, tensors in files.items()}
    payload["progress.json"] = json.dumps(content).encode()
    checkpoint.write_folder(folder, payload)


def read_progress(folder: Path) -> dict[str, Any]:
    """The plain part of a saved state."""
    content = json.loads((folder / "progress.json").read_text())
    assert isinstance(content, dict)
    return content


def load_state(
    folder: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    ema: Ema | None,
) -> dict[str, Any]:
    """Restore the state in place and return the plain part; to be called by every process at once.

    Args:
        folder: an undamaged state.
        accelerator: of this process.
        model: wrapped or not.
        optimizer: None when the next stage begins with a new one.
        ema: None when the run keeps no average.
    """
    content = read_progress(folder)
    if ema is not None:
        _load_model(folder / "ema.safetensors", model)
        with torch.no_grad():
            for live, shadow in zip(ema.live, ema.shadow, strict=True):
                shadow.copy_(live)
        ema.updates = content["ema_updates"]
    _load_model(folder / "model.safetensors", model)
    if optimizer is not None:
        state = _unflatten(checkpoint.read_tensors(folder / "optimizer.safetensors"), content["optimizer"])
        _load_optimizer(model, optimizer, state)
    if accelerator.scaler is not None and content["scaler"]:
        accelerator.scaler.load_state_dict(content["scaler"])
    random = checkpoint.read_tensors(folder / "random.safetensors")
    rank = accelerator.process_index
    processes = sum(name.startswith("cpu.") for name in random)
    if processes != accelerator.num_processes:
        raise CheckpointError(
            f"was saved by {processes} processes, not {accelerator.num_processes}",
            where=folder,
            do="resume with the same number of processes",
        )
    torch.set_rng_state(random[f"cpu.{rank}"])
    if f"cuda.{rank}" in random and accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(random[f"cuda.{rank}"], accelerator.device)
    return content


def _copy(tensor: Tensor) -> Tensor:
    """A copy in the plain memory order, which is all that safetensors knows."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _load_model(file: Path, model: nn.Module) -> None:
    set_model_state_dict(model, checkpoint.read_tensors(file), options=StateDictOptions(full_state_dict=True))


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's state. A parameter that has had no gradient yet has none, as it had none when saved."""
    # The file has been verified, so that what it lacks was not there; torch makes up a state for it.
    options = StateDictOptions(full_state_dict=True, strict=False)
    known = set(state["state"])
    set_optimizer_state_dict(model, optimizer, state, options=options)
    for name, parameter in model.named_parameters():
        if name.removeprefix("module.") not in known:
            optimizer.state.pop(parameter, None)


def _random_states(accelerator: Accelerator) -> dict[str, Tensor]:
    own = {f"cpu.{accelerator.process_index}": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        own[f"cuda.{accelerator.process_index}"] = torch.cuda.get_rng_state(accelerator.device)
    return dict(gather_object(list(own.items())))


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Optimiser state -> tensors by "parameter|slot", and the parameter groups as plain values."""
    tensors = {
        f"{parameter}|{slot}": _copy(value.cpu())
        for parameter, slots in state["state"].items()
        for slot, value in slots.items()
    }
    return tensors, {"param_groups": state["param_groups"]}


def _unflatten(tensors: dict[str, Tensor], plain: dict[str, Any]) -> dict[str, Any]:
    slots: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter, _, slot = name.rpartition("|")
        slots.setdefault(parameter, {})[slot] = value
    return {"state": slots, "param_groups": plain["param_groups"]}
