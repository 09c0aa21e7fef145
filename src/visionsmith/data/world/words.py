"""Words for a scene: a caption of one sentence, a detailed description, and a line of symbols."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visionsmith.data.world.scene import Scene, Thing

__all__ = ["NUMBERS", "article", "caption", "describe", "joined", "plural", "relation", "symbols"]

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""How counts are written."""

_PLURALS = {"butterfly": "butterflies", "fish": "fish"}
_OPENINGS = ("There is {}.", "The picture shows {}.", "I can see {}.", "It shows {}.")


def article(name: str) -> str:
    """A red cat, an orange cat."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def plural(kind: str) -> str:
    """Cats, butterflies."""
    return _PLURALS.get(kind, f"{kind}s")


def joined(parts: Sequence[str]) -> str:
    """One; one and two; one, two and three."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def caption(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """One sentence that names every thing, its colour and its place.

    Args:
        scene: what is described.
        rng: chooses the order of the things and which sizes are said; None: in order, with sizes.
    """
    things = list(scene.things)
    if rng is not None:
        things = [things[index] for index in rng.permutation(len(things))]
    return joined([_mention(thing, rng is None or rng.random() < 0.5) for thing in things])


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """A detailed description: how many things, each with size, colour and place, and how two of them lie."""
    count = len(scene.things)
    opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))].format(
        "one thing" if count == 1 else f"a group of {NUMBERS[count]} things"
    )
    order = [scene.things[index] for index in rng.permutation(count)]
    lines = [f"{article(f'{thing.size} {thing.name}').capitalize()} is {thing.where}." for thing in order]
    if count > 1 and (lies := relation(order[0], order[1])):
        lines.append(f"The {order[0].name} is {lies} the {order[1].name}.")
    return " ".join([opening, *lines])


def relation(first: Thing, second: Thing) -> str:
    """How one thing lies to another: "left of", "right of", "above", "below", in this order of preference."""
    if first.column != second.column:
        return "left of" if first.column < second.column else "right of"
    return "above" if first.row < second.row else "below"


def symbols(scene: Scene) -> str:
    """What a language model without eyes is told: names with boxes x, y, width, height, in shares of the side."""
    return "\n".join(
        f"{thing.name}: [{', '.join(f'{value:.3f}' for value in thing.box)}]" for thing in scene.things
    )


def _mention(thing: Thing, with_size: bool) -> str:
    return f"{article(f'{thing.size} {thing.name}' if with_size else thing.name)} {thing.where}"
