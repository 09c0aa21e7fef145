"""Instructions without a language model: what follows from a scene, or from the boxes and captions of any picture."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np

from visionsmith.data.world import SCENE_FAMILIES, SEEN, ask_about, describe
from visionsmith.data.world.words import NUMBERS, article, joined, plural
from visionsmith.papers.llava.dialogue import DETAIL, explained
from visionsmith.papers.llava.facts import Facts, Thing

__all__ = ["written"]


def written(facts: Facts, kind: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Turns of one type about a picture; empty where its facts give none.

    Args:
        facts: of the picture.
        kind: conversation, detail or reasoning.
        rng: where all chance comes from.
    """
    if facts.scene is not None:
        return _of_scene(facts, kind, rng)
    detail = str(DETAIL[int(rng.integers(len(DETAIL)))])
    if kind == "detail":
        return [(detail, " ".join(_sentences(facts)))]
    turns = _of_boxes(facts.things)
    if kind == "conversation":
        return [(question, answer) for question, answer, _ in turns][:5]
    explainable = [(question, answer, reason) for question, answer, reason in turns if reason]
    if not explainable:
        return []
    question, answer, reason = explainable[int(rng.integers(len(explainable)))]
    return [(f"{question} Explain your answer.", f"{reason} The answer is {answer}.")]


def _of_scene(facts: Facts, kind: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    assert facts.scene is not None, "the caller has looked"
    if kind == "detail":
        return [(DETAIL[int(rng.integers(len(DETAIL)))], describe(facts.scene, rng))]
    questions = [ask_about(family, facts.scene, rng, SEEN) for family in SCENE_FAMILIES]
    found = [question for question in questions if question is not None]
    if kind == "conversation":
        return [(found[place].text, found[place].answer) for place in rng.permutation(len(found))[:5]]
    question, answer = explained(found[int(rng.integers(len(found)))])
    return [(question, answer or "")]


def _sentences(facts: Facts) -> list[str]:
    told = [caption.strip().rstrip(".") for caption in facts.captions if caption.strip()]
    counts = Counter(thing.name for thing in facts.things)
    parts = [
        article(name) if count == 1 else f"{_number(count)} {plural(name)}" for name, count in counts.items()
    ]
    there = [f"There {'is' if len(facts.things) == 1 else 'are'} {joined(parts)}."] if parts else []
    return [f"{told[0][:1].upper()}{told[0][1:]}.", *there] if told else there


def _of_boxes(things: tuple[Thing, ...]) -> list[tuple[str, str, str]]:
    """Questions, answers, and the step to them where there is one: numbers, and how the only ones of a kind lie."""
    counts = Counter(thing.name for thing in things)
    turns = [(f"How many {plural(name)} are there?", _number(count), "") for name, count in counts.items()]
    single = [thing for thing in things if counts[thing.name] == 1]
    for first, second in itertools.pairwise(single):
        apart = _middle(second) - _middle(first)
        if abs(apart) < 0.1:
            continue  # a matter of opinion
        left, right = (first, second) if apart > 0 else (second, first)
        question = f"Is the {first.name} left of the {second.name}?"
        reason = f"The {left.name} is further to the left than the {right.name}."
        turns.append((question, "yes" if apart > 0 else "no", reason))
    return turns


def _middle(thing: Thing) -> float:
    return thing.box[0] + thing.box[2] / 2


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)
