"""What is asked about a scene is true of it, by an independent reading of the scene."""

from __future__ import annotations

import re

import numpy as np
import pytest

from visionsmith.data.world import PLACES, SCENE_FAMILIES, Scene, ask, ask_about, make_scene
from visionsmith.papers.llava.dialogue import REASONS, converse, detailed, tell
from visionsmith.papers.llava.instruct import InstructConfig

NUMBERS = ["no", "one", "two", "three", "four", "five"]


def truth(question: str, scene: Scene) -> str:
    """The answer, from the words of the question alone."""
    names = {f"{thing.colour} {thing.kind}": thing for thing in scene.things}
    if match := re.fullmatch(r"What is (.+)\?", question):
        there = [thing for thing in scene.things if PLACES[thing.place] == match[1]]
        return (
            f"{'an' if there[0].colour[0] in 'o' else 'a'} {there[0].colour} {there[0].kind}"
            if there
            else "nothing"
        )
    if match := re.fullmatch(r"What colour is the (\w+)\?", question):
        (colour,) = (thing.colour for thing in scene.things if thing.kind == match[1])
        return colour
    if match := re.fullmatch(r"Where is the (.+)\?", question):
        return PLACES[names[match[1]].place]
    if match := re.fullmatch(r"Is there an? (.+)\?", question):
        return "yes" if match[1] in names else "no"
    if match := re.fullmatch(r"Is the (.+) (left of|right of|above|below) the (.+)\?", question):
        one, other = names[match[1]], names[match[3]]
        holds = {
            "left of": one.place % 3 < other.place % 3,
            "right of": one.place % 3 > other.place % 3,
            "above": one.place // 3 < other.place // 3,
            "below": one.place // 3 > other.place // 3,
        }
        return "yes" if holds[match[2]] else "no"
    if match := re.fullmatch(r"Which is (larger|smaller), the (.+) or the (.+)\?", question):
        pair = sorted((names[match[2]], names[match[3]]), key=lambda thing: thing.side)
        return f"the {pair[match[1] == 'larger'].name}"
    if question == "Which is the odd one out?":
        for thing in scene.things:
            others = [other for other in scene.things if other is not thing]
            for trait in ("kind", "colour"):
                values = {getattr(other, trait) for other in others}
                if len(values) == 1 and getattr(thing, trait) not in values:
                    return f"the {thing.name}"
    match = re.fullmatch(r"How many (.+) are there\?", question)
    assert match, question
    noun = {"butterflies": "butterfly", "fish": "fish"}.get(match[1], match[1].removesuffix("s"))
    if match[1] == "things":
        return NUMBERS[len(scene.things)]
    if match[1].endswith(" things"):
        return NUMBERS[sum(thing.colour == match[1].removesuffix(" things") for thing in scene.things)]
    return NUMBERS[sum(thing.kind == noun for thing in scene.things)]


@pytest.mark.parametrize("family", sorted(SCENE_FAMILIES))
def test_questions_about_a_given_scene_are_true(family: str) -> None:
    asked = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        scene = ask("odd", rng).scenes[0] if family == "odd" else make_scene(rng)
        question = ask_about(family, scene, rng)
        if question is not None:
            assert question.family == family
            assert question.scenes == (scene,)
            assert question.answer == truth(question.text, scene), question.text
            asked += 1
    assert asked > 150


def test_conversations_ask_nothing_twice_and_are_true() -> None:
    mix = InstructConfig(conversation=1, detail=0, reasoning=0)
    for seed in range(80):
        dialogue = converse(np.random.default_rng(seed), mix)
        assert len({question for question, _ in dialogue.turns}) == len(dialogue.turns) == 8
        for question, answer in dialogue.turns:
            assert answer == truth(question, dialogue.scenes[0])


def test_reasons_end_in_the_answer() -> None:
    mix = InstructConfig(conversation=0, detail=0, reasoning=1, turns=6)
    for seed in range(60):
        dialogue = converse(np.random.default_rng(seed), mix)
        assert len(dialogue.turns) == 2
        for question, answer in dialogue.turns:
            plain = question.removesuffix(f" {REASONS}")
            assert plain != question
            assert (answer or "").endswith(f"The answer is {truth(plain, dialogue.scenes[0])}.")


def test_two_pictures_are_told_apart() -> None:
    dialogue = converse(np.random.default_rng(0), InstructConfig(two_pictures=1.0))
    assert len(dialogue.scenes) == 2
    first = dialogue.with_pictures(np.random.default_rng(0))[0][0]
    assert first.count("<image>") == 2


def test_told_and_detailed_scenes_name_every_thing_with_its_place() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = make_scene(rng)
        for text in (tell(scene, rng), detailed(scene, rng)[1]):
            for thing in scene.things:
                assert re.search(
                    rf"{thing.name} (is )?{thing.where}|{thing.where} is an? \w+ {thing.name}", text, re.I
                )
