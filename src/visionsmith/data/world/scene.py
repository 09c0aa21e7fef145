"""Scenes: a few things on a plain ground, with their boxes, and words for them.

A scene is symbols first (`Scene`) and pixels only when it is drawn, so captions, boxes, relations and answers are
exact. The ground is divided into three by three places, and a place holds one thing at most: "at the top left" is never
a matter of opinion.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionsmith.data.world.things import COLOURS, KINDS, PAIRS, drawing

__all__ = ["PLACES", "SIDE", "SIZES", "Scene", "Thing", "draw", "make_scene", "new_thing"]

SIDE = 96
"""Side of a scene as it is drawn by default, pixels."""

PLACES = (
    "at the top left", "at the top", "at the top right",
    "on the left", "in the middle", "on the right",
    "at the bottom left", "at the bottom", "at the bottom right",
)  # fmt: skip
"""The places, row by row."""

SIZES = {"small": 0.62, "large": 0.94}
"""Name -> side of a thing as a share of its place's. Jitter (4 %) never makes a small thing as large as a large one."""

_JITTER = 0.04


@dataclass(frozen=True)
class Thing:
    """One thing of a scene."""

    kind: str
    """Of `KINDS`."""
    colour: str
    """Of `COLOURS`."""
    size: str
    """Of `SIZES`."""
    place: int
    """0 to 8, row by row."""
    side: float
    """As a share of the scene's side."""
    centre: tuple[float, float]
    """x (to the right) and y (down), as shares of the scene's side."""

    @property
    def name(self) -> str:
        """Colour and kind, e.g. red cat."""
        return f"{self.colour} {self.kind}"

    @property
    def where(self) -> str:
        """Its place in words, e.g. at the top left."""
        return PLACES[self.place]

    @property
    def row(self) -> int:
        """0 (top) to 2."""
        return self.place // 3

    @property
    def column(self) -> int:
        """0 (left) to 2."""
        return self.place % 3

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y of the top left corner, width, height: shares of the scene's side, in COCO's order."""
        x, y = self.centre
        return x - self.side / 2, y - self.side / 2, self.side, self.side


@dataclass(frozen=True)
class Scene:
    """Things on a ground."""

    things: tuple[Thing, ...]
    """In the order of their places."""
    ground: tuple[int, int, int] = (255, 255, 255)
    """RGB."""

    def changed(self, old: Thing | None, new: Thing | None) -> Scene:
        """The scene with one thing exchanged for another, taken away (`new` None) or added (`old` None)."""
        kept = [thing for thing in self.things if thing is not old]
        return replace(self, things=_ordered([*kept, new] if new else kept))

    def free(self) -> list[int]:
        """Places without a thing."""
        taken = {thing.place for thing in self.things}
        return [place for place in range(len(PLACES)) if place not in taken]


def make_scene(
    rng: np.random.Generator,
    count: int | None = None,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    same_kind: int = 0,
    same_colour: int = 0,
) -> Scene:
    """A random scene; no two things share both kind and colour.

    Args:
        rng: where all chance comes from.
        count: things, 1 to 9; None: 1 to 5.
        pairs: kinds and colours that may occur; at least `count`.
        same_kind: this many of the things share their kind.
        same_colour: this many of the things share their colour; not together with `same_kind`.
    """
    count = int(rng.integers(1, 6)) if count is None else count
    chosen = _choose(rng, count, pairs, same_kind, same_colour)
    places = rng.permutation(len(PLACES))[:count]
    things = [
        new_thing(rng, kind, colour, int(place)) for (kind, colour), place in zip(chosen, places, strict=True)
    ]
    ground = rng.integers(236, 256, size=3)
    return Scene(_ordered(things), (int(ground[0]), int(ground[1]), int(ground[2])))


def new_thing(rng: np.random.Generator, kind: str, colour: str, place: int, size: str | None = None) -> Thing:
    """A thing in a place, its size (unless named) and its exact position drawn at random."""
    size = size or list(SIZES)[int(rng.integers(len(SIZES)))]
    share = SIZES[size] * (1 + _JITTER * rng.uniform(-1, 1))
    room = (1 - share) / 2
    across, down = rng.uniform(-room, room, 2) if room > 0 else (0.0, 0.0)
    centre = ((place % 3 + 0.5 + across) / 3, (place // 3 + 0.5 + down) / 3)
    return Thing(kind, colour, size, place, share / 3, centre)


def draw(scene: Scene, side: int = SIDE) -> np.ndarray:
    """The scene's picture.

    Args:
        scene: what is drawn.
        side: of the picture, pixels, 32 to 768.

    Returns:
        RGB HWC uint8.
    """
    canvas = np.full((side, side, 3), scene.ground, np.float32) / 255
    for thing in scene.things:
        pixels = max(4, round(thing.side * side))
        sprite = drawing(thing.kind, thing.colour, pixels)
        left = min(max(round(thing.centre[0] * side - pixels / 2), 0), side - pixels)
        top = min(max(round(thing.centre[1] * side - pixels / 2), 0), side - pixels)
        under = canvas[top : top + pixels, left : left + pixels]
        under *= 1 - sprite[..., 3:]
        under += sprite[..., :3]
    picture: np.ndarray = np.rint(canvas * 255).clip(0, 255).astype(np.uint8)
    return picture


def _choose(
    rng: np.random.Generator,
    count: int,
    pairs: Sequence[tuple[str, str]],
    same_kind: int,
    same_colour: int,
) -> list[tuple[str, str]]:
    """Different pairs, the first of them with what they share."""
    shared: list[tuple[str, str]] = []
    if same := max(same_kind, same_colour):
        axis, values = (0, list(KINDS)) if same_kind else (1, list(COLOURS))
        groups = [[pair for pair in pairs if pair[axis] == value] for value in values]
        large = [group for group in groups if len(group) >= same]
        group = large[int(rng.integers(len(large)))]
        shared = [group[int(index)] for index in rng.permutation(len(group))[:same]]
    order = (pairs[int(index)] for index in rng.permutation(len(pairs)))
    others = [
        pair for pair in order if pair not in shared and not _joins(pair, shared, same_kind, same_colour)
    ]
    return [*shared, *others[: count - len(shared)]]


def _joins(
    pair: tuple[str, str], shared: Collection[tuple[str, str]], same_kind: int, same_colour: int
) -> bool:
    """Whether a pair would make the shared group larger than asked."""
    return any(
        (same_kind and pair[0] == other[0]) or (same_colour and pair[1] == other[1]) for other in shared
    )


def _ordered(things: Collection[Thing]) -> tuple[Thing, ...]:
    return tuple(sorted(things, key=lambda thing: thing.place))
