"""What a language model without eyes is told of a picture: captions, and objects with boxes (sec. 3, table 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionsmith.data.sample import Sample
from visionsmith.data.sampler import generator
from visionsmith.data.sources import read_samples
from visionsmith.data.sources.problems import OnProblem
from visionsmith.data.world import SEEN, Scene, caption, draw, make_scene
from visionsmith.data.world.words import plural
from visionsmith.image.io import encode_png

__all__ = ["Facts", "Thing", "invented", "of_data", "of_world"]

_DENIES = re.compile(
    r"\b(no|not|none|nothing|neither|nor|without|isn't|aren't|don't|doesn't|cannot|can't|look for)\b", re.I
)
_SENTENCE = re.compile(r"[^.!?;]+[.!?;]?")


@dataclass(frozen=True)
class Thing:
    """An object with its box."""

    name: str
    box: tuple[float, float, float, float]
    """x, y of the top left corner, width, height, as shares of the picture's sides."""


@dataclass(frozen=True)
class Facts:
    """All that is known of a picture."""

    key: str
    image: bytes
    """The encoded picture; it is never shown to the language model."""
    captions: tuple[str, ...]
    things: tuple[Thing, ...]
    scene: Scene | None = None
    """Where the picture is of the built-in world."""

    def told(self) -> str:
        """Captions and boxes, as the language model reads them."""
        lines = [*self.captions]
        for thing in self.things:
            lines.append(f"{thing.name}: [{', '.join(f'{value:.3f}' for value in thing.box)}]")
        return "\n".join(lines)


def of_world(count: int, seed: int, side: int = 192) -> Iterator[Facts]:
    """Scenes of the built-in world, without the pairs that are kept for testing."""
    for index in range(count):
        rng = generator(seed, 0, index)
        scene = make_scene(rng, pairs=SEEN)
        yield Facts(
            key=f"scene-{seed}-{index:06d}",
            image=encode_png(draw(scene, side)),
            captions=(caption(scene, rng), caption(scene)),
            things=tuple(Thing(thing.name, thing.box) for thing in scene.things),
            scene=scene,
        )


def of_data(path: Path, on_problem: OnProblem) -> Iterator[Facts]:
    """Pictures with captions or boxes of a data set, e.g. COCO's annotations; others are given to `on_problem`."""
    for sample in read_samples(path, on_problem=on_problem):
        captions = tuple(sample.meta.get("captions") or ([sample.caption] if sample.caption else []))
        things = tuple(_things(sample))
        if not sample.image:
            on_problem(sample.key, "it has no picture")
        elif not captions and not things:
            on_problem(sample.key, "it has neither captions nor boxes")
        else:
            yield Facts(sample.key, sample.image, captions, things)


def _things(sample: Sample) -> Iterator[Thing]:
    from visionsmith.image.header import read_header

    objects: Iterable[Mapping[str, Any]] = sample.meta.get("objects") or ()
    header = read_header(sample.image) if objects and sample.image else None
    for entry in objects:
        box = entry.get("bbox")
        if header is None or not isinstance(box, list | tuple) or len(box) != 4:
            continue
        x, y, width, height = (float(value) for value in box)
        shares = (x / header.width, y / header.height, width / header.width, height / header.height)
        yield Thing(str(entry["category"]), shares)


def invented(text: str, facts: Facts, names: Iterable[str]) -> list[str]:
    """The objects that a text says are there and the facts do not have.

    A sentence that denies something may name anything.

    Args:
        text: an answer, or a question that takes something for granted.
        facts: of the picture.
        names: every name of an object that occurs in the data set.
    """
    known = " ".join([*facts.captions, *(thing.name for thing in facts.things)])
    affirmed = " ".join(part for part in _SENTENCE.findall(text) if not _DENIES.search(part))
    return sorted({name for name in names if _says(affirmed, name) and not _says(known, name)})


def _says(text: str, name: str) -> bool:
    words = {name, plural(name), f"{name}es"}
    return re.search(rf"\b({'|'.join(re.escape(word) for word in words)})\b", text, re.I) is not None
