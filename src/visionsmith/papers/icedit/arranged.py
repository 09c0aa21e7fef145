"""Things in two by two places, before and after an edit. A thing is an emoji in its own colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from visionsmith.data.world import KINDS

__all__ = ["PLACES", "ArrangedEdit", "arranged_edit"]

PLACES = ("at the top left", "at the top right", "at the bottom left", "at the bottom right")

Arrangement = Mapping[int, str]
"""Place -> name of the thing, of `data.world.KINDS`."""


@dataclass(frozen=True)
class ArrangedEdit:
    """One edit and what both pictures show."""

    before: np.ndarray
    """RGB uint8 `h w 3`."""
    after: np.ndarray
    instruction: str
    caption_before: str
    caption_after: str


def arranged_edit(kind: str, rng: np.random.Generator, size: int) -> ArrangedEdit:
    """A random edit of one to three different things.

    Args:
        kind: "add", "remove" or "swap".
        rng: where all chance comes from.
        size: side of the pictures, pixels.
    """
    count = int(rng.integers(1, 4)) + (kind == "remove")
    count = min(count, 3)
    names = [list(KINDS)[int(place)] for place in rng.permutation(len(KINDS))[: count + 1]]
    places = [int(place) for place in rng.permutation(len(PLACES))[: count + 1]]
    new, where = names.pop(), places.pop()
    before = dict(zip(places, names, strict=True))
    changed = places[0]
    if kind == "add":
        after, text = {**before, where: new}, f"add {_a(new)} {PLACES[where]}"
    elif kind == "remove":
        after = {place: name for place, name in before.items() if place != changed}
        text = f"remove the {before[changed]}"
    else:
        after, text = {**before, changed: new}, f"replace the {before[changed]} with {_a(new)}"
    return ArrangedEdit(_draw(before, size), _draw(after, size), text, _caption(before), _caption(after))


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _caption(things: Arrangement) -> str:
    return ", ".join(f"{things[place]} {PLACES[place]}" for place in sorted(things))


def _draw(things: Arrangement, size: int) -> np.ndarray:
    canvas = np.full((size, size, 3), 255, np.float32)
    half = size // 2
    for place, name in things.items():
        sprite = _sprite(name, half - 2)
        side = len(sprite)
        top, left = place // 2 * half + 1, place % 2 * half + 1
        under = canvas[top : top + side, left : left + side]
        opacity = sprite[..., 3:].astype(np.float32) / 255
        under *= 1 - opacity
        under += sprite[..., :3] * opacity
    picture: np.ndarray = canvas.round().clip(0, 255).astype(np.uint8)
    return picture


@lru_cache(maxsize=256)
def _sprite(name: str, side: int) -> np.ndarray:
    """RGBA uint8 `side side 4`, not to be written to."""
    from visionsmith.data.world import plain

    sprite = plain(name, side)
    sprite.setflags(write=False)
    return sprite
