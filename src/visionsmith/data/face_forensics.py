"""Real and forged pictures with their video, manipulation, compression and split: folders, an index, a record store.

Folders, where any level that is missing is no hindrance:

    [train|val|test] / real / [COMPRESSION] / VIDEO / FRAME.png        and  fake / MANIPULATION / [COMPRESSION] / ...
    original_sequences / SOURCE / c23 / frames / VIDEO / FRAME.png     and  manipulated_sequences / MANIPULATION / ...

The second is how FaceForensics++ unpacks (Roessler et al. 2019). An index is a JSON file as DeepfakeBench has them:
label -> split -> compression -> video -> frames. A video's identity is its whole path, so that videos of one name in
different manipulations stay apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from visionsmith.data.cache import cache_folder
from visionsmith.data.forgeries import COMPRESSIONS, SPLITS, built_in_forgeries
from visionsmith.data.records import RecordStore, is_store, open_or_make, pack
from visionsmith.data.sample import Sample
from visionsmith.data.sources.folders import pictures
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import read_bytes

__all__ = ["ForgerySet", "Frame", "find_frames", "open_forgeries"]

_REAL = frozenset({"real", "original", "originals", "original_sequences"})
_FORGED = frozenset({"fake", "forged", "manipulated", "manipulated_sequences"})
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_COMPRESSIONS = {"raw": "raw", "c0": "raw", "hq": "hq", "c23": "hq", "lq": "lq", "c40": "lq"}
_CONTAINERS = frozenset({"frames", "images", "faces"})
_SHARES = (0.7, 0.85)
"""Where training ends and where validation ends, when the data do not say what is for testing."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a data set, and what its place says of it."""

    path: Path
    key: str
    forged: bool
    split: str
    """One of `SPLITS`; empty: the data do not say."""
    compression: str
    """One of `COMPRESSIONS`; empty: unknown."""
    manipulation: str
    """Empty for real ones, and where there is no such level."""
    video: str
    """Unique: the whole path of the video, or of a picture that belongs to none."""
    people: tuple[str, ...]
    """Parts of the video's name: "071_054" was made of 071 and 054, so they are not split."""


@dataclass(frozen=True, kw_only=True)
class ForgerySet:
    """A record store of real and forged pictures, and what is known of each record."""

    store: RecordStore
    forged: np.ndarray
    """bool, one a record."""
    split: np.ndarray
    """One of `SPLITS`."""
    compression: np.ndarray
    """One of `COMPRESSIONS`, or empty."""
    method: np.ndarray
    """Manipulation or forgery method; empty for real ones."""
    video: np.ndarray
    name: str
    """What the data are, for reports."""

    def select(self, split: str, compression: str = "any") -> list[int]:
        """Records of a split, in one compression or "any".

        Raises:
            ConfigError: there is no such compression.
            DataError: there are none, or none that are real, or none that are forged.
        """
        if compression not in ("any", *COMPRESSIONS):
            raise ConfigError(
                f"there is no compression '{compression}'", do=f"choose any, {', '.join(COMPRESSIONS)}"
            )
        chosen = self.split == split
        if compression != "any":
            chosen = chosen & (self.compression == compression)
        found = np.flatnonzero(chosen)
        forged = int(self.forged[found].sum())
        if not 0 < forged < len(found):
            of = "" if compression == "any" else f" in compression '{compression}'"
            raise DataError(
                f"has {len(found) - forged} real and {forged} forged pictures for '{split}'{of}",
                where=self.name,
                do="both kinds are needed: give folders 'real' and 'fake'",
            )
        return [int(index) for index in found]


def open_forgeries(data: Path | None, *, size: int = 64, progress: bool = False) -> ForgerySet:
    """Open real and forged pictures.

    Args:
        data: None for the built-in set; a record store that `forge_pictures` made, a folder or an index as above. The
        latter
            are packed once into the cache.
        size: side of the built-in pictures, pixels.
        progress: whether to show bars.

    Raises:
        DataError: nothing is there, or nothing that says what is real and what is forged.
    """
    if data is None:
        store, name = built_in_forgeries(size, progress=progress), "built-in forgeries"
    elif is_store(data):
        store, name = RecordStore(data), str(data)
    else:
        store, name = _packed(data, progress), str(data)
    columns: dict[str, list[Any]] = {key: [] for key in ("label", "split", "compression", "method", "video")}
    for sample in store:
        if sample.meta.get("label") not in ("real", "forged") or sample.meta.get("split") not in SPLITS:
            raise DataError(
                f"record '{sample.key}' does not say whether it is real or forged, and for what it is used",
                where=name,
                do="make forgeries of plain pictures with `visionsmith data forge`, or give folders 'real' and 'fake'",
            )
        for key, values in columns.items():
            values.append(sample.meta.get(key) or (sample.key if key == "video" else ""))
    text = {key: np.asarray(values, dtype=np.str_) for key, values in columns.items()}
    return ForgerySet(
        store=store,
        forged=text["label"] == "forged",
        split=text["split"],
        compression=text["compression"],
        method=text["method"],
        video=text["video"],
        name=name,
    )


def find_frames(data: Path) -> list[Frame]:
    """Every picture of a folder or an index, with the split that it belongs to.

    Where the data do not say, the splits are drawn by video, 70 : 15 : 15; videos that share a name's part ("071" and
    "071_054") stay together.

    Raises:
        DataError: nothing is there, a picture is in neither a folder of real nor of forged ones, or the index is
        damaged.
    """
    if not data.exists():
        raise DataError("no such file or folder", where=data, do="check the path")
    frames = list(_in_folder(data) if data.is_dir() else _in_index(data))
    if not frames:
        raise DataError("holds no pictures", where=data, do="give folders 'real' and 'fake' with pictures")
    return frames if all(frame.split for frame in frames) else _with_splits(frames)


def _packed(data: Path, progress: bool) -> RecordStore:
    frames = find_frames(data)
    digest = hashlib.sha256(str(data.resolve()).encode("utf-8", "surrogateescape"))
    for frame in frames:
        status = frame.path.stat() if frame.path.exists() else None
        seen = (status.st_size, status.st_mtime_ns) if status else None
        digest.update(f"{frame.key}\0{frame.split}\0{seen}\n".encode("utf-8", "surrogateescape"))
    path = cache_folder() / f"forgeries-{data.stem}-{digest.hexdigest()[:16]}.records"
    return open_or_make(
        path, lambda: pack(map(_sample, frames), path, progress=progress, total=len(frames), resume=False)
    )


def _sample(frame: Frame) -> Sample:
    meta = {
        "label": "forged" if frame.forged else "real",
        "split": frame.split,
        "compression": frame.compression,
        "method": frame.manipulation,
        "video": frame.video,
    }
    return Sample(frame.key, read_bytes(frame.path), meta=meta)


def _in_folder(folder: Path) -> Iterator[Frame]:
    for path in pictures(folder):
        inner = path.relative_to(folder)
        levels = list(inner.parts[:-1])
        split = next((_SPLITS[level.lower()] for level in levels if level.lower() in _SPLITS), "")
        place = next((n for n, level in enumerate(levels) if level.lower() in _REAL | _FORGED), None)
        if place is None:
            raise DataError(
                f"'{inner.as_posix()}' lies neither in a folder 'real' nor in 'fake'",
                where=folder,
                do="sort the pictures into real/ and fake/, or make forgeries of them with `visionsmith data forge`",
            )
        forged = levels[place].lower() in _FORGED
        compression = next(
            (_COMPRESSIONS[level.lower()] for level in levels if level.lower() in _COMPRESSIONS), ""
        )
        names = [
            level
            for level in levels[place + 1 :]
            if level.lower() not in _CONTAINERS | set(_COMPRESSIONS) | set(_SPLITS)
        ]
        # real/VIDEO, but original_sequences/youtube/c23/frames/VIDEO; fake/MANIPULATION[/VIDEO].
        has_source = forged or levels[place].lower() == "original_sequences"
        video = names[1:] if has_source else names
        yield Frame(
            path=path,
            key=inner.as_posix(),
            forged=forged,
            split=split,
            compression=compression,
            manipulation=names[0] if forged and names else "",
            video=(inner.parent if video else inner).as_posix(),
            people=tuple(video[-1].split("_")) if video else (inner.as_posix(),),
        )


def _in_index(path: Path) -> Iterator[Frame]:
    """Frames of a DeepfakeBench index; their paths are relative to the index, and lie below its folder."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot be read as JSON ({error})", where=path, do="give a folder, or an index"
        ) from error
    root = path.parent.resolve()
    for levels, frames in _videos(content, ()):
        split = next((_SPLITS[level.lower()] for level in levels if level.lower() in _SPLITS), "")
        compression = next(
            (_COMPRESSIONS[level.lower()] for level in levels if level.lower() in _COMPRESSIONS), ""
        )
        # The outermost level names the data set, the next one the label: FF-real, FF-DF, ...
        label = levels[1] if len(levels) > 2 else levels[0]
        for name in frames:
            file = (root / str(name).replace("\\", "/")).resolve()
            if not file.is_relative_to(root):
                raise DataError(
                    f"the frame '{name}' lies outside its folder",
                    where=path,
                    do="put the index beside the frames",
                )
            yield Frame(
                path=file,
                key=file.relative_to(root).as_posix(),
                forged="real" not in label.lower(),
                split=split,
                compression=compression,
                manipulation="" if "real" in label.lower() else label,
                video="/".join(levels),
                people=tuple(levels[-1].split("_")),
            )


def _videos(node: Any, levels: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Sequence[Any]]]:
    """Every entry with frames, and the keys that lead to it."""
    if not isinstance(node, Mapping):
        return
    if isinstance(node.get("frames"), list):
        yield levels, node["frames"]
        return
    for key, value in node.items():
        yield from _videos(value, (*levels, str(key)))


def _with_splits(frames: Sequence[Frame]) -> list[Frame]:
    """The frames, those without a split drawn into one by the people of their video."""
    first: dict[str, str] = {}

    def root(person: str) -> str:
        while first.setdefault(person, person) != person:
            person = first[person]
        return person

    for frame in frames:
        for other in frame.people[1:]:
            first[root(other)] = root(frame.people[0])
    groups = sorted({root(frame.people[0]) for frame in frames})
    order = np.random.default_rng(0).permutation(len(groups))
    ends = [max(1, round(share * len(groups))) for share in _SHARES]
    drawn = {groups[place]: SPLITS[sum(rank >= end for end in ends)] for rank, place in enumerate(order)}
    return [frame if frame.split else replace(frame, split=drawn[root(frame.people[0])]) for frame in frames]
