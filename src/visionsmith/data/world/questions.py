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

__all__ = ["FAMILIES", "PAIR_FAMILIES", "SCENE_FAMILIES", "Question", "ask", "ask_about"]

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


def ask_about(family: str, scene: Scene, rng: np.random.Generator, pairs: Pairs = PAIRS) -> Question | None:
    """A question of a family about a scene that is there already; None where the scene gives none.

    Args:
        family: of `SCENE_FAMILIES`.
        scene: with at least one thing.
        rng: where all chance comes from.
        pairs: kinds and colours of the things that are asked for in vain.
    """
    return SCENE_FAMILIES[family](rng, scene, pairs)


def _what(rng: np.random.Generator, pairs: Pairs) -> Question:
    return _what_in(rng, make_scene(rng, int(rng.integers(2, 6)), pairs=pairs), pairs)


def _what_in(rng: np.random.Generator, scene: Scene, pairs: Pairs) -> Question:
    if rng.random() < 0.15 and scene.free():
        place = _pick(rng, scene.free())
        reason = f"I look {PLACES[place]}. It is empty."
        return Question("what", (scene,), f"What is {PLACES[place]}?", "nothing", (), reason)
    thing = _pick(rng, scene.things)
    reason = f"I look {thing.where}. I see {article(thing.name)}."
    return Question("what", (scene,), f"What is {thing.where}?", article(thing.name), (thing,), reason)


def _colour(rng: np.random.Generator, pairs: Pairs) -> Question:
    question = None
    while question is None:
        question = _colour_in(rng, make_scene(rng, int(rng.integers(2, 6)), pairs=pairs), pairs)
    return question


def _colour_in(rng: np.random.Generator, scene: Scene, pairs: Pairs) -> Question | None:
    kinds = [thing.kind for thing in scene.things]
    alone = [thing for thing in scene.things if kinds.count(thing.kind) == 1]
    if not alone:
        return None
    thing = _pick(rng, alone)
    reason = f"The {thing.kind} is {thing.where}. It is {thing.colour}."
    return Question("colour", (scene,), f"What colour is the {thing.kind}?", thing.colour, (thing,), reason)


def _where(rng: np.random.Generator, pairs: Pairs) -> Question:
    return _where_in(rng, make_scene(rng, int(rng.integers(2, 6)), pairs=pairs), pairs)


def _where_in(rng: np.random.Generator, scene: Scene, pairs: Pairs) -> Question:
    thing = _pick(rng, scene.things)
    reason = f"I look for {article(thing.name)}. I find it {thing.where}."
    return Question("where", (scene,), f"Where is the {thing.name}?", thing.where, (thing,), reason)


def _count(rng: np.random.Generator, pairs: Pairs) -> Question:
    total, same, kind = int(rng.integers(1, 6)), 0, rng.random()
    if kind < 0.4:
        return _counting(make_scene(rng, total, pairs=pairs), None, None)
    # Three in four such questions have something to count.
    same = int(rng.integers(1, total + 1)) if rng.random() < 0.75 else 0
    by_kind = kind < 0.7
    scene = make_scene(
        rng, total, pairs=pairs, same_kind=same if by_kind else 0, same_colour=0 if by_kind else same
    )
    held = _held(scene, by_kind)
    value = max(held, key=held.count) if same else _absent(rng, held, by_kind)
    return _counting(scene, by_kind, value)


def _count_in(rng: np.random.Generator, scene: Scene, pairs: Pairs) -> Question:
    kind = rng.random()
    if kind < 0.4:
        return _counting(scene, None, None)
    by_kind = kind < 0.7
    held = _held(scene, by_kind)
    return _counting(scene, by_kind, _pick(rng, held) if rng.random() < 0.75 else _absent(rng, held, by_kind))


def _held(scene: Scene, by_kind: bool) -> list[str]:
    return [thing.kind if by_kind else thing.colour for thing in scene.things]


def _absent(rng: np.random.Generator, held: list[str], by_kind: bool) -> str:
    return _pick(rng, [name for name in (KINDS if by_kind else COLOURS) if name not in held])


def _counting(scene: Scene, by_kind: bool | None, value: str | None) -> Question:
    """All things (`by_kind` None), or those of a kind or colour."""
    if by_kind is None or value is None:
        counted, noun = scene.things, "things"
    else:
        held = _held(scene, by_kind)
        counted = tuple(thing for thing, own in zip(scene.things, held, strict=True) if own == value)
        noun = plural(value) if by_kind else f"{value} things"
    reason = f"I count {', '.join(thing.where for thing in counted)}." if counted else f"I see no {noun}."
    answer = NUMBERS[len(counted)]
    return Question("count", (scene,), f"How many {noun} are there?", answer, counted, reason)


def _exists(rng: np.random.Generator, pairs: Pairs) -> Question:
    return _exists_in(rng, make_scene(rng, int(rng.integers(1, 6)), pairs=pairs), pairs)


def _exists_in(rng: np.random.Generator, scene: Scene, pairs: Pairs) -> Question:
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
    question = _relation_in(rng, make_scene(rng, int(rng.integers(2, 6)), pairs=pairs), pairs)
    assert question is not None, "a scene of two things or more has a relation"
    return question


def _relation_in(rng: np.random.Generator, scene: Scene, pairs: Pairs) -> Question | None:
    if len(scene.things) < 2:
        return None
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
    return _sizes(rng, scene, first, second)


def _larger_in(rng: np.random.Generator, scene: Scene, pairs: Pairs) -> Question | None:
    unlike = [(a, b) for a in scene.things for b in scene.things if a.size != b.size]
    return _sizes(rng, scene, *_pick(rng, unlike)) if unlike else None


def _sizes(rng: np.random.Generator, scene: Scene, first: Thing, second: Thing) -> Question:
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
    return _odd_one(scene, by_kind)


def _odd_in(rng: np.random.Generator, scene: Scene, pairs: Pairs) -> Question | None:
    count = len(scene.things)
    if count < 4:
        return None
    for by_kind in (True, False):
        held = _held(scene, by_kind)
        if sorted(held.count(value) for value in set(held)) == [1, count - 1]:
            return _odd_one(scene, by_kind)
    return None


def _odd_one(scene: Scene, by_kind: bool) -> Question:
    held = _held(scene, by_kind)
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

SCENE_FAMILIES: dict[str, Callable[[np.random.Generator, Scene, Pairs], Question | None]] = {
    "what": _what_in,
    "colour": _colour_in,
    "where": _where_in,
    "count": _count_in,
    "exists": _exists_in,
    "relation": _relation_in,
    "larger": _larger_in,
    "odd": _odd_in,
}
"""Name -> the function that makes such a question about one given picture."""


def _pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]


def _two(rng: np.random.Generator, scene: Scene) -> tuple[Thing, Thing]:
    first, second = rng.permutation(len(scene.things))[:2]
    return scene.things[first], scene.things[second]
