"""From a data set to advice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visionsmith.data.advice.batches import Dropped, LastBatch, dropped, last_batch, neighbours
from visionsmith.data.advice.classes import Balance, balance, read_pictures
from visionsmith.data.advice.loading import Loading, measure_loading, steps
from visionsmith.data.builtin import openmoji_store
from visionsmith.data.cache import cache_folder
from visionsmith.data.progress import DelayedBar
from visionsmith.data.records import RecordStore, is_store
from visionsmith.data.sampler import ShuffledBatches
from visionsmith.data.sources import find_source, pack_source
from visionsmith.errors import ConfigError, DataError, OutputError

__all__ = ["Advice", "advise"]

NOTICEABLE = 0.05
"""Share of the data left out of an epoch from which another batch size is recommended."""
_OPENMOJI = "openmoji"


@dataclass(frozen=True)
class Advice:
    """What was measured of a data set, and the setting that follows."""

    source: str
    packed: bool
    """Whether the source was packed to a temporary store, which then is what was measured."""
    left_out: int
    """Samples that could not be packed."""
    pictures: int
    without_picture: int
    size: int
    batch_size: int
    """As asked for."""
    epochs: int
    loading: Loading
    last: LastBatch
    dropped: Dropped
    balance: Balance | None
    """None where the data have no classes."""
    neighbours: list[tuple[int, int]]
    """Batch sizes nearby that leave less over, and what they leave."""

    @property
    def step_milliseconds(self) -> float:
        """How long loading one batch takes at the recommended number of workers."""
        return 1e3 * self.batch_size / self.loading.speed.samples_per_second

    @property
    def recommended_batch_size(self) -> int:
        """The one asked for, or its best neighbour where more than 5 % of the data would be left out of an epoch."""
        if self.dropped.share > NOTICEABLE and self.neighbours:
            return self.neighbours[0][0]
        return self.batch_size

    @property
    def settings(self) -> list[str]:
        """The recommendation, as `visionsmith train` takes it."""
        return [f"train.workers={self.loading.speed.workers}", f"batch_size={self.recommended_batch_size}"]

    def plain(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        values = asdict(self)
        values["neighbours"] = [{"batch_size": size, "left_over": rest} for size, rest in self.neighbours]
        stages = self.loading.stages
        values["loading"]["stages"] |= {"transfer": stages.transfer, "slowest": stages.slowest}
        values["loading"] |= {
            "workers": self.loading.speed.workers,
            "limit": self.loading.limit,
            "disturbed": self.loading.disturbed,
        }
        return {**values, "step_milliseconds": self.step_milliseconds, "settings": self.settings}


def advise(
    source: Path,
    *,
    batch_size: int = 256,
    workers: int = 4,
    size: int = 224,
    epochs: int = 1,
    seconds: float = 3.0,
    label: str | None = None,
    progress: bool = False,
) -> Advice:
    """Measure how a data set loads and what its batches hold, and choose workers and batch size.

    Args:
        source: a record store; or anything else that `find_source` knows, which is packed to a temporary store first,
            because training packs it too and reads from there; or 'openmoji', drawn at `size`.
        batch_size: samples of a training step.
        workers: the most loader processes to try; 0 to this are measured.
        size: side of the random crop, pixels.
        epochs: how many the figures about samples and classes are for.
        seconds: about how long each number of workers is measured.
        label: field of the metadata that is the class; see `read_pictures`.
        progress: whether to show a bar if it takes more than two seconds.

    Raises:
        ConfigError: a number out of range, or a batch larger than the data set.
        DataError: the data cannot be read, have no pictures, or have no such field.
        OutputError: the temporary store cannot be written.
    """
    _require("workers", workers, workers >= 0, "choose 0 or more")
    _require("size", size, size >= 1, "choose at least 1 px")
    _require("epochs", epochs, epochs >= 1, "choose at least 1")
    _require("seconds", seconds, 0 < seconds < float("inf"), "choose a positive time")
    _require("batch_size", batch_size, batch_size >= 1, "choose at least 1")
    with _opened(source, size, progress) as (store, packed):
        pictures = read_pictures(store, label, name=str(source), progress=progress)
        count = len(pictures.indices)
        plan = ShuffledBatches(range(count), batch_size, seed=0)
        with DelayedBar("measuring", steps(workers), show=progress) as bar:
            loading = measure_loading(
                store,
                pictures.indices,
                batch_size=batch_size,
                workers=workers,
                size=size,
                seconds=seconds,
                on_step=bar.advance,
            )
        return Advice(
            source=str(source),
            packed=packed,
            left_out=store.info()["skipped"] if packed else 0,
            pictures=count,
            without_picture=pictures.without,
            size=size,
            batch_size=batch_size,
            epochs=epochs,
            loading=loading,
            last=last_batch(count, batch_size),
            dropped=dropped(plan, pictures, epochs),
            balance=balance(plan, pictures, epochs),
            neighbours=neighbours(count, batch_size),
        )


def _require(name: str, value: float, holds: bool, do: str) -> None:
    if not holds:
        raise ConfigError(f"{name} = {value} is out of range", do=do)


@contextmanager
def _opened(source: Path, size: int, progress: bool) -> Iterator[tuple[RecordStore, bool]]:
    """The store to measure, and whether it was packed for that."""
    if is_store(source):
        yield RecordStore(source), False
        return
    if str(source) == _OPENMOJI and not source.exists():
        yield openmoji_store(size, progress=progress), False
        return
    find_source(source)  # a wrong path is told before anything is made
    # In the cache folder and not where temporary files go, which may be memory, and then no disk is measured.
    parent = cache_folder()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="advise-", dir=parent)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=parent,
            do="set VISIONSMITH_CACHE to a folder that can",
        ) from error
    with folder as name:
        store = Path(name) / "records"
        try:
            pack_source(source, store, progress=progress)
        except DataError as error:
            if Path(error.where or "") != store:
                raise
            raise DataError(error.what, where=source, do=error.do) from error
        yield RecordStore(store), True
