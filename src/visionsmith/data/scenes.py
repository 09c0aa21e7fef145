"""Scenes: an emoji before a photograph, labelled with what the emoji does. The built-in data set for classifiers.

Forty subjects ("farmer", "surfing", ...) are the classes. Each is drawn in about eighteen variants of person and skin
tone. A scene takes one of them, turned, scaled, mirrored and shifted, over a patch of a real photograph, with part of
another drawing beside it. What a test scene shows has not been seen: neither its variant nor its photograph occurs in
training, so colours and backgrounds do not give the class away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from visionsmith.data import openmoji
from visionsmith.data.cache import cache_folder
from visionsmith.data.photographs import photograph
from visionsmith.data.records import RecordStore, open_or_make, pack
from visionsmith.data.sample import Sample
from visionsmith.data.split import alike
from visionsmith.errors import ConfigError
from visionsmith.image.io import encode_jpeg

__all__ = ["PER_CLASS", "REVISION", "SUBJECTS", "samples", "scenes_store"]

REVISION = 2
"""Of what `samples` yields: raised when it changes, so that packed copies of before are not used."""

SUBJECTS = (
    "artist", "astronaut", "biking", "bouncing ball", "bowing", "cartwheeling", "climbing", "construction worker",
    "cook", "detective", "elf", "facepalming", "factory worker", "fairy", "farmer", "firefighter", "getting haircut",
    "getting massage", "golfing", "guard", "health worker", "in lotus position", "in manual wheelchair", "judge",
    "juggling", "kneeling", "lifting weights", "mage", "mechanic", "office worker", "pilot", "rowing boat", "running",
    "scientist", "singer", "student", "surfing", "swimming", "teacher", "technologist",
)  # fmt: skip
"""The classes, in order."""

PER_CLASS = {"train": 200, "test": 50}
"""Scenes of a class: 8,000 to train on, 2,000 to test on."""

_BACKGROUNDS = {
    "train": ("astronaut", "coffee", "rocket", "pagoda", "tissue", "galaxies", "grass", "brick"),
    "test": ("cat", "flower", "motorcycle", "gravel"),
}
_TEST_SHARE = 0.3
"""Of a class's families of drawings."""
_SEED = 20_11_2
_QUALITY = 95


def scenes_store(size: int = 64, *, progress: bool = False, path: Path | None = None) -> RecordStore:
    """The scenes at `size` x `size` px; packed on first use (about fifteen seconds).

    Args:
        size: side of the pictures, pixels.
        progress: whether to show a bar while packing.
        path: where the store is or shall be, in place of the cache folder.
    """
    path = path or cache_folder() / f"scenes-{size}-r{REVISION}.records"
    total = len(SUBJECTS) * sum(PER_CLASS.values())
    attributes = {**openmoji.ATTRIBUTES, "source": "scenes", "size": size, "classes": list(SUBJECTS)}
    return open_or_make(
        path,
        lambda: pack(samples(size), path, attributes=attributes, progress=progress, total=total, check=False),
    )


def samples(size: int = 64) -> Iterator[Sample]:
    """Draw every scene; the same ones each time.

    Args:
        size: side of the pictures, pixels; 16 to 256.

    Yields:
        Training scenes, then test scenes, classes in turn. `image` is a JPEG (quality 95); `meta` has "label" (of
        `SUBJECTS`), "split" ("train" or "test"), "variant" (code points of the drawing) and "photograph".
    """
    if not 16 <= size <= 256:
        raise ConfigError(f"size = {size} px is out of range", do="choose 16 to 256")
    families = _families()
    drawn: dict[str, np.ndarray] = {}
    for split, count in PER_CLASS.items():
        photographs = {name: photograph(name) for name in _BACKGROUNDS[split]}
        variants = [_side(families[subject], split, place) for place, subject in enumerate(SUBJECTS)]
        for number in range(count):
            for place, subject in enumerate(SUBJECTS):
                rng = np.random.default_rng((_SEED, place, number, split == "test"))
                other = variants[(place + 1 + int(rng.integers(len(SUBJECTS) - 1))) % len(SUBJECTS)]
                code, beside = (
                    variants[place][rng.integers(len(variants[place]))],
                    other[rng.integers(len(other))],
                )
                for key in (code, beside):
                    if key not in drawn:
                        drawn[key] = _draw(key, size)
                name = _BACKGROUNDS[split][rng.integers(len(photographs))]
                picture = _compose(photographs[name], drawn[code], drawn[beside], size, rng)
                meta = {"label": subject, "split": split, "variant": code, "photograph": name}
                yield Sample(f"{split}/{subject}/{number:03d}", encode_jpeg(picture, _QUALITY), meta=meta)


def _families() -> dict[str, list[list[str]]]:
    """Subject -> code points of its variants, those that are drawn alike together."""
    codes: dict[str, list[str]] = defaultdict(list)
    for code, name in openmoji.names().items():
        if name.group == "person" and name.subject in SUBJECTS:
            codes[name.subject].append(code)
    found = {}
    for subject, members in codes.items():
        pictures = np.stack([_on_white(_draw(code, 64)) for code in members])
        found[subject] = [[members[index] for index in family] for family in alike(pictures)]
    return found


def _side(families: Sequence[Sequence[str]], split: str, place: int) -> list[str]:
    """One side's variants of a class."""
    order = np.random.default_rng((_SEED, place)).permutation(len(families))
    test = set(order[: max(1, round(_TEST_SHARE * len(families)))].tolist())
    return [
        code
        for index, family in enumerate(families)
        if (index in test) == (split == "test")
        for code in family
    ]


def _draw(code: str, size: int) -> np.ndarray:
    """A drawing as RGBA with colours multiplied by opacity: float32 (size, size, 4) [0, 1]."""
    straight = openmoji.drawing(code, size).astype(np.float32) / 255
    straight[..., :3] *= straight[..., 3:]
    return straight


def _on_white(drawing: np.ndarray) -> np.ndarray:
    laid: np.ndarray = np.rint((drawing[..., :3] + 1 - drawing[..., 3:]) * 255).astype(np.uint8)
    return laid


def _compose(
    background: np.ndarray, subject: np.ndarray, beside: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """A scene: RGB HWC uint8."""
    scene = _patch(background, size, rng).astype(np.float32) / 255
    # Half hidden at the border and smaller than the subject: a distraction, not a second answer.
    angle = rng.uniform(0, 2 * np.pi)
    edge = (0.5 * np.cos(angle), 0.5 * np.sin(angle))
    scene = _lay(scene, beside, scale=rng.uniform(0.35, 0.5), shift=edge, rng=rng)
    shift = (rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12))
    scene = _lay(scene, subject, scale=rng.uniform(0.6, 1.0), shift=shift, rng=rng)
    return np.rint(scene * 255).clip(0, 255).astype(np.uint8)


def _patch(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(min(96, min(image.shape[:2])), min(image.shape[:2]) + 1))
    top = int(rng.integers(image.shape[0] - side + 1))
    left = int(rng.integers(image.shape[1] - side + 1))
    return cv2.resize(image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)


def _lay(
    scene: np.ndarray,
    drawing: np.ndarray,
    *,
    scale: float,
    shift: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """A drawing over a scene, turned by up to 25 degrees and mirrored half of the time."""
    size, side = len(scene), len(drawing)
    zoom = scale * size / side
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), rng.uniform(-25, 25), zoom)
    if rng.random() < 0.5:
        matrix = matrix @ np.array([[-1, 0, side - 1], [0, 1, 0], [0, 0, 1]], dtype=float)
    matrix[:, 2] = matrix[:, 2] + (size - side) / 2 + size * np.asarray(shift)
    placed = cv2.warpAffine(drawing, matrix, (size, size), flags=cv2.INTER_LINEAR)
    result: np.ndarray = placed[..., :3] + scene * (1 - placed[..., 3:])
    return result
