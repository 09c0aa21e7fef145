"""Which names and shapes of a state dict do not fit a model, and why that may be.

    require_keys(model.state_dict(), state)    # one sentence: what does not fit, and why that may be

A reason is given only where it is seen: a prefix is blamed when the names fit without it, a transposition when the
shape fits turned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from visionsmith.errors import CheckpointError

__all__ = ["KeyReport", "Misshapen", "compare_keys", "reason_by_names", "require_keys"]


class HasShape(Protocol):
    """A tensor of any library."""

    @property
    def shape(self) -> Any:
        """The sizes of its axes."""
        ...


WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "ema",
    "model_ema",
    "params",
    "params_ema",
    "net",
)
"""Names under which training files keep the weights."""

PREFIXES = {
    "module._orig_mod.": "the state of a compiled model in DistributedDataParallel",
    "_orig_mod.module.": "the state of a compiled DistributedDataParallel",
    "module.": "DistributedDataParallel's state",
    "_orig_mod.": "the state of a compiled model",
    "model_ema.": "a moving average's state",
    "ema_model.": "a moving average's state",
    "ema.": "a moving average's state",
    "base_model.model.": "a model wrapped by peft",
    "model.": "the state of an object that holds the model",
    "net.": "the state of an object that holds the model",
}
"""What is put before every name, and by whom; longer ones first."""

LORA = ("lora_A.", "lora_B.", "lora_down.", "lora_up.", ".lora.down.", ".lora.up.", "lora_embedding_")
POSITIONS = ("pos_embed", "position_embedding", "positional_embedding", "relative_position_bias_table")
OUTPUTS = ("head", "classifier", "fc", "logits", "score", "lm_head", "classification_head")


@dataclass(frozen=True)
class Misshapen:
    """A weight of another shape than the model's."""

    key: str
    found: tuple[int, ...]
    expected: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.key} {self.found} instead of {self.expected}"


@dataclass(frozen=True)
class KeyReport:
    """What does not fit."""

    missing: tuple[str, ...]
    """Names that the model has and the state dict has not."""
    unexpected: tuple[str, ...]
    """Names that the state dict has and the model has not."""
    misshapen: tuple[Misshapen, ...]
    reason: str | None
    """What it looks like and what to do; None when nothing is recognised, or all fits."""

    @property
    def fits(self) -> bool:
        """Whether every name and shape is as expected."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        faults = {"missing": self.missing, "unexpected": self.unexpected, "misshapen": self.misshapen}
        parts = [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in faults.items() if keys]
        return ", ".join(parts) or "all names and shapes fit"


def compare_keys(expected: Mapping[str, HasShape], found: Mapping[str, Any]) -> KeyReport:
    """What of a state dict does not fit.

    Args:
        expected: the model's own state dict (it may be on the meta device).
        found: the state dict to be loaded; values without a shape count as unexpected.
    """
    shapes = {key: tuple(value.shape) for key, value in found.items() if hasattr(value, "shape")}
    misshapen = tuple(
        Misshapen(key, shapes[key], tuple(tensor.shape))
        for key, tensor in expected.items()
        if key in shapes and shapes[key] != tuple(tensor.shape)
    )
    missing = tuple(key for key in expected if key not in shapes)
    unexpected = tuple(key for key in found if key not in expected or key not in shapes)
    if not (missing or unexpected or misshapen):
        return KeyReport((), (), (), None)
    return KeyReport(missing, unexpected, misshapen, _reason(expected, found, unexpected, missing, misshapen))


def require_keys(
    expected: Mapping[str, HasShape],
    found: Mapping[str, Any],
    *,
    where: str | Path | None = None,
    otherwise: str | None = None,
) -> None:
    """Refuse a state dict that does not fit.

    Args:
        expected: the model's own state dict.
        found: the state dict to be loaded.
        where: the file that it came from.
        otherwise: what to do when no reason is recognised.

    Raises:
        CheckpointError: a name or shape does not fit; says which, and why that may be.
    """
    report = compare_keys(expected, found)
    if not report.fits:
        raise CheckpointError(
            f"the weights do not fit the model: {report}", where=where, do=report.reason or otherwise
        )


def reason_by_names(names: Iterable[str]) -> str | None:
    """What a state dict looks like, and what to do, judged by its names alone; None when nothing is recognised."""
    names = list(names)
    if not names:
        return None
    if len(names) <= 20 and (wrapper := next((name for name in WRAPPERS if name in names), None)):
        return f"this looks like a training file: give what it holds under '{wrapper}'"
    if any(mark in name for name in names for mark in LORA):
        return "these are LoRA weights, which change a model and are none: load them onto their base model"
    for prefix, maker in PREFIXES.items():
        # These occur as part of no published name, so that one is enough; the others may be a tower's name.
        certain = "module." in prefix or "_orig_mod." in prefix
        if all(name.startswith(prefix) for name in names) or (
            certain and any(name.startswith(prefix) for name in names)
        ):
            return f"this looks like {maker}: remove '{prefix}' from the names"
    return None


def _reason(
    expected: Mapping[str, HasShape],
    found: Mapping[str, Any],
    unexpected: tuple[str, ...],
    missing: tuple[str, ...],
    misshapen: tuple[Misshapen, ...],
) -> str | None:
    if (fitting := _fitting_prefix(expected, found, missing)) is not None:
        return fitting
    if unexpected and all(key.endswith("position_ids") for key in unexpected) and not missing:
        return "an old transformers release kept 'position_ids' as weights: remove these"
    if (by_names := reason_by_names(found)) is not None and (missing or unexpected):
        return by_names
    for judge in (_is_transposed, _has_other_classes, _has_other_positions):
        if misshapen and (reason := judge(misshapen)) is not None:
            return reason
    return None


def _fitting_prefix(
    expected: Mapping[str, HasShape], found: Mapping[str, Any], missing: tuple[str, ...]
) -> str | None:
    """A prefix without which, or with which, every missing name is found."""
    if not missing:
        return None
    for prefix, maker in PREFIXES.items():
        without = {key.removeprefix(prefix) for key in found if key.startswith(prefix)}
        if without.issuperset(missing):
            return f"this looks like {maker}: remove '{prefix}' from the names"
        inner = {key.removeprefix(prefix) for key in missing if key.startswith(prefix)}
        if len(inner) == len(missing) and inner.issubset(found):
            return f"only the model's names begin with '{prefix}': put it before these, or load into the model inside"
    return None


def _is_transposed(misshapen: tuple[Misshapen, ...]) -> str | None:
    turned = [one for one in misshapen if len(one.found) == 2 and one.found == one.expected[::-1]]
    if len(turned) == len(misshapen):
        return "these are stored transposed (as by Conv1D, or a projection x @ W): turn them with .T"
    return None


def _has_other_classes(misshapen: tuple[Misshapen, ...]) -> str | None:
    first = misshapen[0]
    outputs = all(
        _differ_on(one) == [0] and any(part in OUTPUTS for part in one.key.split(".")) for one in misshapen
    )
    if outputs:
        return (
            f"the weights tell {first.found[0]} classes apart and the model {first.expected[0]}: "
            "build it with as many, or leave the output layer out and train it"
        )
    return None


def _has_other_positions(misshapen: tuple[Misshapen, ...]) -> str | None:
    if all(any(mark in one.key for mark in POSITIONS) and len(_differ_on(one)) == 1 for one in misshapen):
        first, axis = misshapen[0], _differ_on(misshapen[0])[0]
        return (
            f"the weights are for {first.found[axis]} positions and the model has {first.expected[axis]}: "
            "build it for the same image size or text length, or resize the positions"
        )
    return None


def _differ_on(one: Misshapen) -> list[int]:
    """The axes on which a weight differs; none when it has another number of axes."""
    if len(one.found) != len(one.expected):
        return []
    return [axis for axis, (a, b) in enumerate(zip(one.found, one.expected, strict=True)) if a != b]


def _some(keys: Iterable[object], most: int = 3) -> str:
    names = [str(key) for key in keys]
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
