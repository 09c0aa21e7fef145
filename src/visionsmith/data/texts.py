"""Texts to learn a language from: English prose that lies on every machine with Python, or a user's own.

The built-in texts are the reference that `pydoc` shows and the docstrings of the standard library, which are read from
its source files as data; no module of it is imported. They depend on the version of Python, so a digest tells them
apart.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionsmith.data.cache import cache_folder
from visionsmith.data.progress import DelayedBar
from visionsmith.durable import write_whole
from visionsmith.errors import DataError

__all__ = ["Texts", "builtin_texts", "clean", "open_texts", "read_text"]

ENDINGS = (".txt", ".md")
TABLES = (".json", ".jsonl")
REVISION = 1
"""Of the built-in texts: raise it when they are chosen or cleaned in another way."""
HELD_OUT = 12
"""One document of so many is kept from training."""
SHORTEST = 200
"""Characters; shorter documents are left out of the built-in texts."""
SHARED_LINE = 50
"""No line of at least so many characters occurs twice in the texts, so none that is tested on was trained on."""
LEFT_OUT = ("idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "turtledemo")
"""Folders of the standard library that hold tests, tools, data or other packages."""

_ROLE = re.compile(r":[a-z:]+:`~?([^`<]+?)(?: <[^`]*>)?`")
_QUOTED = re.compile(r"``?([^`]+)``?")
_EMPHASIS = re.compile(r"\*\*([^*\n]+)\*\*")
_DATA = re.compile(r"^\s*(>>>|\.\.\.|::=|\|)")


@dataclass(frozen=True)
class Texts:
    """Documents to learn from, and others to test on."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    about: Mapping[str, Any]
    """Plain values for a checkpoint's card: source, sizes, a digest of the training texts."""


def open_texts(data: Path | None, *, progress: bool = False) -> Texts:
    """Texts to train and test on.

    Args:
        data: a folder with .txt and .md files, one such file, or a .json list or .jsonl file whose items have the text
            in "context"; None for the built-in texts. One document of twelve is kept for the test; of a single
            document, its last twelfth.
        progress: whether to show a bar.

    Raises:
        DataError: there is nothing, or something that is no text.
    """
    if data is None:
        return builtin_texts(progress=progress)
    documents = [text for text in _documents(data) if text.strip()]
    if not documents:
        raise DataError("holds no text", where=data, do="give .txt or .md files with something in them")
    if len(documents) == 1:
        train, test = _cut(documents[0])
        if not train or not test:
            raise DataError(
                f"is one text of {len(documents[0])} characters, too short for a part to test on",
                where=data,
                do="give a longer text, or several",
            )
        return _texts([train], [test], source="a text of the user")
    places = [place for place in range(len(documents)) if place % HELD_OUT == HELD_OUT - 1] or [
        len(documents) - 1
    ]
    return _texts(
        [text for place, text in enumerate(documents) if place not in places],
        [documents[place] for place in places],
        source=f"{len(documents):,} texts of the user",
    )


def builtin_texts(*, progress: bool = False) -> Texts:
    """The built-in texts of this Python, cleaned, without repeated lines; about 1.6 million characters.

    They are kept in the cache folder, since reading them takes seconds.

    Args:
        progress: whether to show a bar.

    Raises:
        DataError: this Python brings none.
    """
    kept = cache_folder() / f"texts-{platform.python_version()}-r{REVISION}.json"
    try:
        parts = json.loads(kept.read_text(encoding="utf-8"))
        train, test = [str(text) for text in parts["train"]], [str(text) for text in parts["test"]]
    except (OSError, ValueError, KeyError, TypeError):
        train, test = _read_builtin(progress)
        write_whole(kept, json.dumps({"train": train, "test": test}).encode(), synced=False)
    return _texts(
        train,
        test,
        source=f"reference and docstrings of Python {platform.python_version()}",
        licence="PSF-2.0",
    )


def _read_builtin(progress: bool) -> tuple[list[str], list[str]]:
    train: list[str] = []
    test: list[str] = []
    seen: set[str] = set()
    for name, text in _library(progress):
        text = _without(clean(text), seen)
        if len(text) >= SHORTEST:
            held_out = int(hashlib.sha256(name.encode()).hexdigest(), 16) % HELD_OUT == 0
            (test if held_out else train).append(text)
    if not train or not test:
        raise DataError(
            "this Python brings neither its reference nor the sources of its library",
            do="give texts with --data",
        )
    return train, test


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; a byte-order mark is dropped.

    Raises:
        DataError: it cannot be read, is no text, or is empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read ({(error.strerror or str(error)).lower()})", where=path, do="give a text file"
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"is no text in UTF-8 (byte {error.start:,})", where=path, do="give a text file, saved as UTF-8"
        ) from error
    if "\0" in text:
        raise DataError("is a binary file (it holds zero bytes)", where=path, do="give a text file")
    if not text.strip():
        raise DataError("is empty", where=path, do="give a text file with something in it")
    return text


def clean(text: str) -> str:
    """A docstring as a reader would want it: no markup, examples or tables; one space between words."""
    text = _EMPHASIS.sub(r"\1", _QUOTED.sub(r"\1", _ROLE.sub(r"\1", text)))
    lines: list[str] = []
    for line in text.expandtabs().splitlines():
        shown = " ".join(line.split())
        # An underline, a grammar rule or an example: no prose.
        dropped = shown and (not any(map(str.isalpha, shown)) or bool(_DATA.match(line)) or "::=" in line)
        if not dropped and (shown or (lines and lines[-1])):
            lines.append(shown)
    return "\n".join(lines).strip()


def _library(progress: bool) -> Iterator[tuple[str, str]]:
    """Name and text of every document: a page of the reference, or all docstrings of one module."""
    from pydoc_data.topics import topics

    yield from sorted(topics.items())
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [
        file
        for file in sorted(root.rglob("*.py"))
        if not any(part in LEFT_OUT for part in file.relative_to(root).parts)
    ]
    with DelayedBar("texts", len(files), show=progress) as bar:
        for file in files:
            yield file.relative_to(root).as_posix(), "\n\n".join(_docstrings(file))
            bar.advance()


def _docstrings(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if found := ast.get_docstring(node):
            yield found


def _without(text: str, seen: set[str]) -> str:
    """A text less its long lines that were seen before; those that stay are remembered."""
    kept = []
    for line in text.split("\n"):
        if len(line) >= SHARED_LINE:
            if line in seen:
                continue
            seen.add(line)
        kept.append(line)
    return "\n".join(kept).strip()


def _texts(train: list[str], test: list[str], **about: str) -> Texts:
    digest = hashlib.sha256("\0".join(train).encode("utf-8", "surrogatepass")).hexdigest()
    sizes = {
        "documents": len(train),
        "characters": sum(map(len, train)),
        "test_documents": len(test),
        "test_characters": sum(map(len, test)),
    }
    return Texts(tuple(train), tuple(test), {**about, **sizes, "sha256": digest})


def _cut(text: str) -> tuple[str, str]:
    """A single text in two, between paragraphs, lines or words where there are any."""
    place = len(text) - len(text) // HELD_OUT
    for mark in ("\n\n", "\n", " "):
        if (found := text.rfind(mark, place // 2, place)) > 0:
            place = found
            break
    return text[:place].strip(), text[place:].strip()


def _documents(data: Path) -> Iterable[str]:
    if data.is_dir():
        files = sorted(
            file
            for file in data.rglob("*")
            if file.suffix.lower() in ENDINGS and file.is_file() and not file.name.startswith(".")
        )
        if not files:
            raise DataError("holds no .txt or .md file", where=data, do="give a folder with text files")
        return (read_text(file) for file in files)
    if data.suffix.lower() in TABLES:
        return _contexts(data)
    return [read_text(data)]


def _contexts(path: Path) -> list[str]:
    """The texts of a list in the published layout: items with "context"."""
    text = read_text(path)
    try:
        if path.suffix.lower() == ".jsonl":
            items = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            items = json.loads(text)
    except ValueError as error:
        raise DataError(f"is not JSON ({error})", where=path, do="mend it") from error
    if not isinstance(items, list):
        raise DataError("is not a list", where=path, do='give a list of items with "context"')
    for place, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("context"), str):
            raise DataError(
                f'item {place} has no text in "context"', where=path, do='give every item its "context"'
            )
    return [item["context"] for item in items]
