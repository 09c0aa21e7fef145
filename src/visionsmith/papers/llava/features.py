"""What the frozen tower sees, computed once and kept in a record store: the first stage then runs no tower at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data import sample
from visionsmith.data.records import RecordStore
from visionsmith.data.records.pack import open_or_make, pack
from visionsmith.data.sampler import Key
from visionsmith.papers.clip import normalise
from visionsmith.papers.llava.conversation import Layout, encode
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.llava.samples import Conversations, Sample

__all__ = ["SeenDataset", "seen_store", "tower_digest"]

BATCH = 64


class SeenDataset(Dataset[Sample]):
    """`dataset[(epoch, index)]` -> a `Sample` with what the tower has seen."""

    def __init__(self, source: Conversations, layout: Layout, seen: RecordStore) -> None:
        self.source, self.layout, self.seen = source, layout, seen

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: Key) -> Sample:
        record = self.seen[key[1]]
        shape = tuple(record.meta["shape"])
        features = np.frombuffer(record.image, dtype=np.float16).reshape(shape)
        encoded = encode(self.source.turns(key), self.layout, pictures=len(features))
        return Sample(encoded, features=list(features))


def tower_digest(llava: Llava) -> str:
    """Eight hex digits that tell towers apart, by weights, size of picture and the state that is used."""
    digest = hashlib.sha256(repr((llava.config.vision, llava.config.select_layer)).encode())
    for name, value in sorted(llava.vision.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:8]


def seen_store(
    llava: Llava, source: Conversations, folder: Path, *, mark: str = "", progress: bool = False
) -> RecordStore:
    """The store of what the tower sees in every picture of a source; made where it is not there yet.

    Its name carries the tower's digest and the source's mark, so another tower or other pictures make another store.
    An interrupted call goes on.

    Args:
        llava: whose tower it is.
        source: pictures that are the same in every epoch.
        folder: where the store goes.
        mark: tells the pictures of sources apart.
        progress: whether to show a bar.
    """
    path = folder / f"seen-{tower_digest(llava)}-{len(source)}{mark}.records"

    def make() -> None:
        attributes = {"tower": tower_digest(llava), "select_layer": llava.config.select_layer}
        pack(
            _seen(llava, source),
            path,
            attributes=attributes,
            progress=progress,
            total=len(source),
            check=False,
        )

    return open_or_make(path, make)


def _seen(llava: Llava, source: Conversations) -> Iterator[sample.Sample]:
    for start in range(0, len(source), BATCH):
        pictures = [source.pictures((0, index)) for index in range(start, min(start + BATCH, len(source)))]
        held = [picture for several in pictures for picture in several]
        features: Tensor = (
            llava.look(normalise(torch.from_numpy(np.stack(held)))).half().cpu() if held else torch.empty(0)
        )
        done = 0
        for place, several in enumerate(pictures):
            own = features[done : done + len(several)].numpy().astype(np.float16)
            done += len(several)
            yield sample.Sample(f"{start + place:08d}", image=own.tobytes(), meta={"shape": list(own.shape)})
