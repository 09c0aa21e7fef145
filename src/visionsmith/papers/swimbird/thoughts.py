"""What the frozen tower sees in thought pictures, computed once and kept in a record store.

The targets of the thoughts never change while the tower is frozen, so no step needs their pictures again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from visionsmith.data import sample
from visionsmith.data.records import RecordStore
from visionsmith.data.records.pack import open_or_make, pack
from visionsmith.papers.swimbird.patches import cut, square

if TYPE_CHECKING:
    from visionsmith.papers.swimbird.dialogues import Dialogue
    from visionsmith.papers.swimbird.model import SwimBird

__all__ = ["KeptThoughts", "keep_thoughts"]


class KeptThoughts:
    """`kept[index]` -> what the tower saw in each thought picture of a dialogue, float16 `k d`."""

    def __init__(self, store: RecordStore) -> None:
        self.store = store

    def __getitem__(self, index: int) -> list[Tensor]:
        record = self.store[index]
        width, counts = record.meta["width"], record.meta["counts"]
        whole = torch.from_numpy(np.frombuffer(record.image, dtype=np.float16).reshape(-1, width).copy())
        return list(torch.split(whole, counts))


def keep_thoughts(
    model: SwimBird, dialogues: Sequence[Dialogue], folder: Path, *, progress: bool = False
) -> KeptThoughts:
    """The thoughts of a list of dialogues; computed where they are not there yet. An interrupted call goes on.

    Args:
        model: whose tower sees; another tower, budget or list makes another store.
        dialogues: with their files.
        folder: where the store goes.
        progress: whether to show a bar.
    """
    path = folder / f"thoughts-{_digest(model, dialogues)}.records"

    def make() -> None:
        pack(_seen(model, dialogues), path, progress=progress, total=len(dialogues), check=False)

    return KeptThoughts(open_or_make(path, make))


def _seen(model: SwimBird, dialogues: Sequence[Dialogue]) -> Iterator[sample.Sample]:
    config = model.config
    for index, dialogue in enumerate(dialogues):
        found = [torch.empty(0, config.text.hidden_size)]
        for turn in dialogue.read(questions=False):
            for picture in turn.pictures:
                most = config.max_latent_token
                shown = square(picture, config.vision, most=most) if config.fixed_latent else picture
                part = cut(shown, config.vision, least=1, most=most)
                found.append(
                    model.thoughts_of(part.values.to(model.device), part.grids.to(model.device)).cpu()
                )
        whole = torch.cat(found).half().numpy()
        meta = {"width": config.text.hidden_size, "counts": [len(each) for each in found[1:]]}
        yield sample.Sample(f"{index:08d}", image=whole.tobytes(), meta=meta)


def _digest(model: SwimBird, dialogues: Sequence[Dialogue]) -> str:
    """Sixteen hex digits of the tower's weights, the budget, and the dialogues with the size and age of their files."""
    digest = hashlib.sha256(
        repr((model.config.vision, model.config.max_latent_token, model.config.fixed_latent)).encode()
    )
    for name, value in sorted(model.qwen.model.visual.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for dialogue in dialogues:
        files = [file.stat() for role, _, named in dialogue.turns if role != "user" for file in named]
        ages = [(state.st_size, state.st_mtime_ns) for state in files]
        digest.update(repr((dialogue.turns, ages)).encode())
    return digest.hexdigest()[:16]
