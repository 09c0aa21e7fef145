"""The built-in tasks: three ways to think, each where it helps.

| mode        | questions about                                              | reasoning                              |
|-------------|--------------------------------------------------------------|----------------------------------------|
| vision      | what stands somewhere, what colour it has                    | a look: the thing, cut out             |
| interleaved | how two things lie or compare, what changed, the odd one out | words and looks by turns               |
| text        | where and how many things are; sums and orders, no picture   | words                                  |

The world of `data.world` gives pictures, questions and the things that prove the answer; a look is a crop of those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionsmith.data.world import (
    PLACES,
    SCENE_FAMILIES,
    SEEN,
    Question,
    Scene,
    Thing,
    ask,
    ask_about,
    caption,
    crop,
    draw,
    make_scene,
)
from visionsmith.data.world.words import NUMBERS, article, plural
from visionsmith.papers.swimbird.answers import Mode
from visionsmith.papers.swimbird.chat import THOUGHT, Turn

__all__ = [
    "KINDS", "MODES", "SEEING", "WORDS", "Exercise", "describe_scene", "dialogue", "exercise", "follow_up", "mode_of",
    "name_things",
]  # fmt: skip

MODES: dict[Mode, tuple[str, ...]] = {
    "vision": ("what", "colour"),
    "interleaved": ("relation", "larger", "odd", "missing"),
    "text": ("where", "count", "sum", "order"),
}
"""Way of thinking -> the kinds of question that are taught with it."""

KINDS = tuple(kind for kinds in MODES.values() for kind in kinds)
WORDS = ("sum", "order")
"""Kinds without a picture."""
SEEING = tuple(kind for kind in KINDS if kind not in WORDS)
"""The others."""

_PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo")
_GOODS = ("apple", "balloon", "key", "star", "cup", "hat")


@dataclass(frozen=True)
class Exercise:
    """A question with its pictures, and the way to its answer."""

    kind: str
    """Of `KINDS`."""
    mode: Mode
    question: str
    scenes: tuple[Scene, ...]
    """What the pictures show."""
    pictures: tuple[np.ndarray, ...]
    """RGB HWC uint8."""
    reason: str
    """With `THOUGHT` where a look goes."""
    looks: tuple[np.ndarray, ...]
    """The thought pictures, RGB HWC uint8."""
    answer: str

    def turns(self, *, think: bool = True, shown: bool = False) -> list[Turn]:
        """The dialogue.

        Args:
            think: whether it reasons; otherwise the answer follows at once.
            shown: whether the pictures were shown in a turn before.
        """
        said = f"<reason>{self.reason}</reason>" if think else ""
        return [
            Turn("user", self.question, () if shown else self.pictures),
            Turn("assistant", f"{said}<answer>{self.answer}</answer>", self.looks if think else ()),
        ]


def exercise(
    kind: str, rng: np.random.Generator, *, side: int, pairs: Sequence[tuple[str, str]] = SEEN
) -> Exercise:
    """An exercise of a kind.

    Args:
        kind: of `KINDS`.
        rng: where all chance comes from.
        side: of the pictures, pixels.
        pairs: kinds and colours of its things.
    """
    if kind in _WORDS:
        question, reason, answer = _WORDS[kind](rng)
        return Exercise(kind, mode_of(kind), question, (), (), reason, (), answer)
    asked = ask(kind, rng, pairs)
    while not _fits(asked):
        asked = ask(kind, rng, pairs)
    return _exercise(asked, tuple(draw(scene, side) for scene in asked.scenes))


def mode_of(kind: str) -> Mode:
    """The way of thinking that a kind of question is taught with."""
    return next(mode for mode, kinds in MODES.items() if kind in kinds)


def dialogue(
    rng: np.random.Generator,
    count: int,
    *,
    side: int,
    think: bool,
    looks: bool = True,
    kinds: Sequence[str] = SEEING,
) -> list[Turn]:
    """Exercises about one picture, or without any.

    A picture is seen once for all its questions, which makes an answer two to three times cheaper to learn from. Two
    pictures are compared in one question.

    Args:
        rng: where all chance comes from.
        count: most questions.
        side: of the pictures, pixels.
        think: whether each answer is reasoned.
        looks: whether the reasons keep their looks.
        kinds: that the first exercise is one of; the others are of those that the first leaves.
    """
    first = exercise(kinds[int(rng.integers(len(kinds)))], rng, side=side)
    turns, asked = first.turns(think=think), {first.question}
    for _ in range(count - 1 if len(first.scenes) < 2 else 0):
        each = follow_up(first, rng, side=side)
        if each is not None and each.question not in asked:
            asked.add(each.question)
            turns += each.turns(think=think, shown=True)
    return turns if looks else [_blind(turn) for turn in turns]


def _blind(turn: Turn) -> Turn:
    """An answer without its looks."""
    return turn if turn.role == "user" else Turn(turn.role, turn.text.replace(THOUGHT, ""))


def follow_up(first: Exercise, rng: np.random.Generator, *, side: int) -> Exercise | None:
    """Another exercise about the same picture, or about none again; None where the picture gives none."""
    if not first.scenes:
        return exercise(WORDS[int(rng.integers(len(WORDS)))], rng, side=side)
    kinds = [kind for kind in KINDS if kind in SCENE_FAMILIES]
    asked = ask_about(kinds[int(rng.integers(len(kinds)))], first.scenes[0], rng, SEEN)
    return _exercise(asked, first.pictures) if asked is not None and _fits(asked) else None


def _fits(asked: Question) -> bool:
    """Whether there is something to look at, where a look is the whole reasoning."""
    return bool(asked.evidence) or mode_of(asked.family) != "vision"


def _exercise(asked: Question, pictures: tuple[np.ndarray, ...]) -> Exercise:
    mode = mode_of(asked.family)
    reason, looks = _look(asked, pictures, mode)
    return Exercise(asked.family, mode, asked.text, asked.scenes, pictures, reason, looks, asked.answer)


def describe_scene(rng: np.random.Generator, *, side: int, most: int = 5) -> list[Turn]:
    """A picture of at most so many things and what is in it, in one of three orders.

    The places and the words for them are learned from these.

    Row by row, nothing is left to chance. From place to thing, and from thing to place, each line is a question with
    its answer, at a third of the words.
    """
    scene = make_scene(rng, int(rng.integers(1, most + 1)), pairs=SEEN)
    things = sorted(scene.things, key=lambda thing: thing.place)
    mixed = [things[place] for place in rng.permutation(len(things))]
    style = int(rng.integers(3))
    if style == 0:
        question, said = "Describe the picture.", caption(replace(scene, things=tuple(things)))
    elif style == 1:
        question = "What is where?"
        lines = [f"{thing.where} {article(thing.name)}" for thing in mixed]
        empty = scene.free()[int(rng.integers(len(scene.free())))]
        lines.insert(int(rng.integers(len(lines) + 1)), f"{PLACES[empty]} nothing")
        said = ", ".join(lines)
    else:
        question = "Where is what?"
        said = ", ".join(f"{article(thing.name)} {thing.where}" for thing in mixed)
    shown = (draw(scene, side),)
    return [Turn("user", question, shown), Turn("assistant", f"<answer>{said}</answer>")]


def name_things(rng: np.random.Generator, count: int, *, side: int) -> list[Turn]:
    """Things, each cut out of a picture of `side` pixels, and their names: `count` questions with answers.

    A ninth of a picture is a ninth of the work: what a thing is and what it is called is learned from these. Half of
    them keep some of the ground around the thing, up to all of it: a tower that knows close-ups alone does not know the
    same things in a scene.
    """
    turns = []
    for _ in range(count):
        scene = make_scene(rng, 1, pairs=SEEN)
        (thing,) = scene.things
        margin = 0.02 if rng.random() < 0.5 else float(rng.uniform(0.02, 0.35))
        turns.append(Turn("user", "What is it?", (crop(draw(scene, side), scene.things, margin=margin),)))
        turns.append(Turn("assistant", f"<answer>{article(thing.name)}</answer>"))
    return turns


def _look(asked: Question, pictures: Sequence[np.ndarray], mode: Mode) -> tuple[str, tuple[np.ndarray, ...]]:
    """The reason with the places of its looks, and the looks."""
    if mode == "text":
        return asked.reason, ()
    # How things lie to each other shows in a look that holds both; what each is, in a look of its own.
    seen = [asked.evidence] if asked.family == "relation" else [(thing,) for thing in asked.evidence]
    looks = tuple(crop(pictures[_holder(asked, things[0])], things) for things in seen)
    if mode == "vision":
        return THOUGHT * len(looks), looks
    sentences = asked.reason.split(". ")
    told = [f"{sentence.rstrip('.')}." for sentence in sentences]
    # One look after each of the first sentences: what the sentence is about.
    return " ".join(
        f"{THOUGHT}{sentence}" if place < len(looks) else sentence for place, sentence in enumerate(told)
    ) + THOUGHT * max(0, len(looks) - len(told)), looks


def _holder(asked: Question, thing: Thing) -> int:
    """Which of the pictures holds a thing."""
    return next(place for place, scene in enumerate(asked.scenes) if thing in scene.things)


def _sum(rng: np.random.Generator) -> tuple[str, str, str]:
    """Question, reason, answer of a sum or difference of small numbers."""
    person = _PEOPLE[int(rng.integers(len(_PEOPLE)))]
    goods = _GOODS[int(rng.integers(len(_GOODS)))]
    first, second = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    if rng.random() < 0.5 and second <= first:
        total, verb, sign = first - second, "loses", "minus"
    else:
        total, verb, sign = first + second, "gets", "plus"
    total_word = NUMBERS[total] if total else "zero"
    noun = goods if first == 1 else plural(goods)
    question = f"{person} has {NUMBERS[first]} {noun} and {verb} {NUMBERS[second]}. How many are there?"
    return question, f"{NUMBERS[first].capitalize()} {sign} {NUMBERS[second]} is {total_word}.", total_word


def _order(rng: np.random.Generator) -> tuple[str, str, str]:
    """Question, reason, answer about three people by age."""
    old, middle, young = (_PEOPLE[int(place)] for place in rng.permutation(len(_PEOPLE))[:3])
    facts = [f"{old} is older than {middle}.", f"{middle} is older than {young}."]
    if rng.random() < 0.5:
        facts.reverse()
    oldest = rng.random() < 0.5
    question = f"{' '.join(facts)} Who is the {'oldest' if oldest else 'youngest'}?"
    return question, f"From old to young: {old}, {middle}, {young}.", old if oldest else young


_WORDS: dict[str, Callable[[np.random.Generator], tuple[str, str, str]]] = dict(
    zip(WORDS, (_sum, _order), strict=True)
)
