"""Forged pictures made from any pictures: what was changed is known to the pixel, and nothing else gives it away.

A square is cut from a source picture. It stays as it is, and once more a part of it is forged. Both then go through the
same compression, drawn independently, so that compression alone tells nothing. Sources are split, not squares: what is
tested on comes from pictures that training has not seen, as donors neither.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from visionsmith.data.cache import cache_folder
from visionsmith.data.forge import METHODS, forge
from visionsmith.data.photographs import photograph
from visionsmith.data.records import PackReport, RecordStore, open_or_make, pack
from visionsmith.data.records.pack import Skipped
from visionsmith.data.sample import Sample
from visionsmith.data.sampler import generator
from visionsmith.data.sources import find_source
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import decode, encode_jpeg, encode_png

__all__ = [
    "BUILT_IN",
    "COMPRESSIONS",
    "SPLITS",
    "ForgeSource",
    "built_in_forgeries",
    "forge_pictures",
    "forge_samples",
    "read_mask",
]

COMPRESSIONS: Mapping[str, tuple[int, int] | None] = {"raw": None, "hq": (85, 95), "lq": (35, 50)}
"""Range of the JPEG quality by setting; "raw" is lossless. The names follow FaceForensics++."""

SPLITS = ("train", "val", "test")

BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "train": ("astronaut", "brick", "galaxies", "grass", "pagoda", "retina", "rocket", "tissue"),
    "val": ("flower", "gravel"),
    "test": ("cat", "coffee", "motorcycle"),
}
"""Photographs of the built-in set by split."""

CUTS = {"train": 240, "val": 200, "test": 200}
"""Squares cut from each photograph of the built-in set."""
_REVISION = 2
_FLAT = 6.0
"""Gray levels of deviation below which a square shows nothing that could be forged."""
_TRIES = 12
_HELD_OUT = {"val": 0.15, "test": 0.25}


@dataclass(frozen=True)
class ForgeSource:
    """A picture that squares are cut from."""

    name: str
    split: str
    """One of `SPLITS`."""
    read: Callable[[], np.ndarray]
    """Gives the picture, RGB HWC uint8."""


def forge_samples(
    sources: Sequence[ForgeSource],
    *,
    size: int,
    cuts: Mapping[str, int],
    compressions: Sequence[str] = ("hq", "lq"),
    seed: int = 0,
    skipped: list[Skipped] | None = None,
) -> Iterator[Sample]:
    """Squares of the sources, each real and forged, in each compression.

    Args:
        sources: at least two of each split that occurs, since a splice needs a donor.
        size: side of the squares, pixels.
        cuts: squares of a source, by split.
        compressions: keys of `COMPRESSIONS`.
        seed: of every choice.
        skipped: sources that are too small or cannot be read are added here with the reason.

    Yields:
        Samples with `meta`: "label" ("real" or "forged"), "split", "compression", "quality" (null for raw), "source",
        "square" (the same for what is real and what is forged of it), and of a forged one "method" and "mask" (a PNG
        in base64, see `read_mask`).

    Raises:
        ConfigError: a size, a number or a compression that there is not.
        DataError: a split has less than two usable sources.
    """
    _check(size, cuts, compressions)
    for split in SPLITS:
        pictures = _read(sources, split, size, skipped)
        names = list(pictures)
        for place, name in enumerate(names):
            for number in range(cuts[split]):
                # A source's squares do not depend on which others there are, only its donors do.
                rng = generator(seed, _digest(name), number)
                real = _cut(pictures[name], size, rng)
                donor = _cut(
                    pictures[names[(place + int(rng.integers(1, len(names)))) % len(names)]], size, rng
                )
                method = METHODS[number % len(METHODS)]
                forged, mask = forge(real, donor, method, rng)
                square = f"{name}/{number:04d}"
                meta = {"split": split, "source": name, "square": square}
                for compression in compressions:
                    yield _sample(
                        f"{square}/real/{compression}", real, compression, rng, {**meta, "label": "real"}
                    )
                    about = {**meta, "label": "forged", "method": method, "mask": _mask_text(mask)}
                    yield _sample(f"{square}/{method}/{compression}", forged, compression, rng, about)


def read_mask(meta: Mapping[str, Any]) -> np.ndarray | None:
    """Where a sample was forged, HW bool; None for a real one, and for one whose mask is not known."""
    text = meta.get("mask")
    return None if not text else decode(base64.b64decode(text), where="mask", channels="gray") > 127


def forge_pictures(
    data: Path,
    into: Path,
    *,
    size: int = 64,
    cuts: int = 16,
    compressions: Sequence[str] = ("hq", "lq"),
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> PackReport:
    """Forge the pictures of a folder, or of any data that can be read, and pack them to a record store.

    Args:
        data: as for `sources.read_samples`.
        into: folder of the store.
        size: side of the squares, pixels; smaller pictures are left out.
        cuts: squares of each picture.
        compressions: keys of `COMPRESSIONS`.
        seed: of the split and of every choice.
        overwrite: whether a store that is there may be replaced.
        progress: whether to show a bar if it takes more than two seconds.

    Raises:
        DataError: there are less than six usable pictures, two of each split.
        ConfigError, OutputError: as `forge_samples` and `records.pack`.
    """
    skipped: list[Skipped] = []
    names: list[str] = []
    encoded: dict[str, bytes] = {}
    for sample in find_source(data).samples(lambda key, reason: skipped.append((key, reason))):
        names.append(sample.key)
        encoded[sample.key] = sample.image
    if len(names) < 2 * len(SPLITS):
        raise DataError(
            f"has {len(names)} pictures, and {2 * len(SPLITS)} are needed: two to train on, two to choose the "
            "threshold with, two to test on",
            where=data,
            do="give more pictures",
        )
    split = _split(names, seed)
    sources = [
        ForgeSource(name, split[name], lambda name=name: decode(encoded[name], where=name))  # type: ignore[misc]
        for name in names
    ]
    numbers = dict.fromkeys(SPLITS, cuts)
    samples = forge_samples(
        sources, size=size, cuts=numbers, compressions=compressions, seed=seed, skipped=skipped
    )
    return pack(
        samples,
        into,
        attributes={"source": f"forged from {data.name}", "size": size, "seed": seed},
        overwrite=overwrite,
        # Another seed or size would go on from what an interrupted call with other settings left.
        resume=False,
        progress=progress,
        total=2 * len(names) * cuts * len(compressions),
        skipped=skipped,
    )


def built_in_forgeries(
    size: int = 64, *, cuts: Mapping[str, int] | None = None, path: Path | None = None, progress: bool = False
) -> RecordStore:
    """Forged squares of thirteen installed photographs, HQ and LQ; packed on first use (a minute).

    Args:
        size: side of the squares, pixels.
        cuts: squares of each photograph by split, in place of `CUTS`.
        path: where the store is or shall be, in place of the cache folder.
        progress: whether to show a bar while packing.
    """
    cuts = dict(cuts or CUTS)
    number = "-".join(str(cuts[split]) for split in SPLITS)
    path = path or cache_folder() / f"forgeries-{size}-{number}-r{_REVISION}.records"
    sources = [
        ForgeSource(name, split, lambda name=name: photograph(name))  # type: ignore[misc]
        for split, names in BUILT_IN.items()
        for name in names
    ]
    attributes = {
        "source": "photographs of scikit-image and scikit-learn, forged by this project",
        "licence": "skimage/data/README.txt and sklearn/datasets/images/README.txt",
        "size": size,
    }
    total = 4 * sum(cuts[split] * len(names) for split, names in BUILT_IN.items())
    return open_or_make(
        path,
        lambda: pack(
            forge_samples(sources, size=size, cuts=cuts),
            path,
            attributes=attributes,
            resume=False,
            progress=progress,
            total=total,
            check=False,
        ),
    )


def _check(size: int, cuts: Mapping[str, int], compressions: Sequence[str]) -> None:
    if size < 32:
        raise ConfigError(f"size = {size} px is too small", do="choose at least 32")
    for split in SPLITS:
        if cuts.get(split, 0) < 1:
            raise ConfigError(f"cuts = {cuts.get(split, 0)} for '{split}'", do="choose at least 1")
    for name in compressions:
        if name not in COMPRESSIONS:
            raise ConfigError(f"there is no compression '{name}'", do=f"choose of {', '.join(COMPRESSIONS)}")
    if not compressions or len(set(compressions)) < len(compressions):
        raise ConfigError(f"compressions = {list(compressions)}", do="name each once, at least one")


def _read(
    sources: Sequence[ForgeSource], split: str, size: int, skipped: list[Skipped] | None
) -> dict[str, np.ndarray]:
    """The usable pictures of a split."""
    found = {}
    for source in sources:
        if source.split != split:
            continue
        reason = ""
        try:
            picture = source.read()
        except DataError as error:
            reason = error.what
        else:
            if min(picture.shape[:2]) < size:
                reason = (
                    f"is {picture.shape[1]} x {picture.shape[0]} px, smaller than the squares of {size} px"
                )
        if not reason:
            found[source.name] = picture
        elif skipped is not None:
            skipped.append((source.name, reason))
    if len(found) < 2:
        raise DataError(
            f"{len(found)} usable pictures fell to '{split}', and a splice needs two (squares of {size} px)",
            do="give more or larger pictures, or a smaller size",
        )
    return found


def _split(names: Sequence[str], seed: int) -> dict[str, str]:
    """Each picture's split, at least two in each."""
    order = np.random.default_rng(seed).permutation(len(names))
    held = {split: max(2, round(share * len(names))) for split, share in _HELD_OUT.items()}
    found = {}
    for rank, place in enumerate(order):
        part = "test" if rank < held["test"] else "val" if rank < held["test"] + held["val"] else "train"
        found[names[place]] = part
    return found


def _digest(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))


def _cut(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of `size` px, cut at that size or larger and then made smaller; flat ones are passed over."""
    height, width = picture.shape[:2]
    square = picture[:size, :size]
    for _ in range(_TRIES):
        side = int(rng.integers(size, min(2 * size, height, width) + 1))
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        square = cv2.resize(
            picture[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA
        )
        if float(square.std()) >= _FLAT:
            break
    return square


def _sample(
    key: str, picture: np.ndarray, compression: str, rng: np.random.Generator, meta: dict[str, Any]
) -> Sample:
    limits = COMPRESSIONS[compression]
    quality = None if limits is None else int(rng.integers(limits[0], limits[1] + 1))
    image = encode_png(picture) if quality is None else encode_jpeg(picture, quality)
    return Sample(key, image, meta={**meta, "compression": compression, "quality": quality})


def _mask_text(mask: np.ndarray) -> str:
    return base64.b64encode(encode_png(mask.astype(np.uint8) * 255)).decode("ascii")
