"""WebDataset shards: tar files in which neighbours of one name make a sample.

The name of a member up to the first dot after its last slash is the sample's key, the rest says what it is:

    000017.jpg    the picture
    000017.txt    the caption
    000017.json   metadata; "caption" or "text" in it is the caption when there is no .txt
    000017.cls    a class, kept in the metadata as "cls"

Other members are left out. With several shards the key begins with the name of the shard. A "__key__" in the
metadata, as `data convert` writes it, is the key itself; the caption then is the .txt and nothing else.
"""

from __future__ import annotations

import glob
import itertools
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from lzma import LZMAError
from pathlib import Path
from typing import Any

from visionsmith.data.sample import Sample
from visionsmith.data.sources.folders import IMAGE_ENDINGS
from visionsmith.data.sources.problems import OnProblem
from visionsmith.errors import DataError

__all__ = ["KEY", "expand", "in_folder", "read"]

KEY = "__key__"
"""Entry of a member .json that says the sample's whole key."""

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_TEXTS = ("txt", "caption", "text")
_LARGEST_MEMBER = 2**31
_BRACES = re.compile(r"\{([^{}]*)\}")

Member = tuple[str, bytes]
"""What a member is ("jpg", "left.png", "json", ...), in lower case, and its content."""


def in_folder(folder: Path) -> list[Path]:
    """The shards of a folder, sorted; none when it has pictures of its own."""
    paths = sorted(folder.iterdir())
    if any(path.suffix.lower() in IMAGE_ENDINGS for path in paths):
        return []
    return [path for path in paths if path.name.lower().endswith(ENDINGS)]


def expand(path: Path) -> list[Path] | None:
    """The shards that a path names, or None when it names none.

    Args:
        path: a tar file, or several: `{000..015}` counts, `{a,b}` lists, `*` and `?` match.

    Raises:
        DataError: a shard is missing, or nothing matches.
    """
    text = str(path)
    if not text.lower().endswith(ENDINGS):
        return None
    found: list[Path] = []
    for name in [text] if path.exists() else _expand_braces(text):
        pattern = glob.has_magic(name) and not Path(name).exists()
        found += [Path(match) for match in (sorted(glob.glob(name)) if pattern else [name])]
    missing = [shard for shard in found if not shard.is_file()]
    if missing or not found:
        what = f"{len(missing)} of {len(found)} shards are missing" if len(found) > 1 else "no such shard"
        raise DataError(
            what, where=missing[0] if missing else path, do="check the name, its range and its folder"
        )
    return found


def read(shards: Sequence[Path], on_problem: OnProblem) -> Iterator[Sample]:
    """Samples of shards, in the order of the shards and of their members."""
    for shard in shards:
        prefix = f"{shard.name.split('.')[0]}/" if len(shards) > 1 else ""
        count, key = 0, None
        try:
            for key, members in itertools.groupby(_members(shard), key=lambda member: member[0]):
                count += 1
                sample = _sample(prefix + key, [member[1:] for member in members], on_problem)
                if sample is not None:
                    yield sample
        except (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError) as error:
            place = f"after '{key}'" if key is not None else "at its start"
            on_problem(str(shard), f"the shard is cut short or damaged {place} ({error})")
        else:
            if not count:
                on_problem(str(shard), "the shard is empty")


def _members(shard: Path) -> Iterator[tuple[str, str, bytes]]:
    """Key, kind and content of the members of a tar, streamed."""
    with tarfile.open(shard, "r|*") as archive:
        for member in archive:
            folder, slash, name = member.name.removeprefix("./").rpartition("/")
            stem, dot, kind = name.partition(".")
            if not member.isfile() or not dot or not stem:
                continue
            if member.size > _LARGEST_MEMBER:
                raise tarfile.TarError(f"'{member.name}' has {member.size:,} bytes")
            stream = archive.extractfile(member)
            assert stream is not None, "a file has content"
            yield folder + slash + stem, kind.lower(), stream.read()


def _sample(key: str, members: Sequence[Member], on_problem: OnProblem) -> Sample | None:
    kinds = ", ".join(kind for kind, _ in members)
    images = [content for kind, content in members if "." + kind.rpartition(".")[2] in IMAGE_ENDINGS]
    if len(images) != 1:
        on_problem(key, f"it has {len(images) or 'no'} pictures ({kinds}); a record holds one")
        return None
    if not images[0]:
        on_problem(key, "its picture is empty")
        return None
    try:
        content = dict(members)
        meta = json.loads(content["json"]) if "json" in content else {}
        caption: Any = next((content[kind].decode("utf-8-sig") for kind in _TEXTS if kind in content), None)
        if "cls" in content:
            text = content["cls"].decode().strip()
            meta["cls"] = int(text) if text.lstrip("-").isdigit() else text
    except (ValueError, TypeError):
        on_problem(key, f"its texts cannot be read ({kinds})")
        return None
    if not isinstance(meta, dict):
        meta = {"json": meta}
    if isinstance(own := meta.pop(KEY, None), str):
        return Sample(own, images[0], caption or "", meta)
    if caption is None:
        caption = next(
            (meta.pop(name) for name in ("caption", "text") if isinstance(meta.get(name), str)), None
        )
    if caption is not None and not caption.strip():
        on_problem(key, "its caption is empty")
        return None
    return Sample(key, images[0], (caption or "").strip(), meta)


def _expand_braces(text: str) -> list[str]:
    match = _BRACES.search(text)
    if match is None:
        return [text]
    first, dots, last = match[1].partition("..")
    if dots and first.isdigit() and last.isdigit():
        width = len(first) if first.startswith("0") else 0
        choices = [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    elif "," in match[1]:
        choices = match[1].split(",")
    else:
        return [text]
    before, after = text[: match.start()], text[match.end() :]
    return [name for choice in choices for name in _expand_braces(before + choice + after)]
