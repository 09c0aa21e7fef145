"""Parquet files, as data sets on the Hugging Face hub have them: one sample a row.

The picture is a column of {bytes, path} (the hub's), of bytes, or of paths relative to the file; the caption a
column of text, or of lists of texts. Numbers of the hub's class labels become their names. Other columns of JSON
values go to the metadata, columns of bytes are left out. pyarrow reads; nothing of a file is executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionsmith.data.sample import Sample
from visionsmith.data.sources.folders import IMAGE_ENDINGS
from visionsmith.data.sources.problems import OnProblem, picture_bytes
from visionsmith.data.sources.tables import CAPTION_COLUMNS, IMAGE_COLUMNS, path_key, unique
from visionsmith.errors import DataError

__all__ = ["ENDING", "in_folder", "read", "require_pyarrow"]

ENDING = ".parquet"
_PICTURES = (*IMAGE_COLUMNS, "img", "bytes")
_BATCH = 32
"""Rows in memory at a time; those of a row group stay compressed until then."""
LARGEST_GROUP = 2**32
"""Bytes that a row group may have uncompressed; the hub's have a hundred rows or a few hundred MB."""

Names = Mapping[str, Sequence[str]]


def in_folder(folder: Path) -> list[Path]:
    """The Parquet files in a folder and in those right below, sorted; none when it has pictures of its own."""
    if any(path.suffix.lower() in IMAGE_ENDINGS for path in folder.iterdir()):
        return []
    found = [*folder.glob(f"*{ENDING}"), *folder.glob(f"*/*{ENDING}")]
    return sorted(path for path in found if not path.name.startswith(".") and path.is_file())


def require_pyarrow() -> Any:
    """The module `pyarrow`, with `pyarrow.parquet` loaded.

    Raises:
        DataError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            "Parquet needs the package pyarrow, which is not installed",
            do="install it with `pip install 'visionsmith[parquet]'`",
        ) from error
    return pyarrow


def read(files: Sequence[Path], on_problem: OnProblem) -> Iterator[Sample]:
    """Samples of Parquet files, in the order of the files and of their rows."""
    arrow = require_pyarrow()
    keys: set[int] = set()
    for file in files:
        prefix = f"{file.stem}/" if len(files) > 1 else ""
        try:
            with arrow.parquet.ParquetFile(file) as table:
                yield from _samples(file, table, prefix, keys, on_problem)
        except (arrow.ArrowException, OSError) as error:
            on_problem(str(file), f"the file is cut short or damaged ({_first_line(error)})")


def _samples(file: Path, table: Any, prefix: str, keys: set[int], on_problem: OnProblem) -> Iterator[Sample]:
    columns = _Columns(file, table.schema_arrow)
    row = 0
    for group in range(table.metadata.num_row_groups):
        about = table.metadata.row_group(group)
        if about.total_byte_size > LARGEST_GROUP:
            on_problem(
                f"{file}, row {row}",
                f"its row group has {about.total_byte_size:,} bytes uncompressed, above {LARGEST_GROUP:,}",
            )
            row += about.num_rows
            continue
        for batch in table.iter_batches(_BATCH, row_groups=[group], columns=columns.read):
            for values in batch.to_pylist():
                sample = columns.sample(values, f"{prefix}{row:06d}", keys, on_problem)
                if sample is not None:
                    yield sample
                row += 1
    if not row:
        on_problem(str(file), "the file has no rows")


class _Columns:
    """Which column of a file means what."""

    def __init__(self, file: Path, schema: Any) -> None:
        self._file = file
        names = list(schema.names)
        types = {name: schema.field(name).type for name in names}
        found = [name for name in _PICTURES if name in names]
        found += [name for name in names if _is_picture(types[name])]
        if not found:
            raise DataError(
                f"has no column for the picture; its columns are {', '.join(names) or '(none)'}",
                where=file,
                do=f"name one of them {' or '.join(IMAGE_COLUMNS)}",
            )
        self._picture = found[0]
        self._caption = next((name for name in CAPTION_COLUMNS if name in names), None)
        self._labels = _label_names(schema)
        others = [name for name in names if not _is_picture(types[name]) and not _is_bytes(types[name])]
        self.read = [name for name in names if name in others or name == self._picture]
        self._others = [name for name in others if name not in (self._picture, self._caption, "key")]

    def sample(
        self, row: Mapping[str, Any], place: str, keys: set[int], on_problem: OnProblem
    ) -> Sample | None:
        content = row[self._picture]
        picture, path = content, None
        if isinstance(content, dict):
            picture, path = content.get("bytes") or content.get("path"), content.get("path")
        elif isinstance(content, str):
            path = content
        key = row.get("key")
        if not isinstance(key, str) or not key:
            key = unique(path_key(path, self._file.parent) if path else place, keys)
        if isinstance(picture, str):
            picture = picture_bytes(self._file.parent / picture, picture, key, on_problem)
            if picture is None:
                return None
        if not isinstance(picture, bytes | None):
            on_problem(key, f"its picture is a {type(picture).__name__}, neither bytes nor a path")
            return None
        caption = row[self._caption] if self._caption else None
        said = caption if isinstance(caption, list) else [caption]
        if not all(isinstance(text, str | None) for text in said):
            on_problem(key, "its caption is not a text")
            return None
        meta = self._meta(row)
        if len(said) > 1:
            meta["captions"] = said
        return Sample(key, picture or b"", (said[0] if said else None) or "", meta)

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        meta: dict[str, Any] = {}
        for name in self._others:
            value = row[name]
            if name == "meta" and isinstance(value, str) and value.startswith("{"):
                # As `data convert` writes it.
                meta |= json.loads(value)
            elif value is not None:
                names = self._labels.get(name, ())
                known = isinstance(value, int) and 0 <= value < len(names)
                meta[name] = names[value] if known else _plain(value)
        return meta


def _is_bytes(kind: Any) -> bool:
    return str(kind) in ("binary", "large_binary") or str(kind).startswith("fixed_size_binary")


def _is_picture(kind: Any) -> bool:
    """Whether a type is the hub's picture: a struct with bytes."""
    return str(kind).startswith("struct<") and any(
        kind.field(place).name == "bytes" and _is_bytes(kind.field(place).type)
        for place in range(kind.num_fields)
    )


def _label_names(schema: Any) -> dict[str, list[str]]:
    """Names of the hub's class labels by column; the hub keeps them in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in about["names"]]
            for column, about in features.items()
            if isinstance(about, dict) and about.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _plain(value: Any) -> Any:
    """A value as JSON has it: dates and the like as text, what is not a number as null, bytes left out."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items() if not isinstance(inner, bytes)}
    if isinstance(value, list):
        return [_plain(inner) for inner in value if not isinstance(inner, bytes)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
