"""Tables of pictures and captions: CSV, TSV, JSONL and JSON lists, one sample a row."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from visionsmith.data.sample import Sample
from visionsmith.data.sources import conversations, folders
from visionsmith.data.sources.problems import OnProblem, picture_bytes
from visionsmith.errors import DataError

__all__ = [
    "CAPTION_COLUMNS",
    "ENDINGS",
    "IMAGE_COLUMNS",
    "LONGEST_CELL",
    "files",
    "is_json_list",
    "path_key",
    "read",
    "read_folder",
    "unique",
]

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
LONGEST_CELL = csv.field_size_limit()
"""Characters in a cell of a CSV or TSV file; longer ones are taken for a quote that is never closed."""
IMAGE_COLUMNS = ("filepath", "image", "path", "file_name")
"""Columns that may name the picture; the first that is there does."""
CAPTION_COLUMNS = ("title", "caption", "text")
"""Columns that may hold the caption; the first that is there does."""

Row = Mapping[str, Any]


def read(table: Path, on_problem: OnProblem, listed: set[str] | None = None) -> Iterator[Sample]:
    """Samples of a table in the order of its rows.

    Args:
        table: the file.
        on_problem: is told of rows that cannot be read.
        listed: gets the paths of all pictures that the table names.
    """
    keys: set[int] = set()
    empty = True

    def tell(key: str, reason: str) -> None:
        nonlocal empty
        empty = False
        on_problem(key, reason)

    for line, row in _rows(table, tell):
        empty = False
        sample = _sample(table, line, row, keys, tell)
        if listed is not None:
            listed.add(os.path.normpath(str(_value(row, IMAGE_COLUMNS))))
        if sample is not None:
            yield sample
    if empty:
        raise DataError("holds no rows", where=table, do="give a table with one picture a row")


def read_folder(listing: Path, on_problem: OnProblem) -> Iterator[Sample]:
    """Samples of a folder whose pictures are listed in a table in it; one that is not listed is a problem."""
    listed: set[str] = set()
    yield from read(listing, on_problem, listed)
    for picture in folders.pictures(listing.parent):
        name = picture.relative_to(listing.parent).as_posix()
        if name not in listed:
            on_problem(os.path.splitext(name)[0], f"'{name}' is not listed in {listing.name}")


def files(table: Path) -> Iterator[Path]:
    """The table and the pictures that it names, in order."""
    yield table
    for _, row in _rows(table, lambda key, reason: None):
        name = _value(row, IMAGE_COLUMNS)
        if isinstance(name, str) and name:
            yield table.parent / name


def _sample(table: Path, line: int, row: Row, keys: set[int], on_problem: OnProblem) -> Sample | None:
    name, caption = _value(row, IMAGE_COLUMNS), _value(row, CAPTION_COLUMNS)
    key = row.get("key")
    if not isinstance(key, str) or not key:
        key = unique(_key(table, line, name), keys)
    # A null says that the record has no picture; `unpack` writes it so.
    no_picture = name is None and _first(row, IMAGE_COLUMNS) is not None
    if not no_picture and not (isinstance(name, str) and name):
        known = " or ".join(IMAGE_COLUMNS)
        on_problem(key, f"row {line} names no picture (it has {', '.join(row)}; the picture is in {known})")
        return None
    image = b"" if no_picture else picture_bytes(table.parent / name, name, key, on_problem)
    if image is None:
        return None
    if caption is not None and not (isinstance(caption, str) and caption.strip()):
        what = "empty" if isinstance(caption, str) else "not a text"
        on_problem(key, f"its caption in row {line} is {what}")
        return None
    return Sample(key, image, caption or "", _meta(row))


def _meta(row: Row) -> dict[str, Any]:
    """Everything else in a row; a mapping in the column `meta` is laid out, as `unpack` wrote it."""
    used = {"key", _first(row, IMAGE_COLUMNS), _first(row, CAPTION_COLUMNS)}
    meta: dict[str, Any] = {}
    if isinstance(row.get("meta"), dict):
        meta = dict(row["meta"])
        used.add("meta")
    meta.update((name, value) for name, value in row.items() if name not in used)
    return meta


def _key(table: Path, line: int, name: object) -> str:
    if not isinstance(name, str) or not name:
        return f"row {line}"
    return path_key(name, table.parent)


def path_key(name: str, folder: Path) -> str:
    """A key from a picture's path: without its ending, relative to `folder` when it lies there."""
    path = os.path.splitext(os.path.normpath(name))[0]
    above = str(folder.absolute())
    if path.startswith(above + os.sep):
        path = os.path.relpath(path, above)
    return Path(path).as_posix()


def unique(key: str, keys: set[int]) -> str:
    """The key, or key#2 ... when it came before: a picture may have several captions."""
    unique, copy = key, 1
    while hash(unique) in keys:
        copy += 1
        unique = f"{key}#{copy}"
    keys.add(hash(unique))
    return unique


def is_json_list(path: Path) -> bool:
    """Whether a file holds a JSON list."""
    try:
        with path.open("rb") as stream:
            return stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    except OSError:
        return False


def _rows(table: Path, on_problem: OnProblem) -> Iterator[tuple[int, Row]]:
    """Rows of a table with their line numbers."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            if table.suffix.lower() == ".json":
                yield from _json_rows(enumerate(json.load(stream), 1), on_problem)
            elif table.suffix.lower() in (".jsonl", ".ndjson"):
                yield from _json_rows(_json_lines(stream), on_problem)
            else:
                yield from _csv_rows(table, stream, on_problem)
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=table, do="save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"is not JSON (line {error.lineno}: {error.msg})", where=table, do="mend it"
        ) from error
    except csv.Error as error:
        raise DataError(f"is not a table ({error})", where=table, do="save it as CSV or TSV") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot be read ({reason})", where=table, do="check the file") from error


def _json_lines(stream: Iterator[str]) -> Iterator[tuple[int, object]]:
    """The value of each line that is not blank; None for one that is not JSON."""
    for line, text in enumerate(stream, 1):
        if not text.strip():
            continue
        try:
            yield line, json.loads(text)
        except ValueError:
            yield line, None


def _json_rows(values: Iterator[tuple[int, object]], on_problem: OnProblem) -> Iterator[tuple[int, Row]]:
    ids: set[int] = set()
    for line, value in values:
        if not isinstance(value, dict):
            on_problem(f"row {line}", f"row {line} is not a JSON object")
            continue
        try:
            row = conversations.plain_row(value)
        except ValueError as error:
            on_problem(str(value.get("id", f"row {line}")), str(error))
            continue
        if row is not value and "key" in row:
            # An id of LLaVA names a picture, which may have several conversations.
            row = {**row, "key": unique(row["key"], ids)}
        yield line, row


def _csv_rows(table: Path, stream: Iterator[str], on_problem: OnProblem) -> Iterator[tuple[int, Row]]:
    header = next(stream, "")
    delimiter = "\t" if table.suffix.lower() == ".tsv" else max(",\t;", key=header.count)
    columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    for kind, known in (("picture", IMAGE_COLUMNS), ("caption", CAPTION_COLUMNS)):
        if _first(columns, known) is None:
            raise DataError(
                f"has no column for the {kind}; its columns are {', '.join(columns) or '(none)'}",
                where=table,
                do=f"name one of them {' or '.join(known)}",
            )
    reader = csv.reader(stream, delimiter=delimiter)
    for values in reader:
        if not values:
            continue
        line = reader.line_num + 1
        if len(values) != len(columns):
            on_problem(f"row {line}", f"row {line} has {len(values)} values for {len(columns)} columns")
            continue
        row = dict(zip(columns, values, strict=True))
        # An empty cell says nothing, except in the two columns that must not be empty.
        needed = {_first(columns, IMAGE_COLUMNS), _first(columns, CAPTION_COLUMNS)}
        yield line, {name: _cell(name, value) for name, value in row.items() if value or name in needed}


def _cell(name: str, value: str) -> Any:
    """The text of a cell; in the column `meta`, where `convert` writes a JSON object, that object."""
    if name == "meta" and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _first(columns: Row | list[str], known: tuple[str, ...]) -> str | None:
    return next((name for name in known if name in columns), None)


def _value(row: Row, known: tuple[str, ...]) -> Any:
    column = _first(row, known)
    return None if column is None else row[column]
