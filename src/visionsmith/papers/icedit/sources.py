"""Edits of a user's: a table, or Parquet files as MagicBrush and OmniEdit have them.

| what         | columns, the first that is there                    |
|--------------|-----------------------------------------------------|
| before       | source, source_img, src_img, before                 |
| after        | target, target_img, edited_img, after               |
| what to do   | instruction, edited_prompt_list (the first), prompt |
| kind of edit | kind, task; else all are of one                     |

In a table (.csv, .tsv, .jsonl) pictures are paths relative to it; in Parquet they are the hub's {bytes, path}.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visionsmith.data.progress import DelayedBar
from visionsmith.errors import DataError, VisionsmithError
from visionsmith.papers.icedit.edits import EditPair, EditWorld, builtin_world

__all__ = ["check_edits", "open_edits"]

BEFORE = ("source", "source_img", "src_img", "before")
AFTER = ("target", "target_img", "edited_img", "after")
INSTRUCTION = ("instruction", "edited_prompt_list", "prompt")
KIND = ("kind", "task")
TABLES = (".csv", ".tsv", ".jsonl")
PARQUET = ".parquet"
HELD_OUT_SHARE = 0.05
ADVICE = "give a .csv, .tsv or .jsonl with the columns source, target and instruction, or Parquet files"

Row = Mapping[str, Any]


def open_edits(data: Path | None, *, size: int, seed: int = 0, progress: bool = False) -> EditWorld:
    """Open the built-in edits or a user's.

    Args:
        data: a table, a Parquet file or a folder of them; None for the built-in edits.
        size: side that pictures are scaled to, and cut square; they are all kept in memory.
        seed: of which of a user's edits are kept from training, and of the built-in ones.
        progress: whether to show a bar.

    Raises:
        DataError: it is neither, or holds no edit that can be read; names the first that cannot.
    """
    if data is None:
        return builtin_world(size, seed=seed, progress=progress)
    from visionsmith.papers.clip import resize_and_crop

    images: list[np.ndarray] = []
    pairs: list[EditPair] = []
    problems: list[str] = []
    with DelayedBar("edits", None, show=progress) as bar:
        for number, (folder, row) in enumerate(_rows(data), start=1):
            bar.advance(1)
            try:
                both = [_picture(folder, _value(row, names)) for names in (BEFORE, AFTER)]
                text = _text(_value(row, INSTRUCTION))
            except VisionsmithError as error:
                problems.append(f"row {number}: {error.what}")
                continue
            pairs.append(EditPair(len(images), len(images) + 1, text, str(_value(row, KIND) or "edit")))
            images += [resize_and_crop(picture, size) for picture in both]
    if len(pairs) < 2:
        first = f" ({problems[0]})" if problems else ""
        raise DataError(f"holds {len(pairs)} edits that can be read{first}", where=data, do=ADVICE)
    order = np.random.default_rng(seed).permutation(len(pairs)).tolist()
    kept = order[: max(1, round(HELD_OUT_SHARE * len(pairs)))]
    train: dict[str, list[EditPair]] = {}
    for place in sorted(set(order) - set(kept)):
        train.setdefault(pairs[place].kind, []).append(pairs[place])
    shown = [place for found in train.values() for pair in found for place in (pair.source, pair.target)]
    about = {
        "edits": {kind: len(found) for kind, found in train.items()},
        "held_out": len(kept),
        "left_out": len(problems),
        "size": size,
    }
    return EditWorld(
        pictures=np.stack(images),
        captions=("",) * len(images),
        shown=tuple(sorted(shown)),
        train={kind: tuple(found) for kind, found in train.items()},
        held_out=tuple(pairs[place] for place in sorted(kept)),
        about=about,
    )


def check_edits(data: Path) -> None:
    """Refuse data before a run begins.

    Raises:
        DataError: it is neither a table nor Parquet, or its first row has not the columns.
    """
    for _, row in _rows(data):
        for what, names in (
            ("picture before", BEFORE),
            ("picture after", AFTER),
            ("instruction", INSTRUCTION),
        ):
            if not any(name in row for name in names):
                raise DataError(
                    f"has no column for the {what} (it has {', '.join(row)})",
                    where=data,
                    do=f"name the column {names[0]}",
                )
        return
    raise DataError("holds no rows", where=data, do=ADVICE)


def _rows(data: Path) -> Iterator[tuple[Path, Row]]:
    """Rows, each with the folder that its paths are relative to."""
    if not data.exists():
        raise DataError("no such file or folder", where=data, do="check the path")
    files = sorted(data.glob(f"*{PARQUET}")) if data.is_dir() else [data]
    if not files:
        tables = [file for ending in TABLES for file in sorted(data.glob(f"*{ending}"))]
        if len(tables) != 1:
            raise DataError(f"holds {len(tables)} tables and no Parquet file", where=data, do=ADVICE)
        files = tables
    for file in files:
        if file.suffix == PARQUET:
            yield from ((file.parent, row) for row in _parquet(file))
        elif file.suffix in TABLES:
            yield from ((file.parent, row) for row in _table(file))
        else:
            raise DataError("is neither a table nor a Parquet file", where=file, do=ADVICE)


def _table(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8", newline="") as stream:
        try:
            if file.suffix == ".jsonl":
                for line in stream:
                    if line.strip():
                        row = json.loads(line)
                        if not isinstance(row, dict):
                            raise DataError("has a line that is no {...}", where=file, do=ADVICE)
                        yield row
            else:
                yield from csv.DictReader(stream, delimiter="\t" if file.suffix == ".tsv" else ",")
        except (ValueError, csv.Error) as error:
            raise DataError(f"cannot be read ({error})", where=file, do="check the file") from error


def _parquet(file: Path) -> Iterator[Row]:
    from visionsmith.data.sources.parquet import require_pyarrow

    arrow = require_pyarrow()
    try:
        with arrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=16):
                yield from batch.to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise DataError(
            f"cannot be read ({error})", where=file, do="copy it again from its source"
        ) from error


def _value(row: Row, names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _picture(folder: Path, value: Any) -> np.ndarray:
    from visionsmith.image.io import decode, read_image

    if isinstance(value, dict) and value.get("bytes"):
        return decode(value["bytes"])
    if isinstance(value, bytes):
        return decode(value)
    name = value.get("path") if isinstance(value, dict) else value
    if not isinstance(name, str) or not name:
        raise DataError("names no picture")
    return read_image(folder / name)


def _text(value: Any) -> str:
    text = value[0] if isinstance(value, list) and value else value
    if not isinstance(text, str) or not text.strip():
        raise DataError("has no instruction")
    return text.strip()
