"""Questions about scenes with answers that are exact, in families, each with the things that prove the answer.

A family makes its own scenes, because a good question needs a fitting one: an odd one out, two pictures that differ, a
picture in which "no" is as frequent as "yes".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from visionsmith.data.world.scene import PLACES, SIZES, Scene, Thing, make_scene, new_thing
from visionsmith.data.world.things import COLOURS, KINDS, PAIRS
from visionsmith.data.world.words import NUMBERS, article, plural

__all__ = ["FAMILIES", "PAIR_FAMILIES", "Question", "ask"]

Pairs = Sequence[tuple[str, str]]
T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """A question about one picture or two."""

    family: str
    """Of `FAMILIES`."""
    scenes: tuple[Scene, ...]
    """One, or two for the families that compare pictures."""
    text: str
    answer: str
    """Exact: lower case, no full stop."""
    evidence: tuple[Thing, ...]
    """The things that one must look at; of the last scene that holds them. May be empty ("no", "nothing")."""
    reason: str
    """The step in words that leads to the answer, true of the scene."""


def ask(family: str, rng: np.random.Generator, pairs: Pairs = PAIRS) -> Question:
    """A question of a family.

    Args:
        family: of `FAMILIES`.
        rng: where all chance comes from.
        pairs: kinds and colours that its scenes are made of.
    """
    return FAMILIES[family](rng, pairs)


def _what(rng: np.random.Generator, pairs: Pairs) -> Question:
    scene = make_scene(rng, int(rng.integers(2, 6)), pairs=pairs)
    if rng.random() < 0.15:
        place = _pick(rng, scene.free())
        reason = f"I look {PLACES[place]}. It is empty."
        return Question("what", (scene,), f"What is {PLACES[place]}?", "nothing", (), reason)
    thing = _pick(rng, scene.things)
    reason = f"I look {thing.where}. I see {article(thing.name)}."
    return Question("what", (scene,), f"What is {thing.where}?", article(thing.name), (thing,), reason)


def _colour(rng: np.random.Generator, pairs: Pairs) -> Question:
    alone: list[Thing] = []
    while not alone:
        scene = make_scene(rng, int(rng.integers(2, 6)), pairs=pairs)
        kinds = [thing.kind for thing in scene.things]
        alone = [thing for thing in scene.things if kinds.count(thing.kind) == 1]
    thing = _pick(rng, alone)
    reason = f"The {thing.kind} is {thing.where}. It is {thing.colour}."
    return Question("colour", (scene,), f"What colour is the {thing.kind}?", thing.colour, (thing,), reason)


def _where(rng: np.random.Generator, pairs: Pairs) -> Question:
    scene = make_scene(rng, int(rng.integers(2, 6)), pairs=pairs)
    thing = _pick(rng, scene.things)
    reason = f"I look for {article(thing.name)}. I find it {thing.where}."
    return Question("where", (scene,), f"Where is the {thing.name}?", thing.where, (thing,), reason)


def _count(rng: np.random.Generator, pairs: Pairs) -> Question:
    total, same, kind = int(rng.integers(1, 6)), 0, rng.random()
    if kind < 0.4:
        scene = make_scene(rng, total, pairs=pairs)
        counted, noun = scene.things, "things"
    else:
        # Three in four such questions have something to count.
        same = int(rng.integers(1, total + 1)) if rng.random() < 0.75 else 0
        by_kind = kind < 0.7
        scene = make_scene(
            rng, total, pairs=pairs, same_kind=same if by_kind else 0, same_colour=0 if by_kind else same
        )
        names = KINDS if by_kind else COLOURS
        held = [thing.kind if by_kind else thing.colour for thing in scene.things]
        most = max(held, key=held.count)
        value = most if same else _pick(rng, [name for name in names if name not in held])
        counted = tuple(thing for thing, own in zip(scene.things, held, strict=True) if own == value)
        noun = plural(value) if by_kind else f"{value} things"
    reason = f"I count {', '.join(thing.where for thing in counted)}." if counted else f"I see no {noun}."
    answer = NUMBERS[len(counted)]
    return Question("count", (scene,), f"How many {noun} are there?", answer, counted, reason)


def _exists(rng: np.random.Generator, pairs: Pairs) -> Question:
    scene = make_scene(rng, int(rng.integers(1, 6)), pairs=pairs)
    there = {(thing.kind, thing.colour) for thing in scene.things}
    if rng.random() < 0.5:
        thing = _pick(rng, scene.things)
        reason = f"I look for {article(thing.name)}. I find it {thing.where}."
        return Question("exists", (scene,), f"Is there {article(thing.name)}?", "yes", (thing,), reason)
    # Half of the absent things differ from one that is there in kind or colour only.
    near = [
        pair for pair in pairs if pair not in there and any(pair[0] == k or pair[1] == c for k, c in there)
    ]
    far = [pair for pair in pairs if pair not in there]
    kind, colour = _pick(rng, near if near and rng.random() < 0.5 else far)
    name = article(f"{colour} {kind}")
    return Question("exists", (scene,), f"Is there {name}?", "no", (), f"I look for {name}. I find none.")


def _relation(rng: np.random.Generator, pairs: Pairs) -> Question:
    scene = make_scene(rng, int(rng.integers(2, 6)), pairs=pairs)
    words: dict[str, Callable[[Thing, Thing], bool]] = {
        "left of": lambda a, b: a.column < b.column,
        "right of": lambda a, b: a.column > b.column,
        "above": lambda a, b: a.row < b.row,
        "below": lambda a, b: a.row > b.row,
    }
    first, second = _two(rng, scene)
    wanted = rng.random() < 0.5
    fitting = [word for word, holds in words.items() if holds(first, second) == wanted]
    word = _pick(rng, fitting)
    text = f"Is the {first.name} {word} the {second.name}?"
    reason = f"The {first.name} is {first.where}. The {second.name} is {second.where}."
    return Question("relation", (scene,), text, "yes" if wanted else "no", (first, second), reason)


def _larger(rng: np.random.Generator, pairs: Pairs) -> Question:
    scene = make_scene(rng, int(rng.integers(2, 6)), pairs=pairs)
    first, second = _two(rng, scene)
    sizes = list(SIZES)
    if first.size == second.size:
        other = sizes[1 - sizes.index(first.size)]
        grown = new_thing(rng, second.kind, second.colour, second.place, other)
        scene, second = scene.changed(second, grown), grown
    word = _pick(rng, ("larger", "smaller"))
    chosen = max((first, second), key=lambda thing: thing.side if word == "larger" else -thing.side)
    text = f"Which is {word}, the {first.name} or the {second.name}?"
    reason = f"The {first.name} is {first.size}. The {second.name} is {second.size}."
    return Question("larger", (scene,), text, f"the {chosen.name}", (first, second), reason)


def _odd(rng: np.random.Generator, pairs: Pairs) -> Question:
    # Of three, two might share a kind and another two a colour, and then each of two is odd in a way.
    count = int(rng.integers(4, 6))
    by_kind = rng.random() < 0.5
    same = count - 1
    scene = make_scene(
        rng, count, pairs=pairs, same_kind=same if by_kind else 0, same_colour=0 if by_kind else same
    )
    held = [thing.kind if by_kind else thing.colour for thing in scene.things]
    thing = next(thing for thing, own in zip(scene.things, held, strict=True) if held.count(own) == 1)
    most = max(held, key=held.count)
    shared = f"The others are {plural(most)}." if by_kind else f"The others are {most}."
    reason = f"{shared} The {thing.name} is not."
    return Question("odd", (scene,), "Which is the odd one out?", f"the {thing.name}", (thing,), reason)


def _missing(rng: np.random.Generator, pairs: Pairs) -> Question:
    scene = make_scene(rng, int(rng.integers(2, 5)), pairs=pairs)
    thing = _pick(rng, scene.things)
    reason = f"The first picture has {article(thing.name)} {thing.where}. The second has nothing there."
    return Question(
        "missing",
        (scene, scene.changed(thing, None)),
        "What is missing in the second picture?",
        f"the {thing.name}",
        (thing,),
        reason,
    )


def _changed(rng: np.random.Generator, pairs: Pairs) -> Question:
    scene = make_scene(rng, int(rng.integers(1, 5)), pairs=pairs)
    thing = _pick(rng, scene.things)
    there = {(other.kind, other.colour) for other in scene.things}
    turned = [colour for kind, colour in pairs if kind == thing.kind and (kind, colour) not in there]
    kind = _pick(rng, ("colour", "place", "new"))
    if kind == "colour":
        new = Thing(thing.kind, _pick(rng, turned), thing.size, thing.place, thing.side, thing.centre)
        answer, old = f"the {thing.name} turned {new.colour}", thing
    elif kind == "place":
        new = new_thing(rng, thing.kind, thing.colour, _pick(rng, scene.free()), thing.size)
        answer, old = f"the {thing.name} moved", thing
    else:
        added, colour = _pick(rng, [pair for pair in pairs if pair not in there])
        new, old = new_thing(rng, added, colour, _pick(rng, scene.free())), None
        answer = f"{article(new.name)} appeared"
    before = f"it was {old.colour} and {old.where}" if old else "it was not there"
    reason = f"I compare the {new.kind}: {before}, now it is {new.colour} and {new.where}."
    return Question("changed", (scene, scene.changed(old, new)), "What changed?", answer, (new,), reason)


FAMILIES: dict[str, Callable[[np.random.Generator, Pairs], Question]] = {
    "what": _what,
    "colour": _colour,
    "where": _where,
    "count": _count,
    "exists": _exists,
    "relation": _relation,
    "larger": _larger,
    "odd": _odd,
    "missing": _missing,
    "changed": _changed,
}
"""Name -> the function that makes such a question."""

PAIR_FAMILIES = ("missing", "changed")
"""Those about two pictures."""


def _pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]


def _two(rng: np.random.Generator, scene: Scene) -> tuple[Thing, Thing]:
    first, second = rng.permutation(len(scene.things))[:2]
    return scene.things[first], scene.things[second]
