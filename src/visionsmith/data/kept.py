"""What a frozen network says of every item, computed once and kept beside the run.

Axes: n items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from visionsmith.checkpoint import read_tensors
from visionsmith.data.progress import DelayedBar
from visionsmith.durable import write_whole

__all__ = ["compute_once"]

T = TypeVar("T")
MARK = "items"


def compute_once(
    items: Sequence[T],
    compute: Callable[[Sequence[T]], Mapping[str, Tensor]],
    *,
    title: str,
    batch: int,
    file: Path | None,
    mark: Tensor,
    progress: bool = False,
) -> dict[str, Tensor]:
    """Tensors of all items, `n ...` each, on the CPU.

    Args:
        items: what they are of.
        compute: some of the items -> tensors by name, a row an item.
        title: of the bar.
        batch: items that are computed at a time.
        file: a safetensors file where they are kept; None: nowhere. A file that does not hold these items, or holds
            other tensors, is replaced.
        mark: integers that say which items they are.
        progress: whether to show a bar.
    """
    if file is not None and file.is_file():
        kept = read_tensors(file)
        if MARK in kept and torch.equal(kept.pop(MARK), mark):
            return kept
    parts: list[Mapping[str, Tensor]] = []
    with DelayedBar(title, len(items), show=progress) as bar:
        for begin in range(0, len(items), batch):
            part = items[begin : begin + batch]
            parts.append(compute(part))
            bar.advance(len(part))
    found = {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
    if file is not None:
        from safetensors.torch import save

        write_whole(file, save({MARK: mark, **found}))
    return found
