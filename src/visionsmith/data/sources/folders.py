"""A folder of pictures with captions in text files of the same name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from visionsmith.data.sample import Sample
from visionsmith.data.sources.problems import OnProblem, picture_bytes
from visionsmith.errors import DataError
from visionsmith.image.header import FORMATS

__all__ = ["IMAGE_ENDINGS", "files", "find_listing", "pictures", "read"]

IMAGE_ENDINGS = frozenset(ending for endings in FORMATS.values() for ending in endings)
"""Endings of picture files, in lower case."""
LISTINGS = ("metadata.jsonl", "metadata.csv", "metadata.tsv")
_MARKS = (b"file_name", b'"conversations"', b'"messages"')


def find_listing(folder: Path) -> Path | None:
    """The table that lists a folder's pictures by "file_name", or with conversations, when there is one."""
    for name in LISTINGS:
        try:
            with (folder / name).open("rb") as stream:
                start = stream.readline(1 << 16)
                if any(mark in start for mark in _MARKS):
                    return folder / name
        except OSError:
            continue
    return None


def read(folder: Path, on_problem: OnProblem) -> Iterator[Sample]:
    """Samples of a folder in the order of their paths."""
    found = False
    for inner, names, captions in _walk(folder):
        for name in names:
            found = True
            stem = os.path.splitext(name)[0]
            key = (inner / stem).relative_to(folder).as_posix()
            image = picture_bytes(inner / name, name, key, on_problem)
            if image is None:
                continue
            caption = ""
            if f"{stem}.txt" in captions:
                caption = _caption(inner / f"{stem}.txt", key, on_problem)
            elif captions:
                on_problem(key, f"it has no caption ({stem}.txt is missing, others in its folder are there)")
            if caption or not captions:
                yield Sample(key, image, caption)
    if not found:
        raise _no_pictures(folder)


def files(folder: Path) -> Iterator[Path]:
    """Pictures and captions of a folder, in order."""
    for inner, names, captions in _walk(folder):
        for name in (*names, *sorted(captions)):
            yield inner / name


def pictures(folder: Path) -> Iterator[Path]:
    """Pictures of a folder, in order."""
    for inner, names, _ in _walk(folder):
        for name in names:
            yield inner / name


def _walk(
    folder: Path, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[Path, list[str], set[str]]]:
    """Each folder with its pictures, sorted, and those captions that are there; hidden names are passed over.

    Args:
        folder: where to begin; links are followed.
        above: the folders that this one is in, so that a link back to one of them ends.
    """
    try:
        status = folder.stat()
        entries = sorted(entry for entry in os.listdir(folder) if not entry.startswith("."))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot be read ({reason})", where=folder, do="check its permissions") from error
    place = (status.st_dev, status.st_ino)
    if place in above:
        return
    inner = {name for name in entries if (folder / name).is_dir()}
    plain = [name for name in entries if name not in inner]
    images = [name for name in plain if os.path.splitext(name)[1].lower() in IMAGE_ENDINGS]
    yield folder, images, {f"{os.path.splitext(name)[0]}.txt" for name in images}.intersection(plain)
    for name in sorted(inner):
        yield from _walk(folder / name, above | {place})


def _caption(path: Path, key: str, on_problem: OnProblem) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        on_problem(key, f"its caption {path.name} cannot be read as UTF-8 text")
        return ""
    if not text:
        on_problem(key, f"its caption {path.name} is empty")
    return text


def _no_pictures(folder: Path) -> DataError:
    tables = sorted(path.name for ending in ("csv", "tsv", "jsonl") for path in folder.glob(f"*.{ending}"))
    if tables:
        return DataError("holds no pictures", where=folder, do=f"give its table: {folder / tables[0]}")
    known = ", ".join(sorted(IMAGE_ENDINGS))
    return DataError("holds no pictures", where=folder, do=f"give a folder with files that end in {known}")
