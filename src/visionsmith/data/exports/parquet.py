"""Parquet shards part-00000.parquet ... as on the Hugging Face hub: key, image {bytes, path}, caption, meta (JSON).

The schema names the types of the columns in the hub's words, "Image" among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from visionsmith.data.records.pack import file_stem, picture_ending
from visionsmith.data.sample import Sample
from visionsmith.data.sources.parquet import require_pyarrow
from visionsmith.data.sources.problems import OnProblem

__all__ = ["write"]

_GROUP_ROWS, _GROUP_BYTES = 1000, 1 << 26
"""A row group ends at this many rows or bytes: it is in memory while it is written, and partly while it is read."""


def write(samples: Iterable[Sample], folder: Path, cannot_hold: OnProblem, shard_bytes: int) -> None:
    """Write samples as Parquet into an empty folder; there is a place for every sample.

    Args:
        samples: what to write.
        folder: where to.
        cannot_hold: is not called.
        shard_bytes: a file ends before its pictures and texts exceed this, unless one sample alone does.

    Raises:
        DataError: pyarrow is not installed.
    """
    shards = _Shards(folder)
    size = 0
    try:
        for sample in samples:
            row = _row(sample)
            taken = len(sample.image) + sum(len(row[name] or "") for name in ("key", "caption", "meta"))
            if size and size + taken > shard_bytes:
                shards.close()
                size = 0
            shards.add(row, taken)
            size += taken
    finally:
        shards.close()


class _Shards:
    """Parquet files that are written one after the other."""

    def __init__(self, folder: Path) -> None:
        self._arrow = require_pyarrow()
        self._folder = folder
        self._schema = _schema(self._arrow)
        self._file: Any = None
        self._count = 0
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any], size: int) -> None:
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """End the file; the next row begins another."""
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._file is None:
            path = self._folder / f"part-{self._count:05d}.parquet"
            self._file = self._arrow.parquet.ParquetWriter(path, self._schema)
            self._count += 1
        self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


def _row(sample: Sample) -> dict[str, Any]:
    picture = None
    if sample.image:
        path = f"{file_stem(sample.key)}{picture_ending(sample.image)}"
        picture = {"bytes": sample.image, "path": path}
    meta = json.dumps(dict(sample.meta), ensure_ascii=False) if sample.meta else None
    return {"key": sample.key, "image": picture, "caption": sample.caption or None, "meta": meta}


def _schema(arrow: Any) -> Any:
    text = arrow.string()
    picture = arrow.struct([("bytes", arrow.binary()), ("path", text)])
    words = {"_type": "Value", "dtype": "string"}
    features = {"key": words, "image": {"_type": "Image"}, "caption": words, "meta": words}
    return arrow.schema(
        [("key", text), ("image", picture), ("caption", text), ("meta", text)],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
