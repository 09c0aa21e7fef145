"""Answers are worked out a second time here, from the boxes; pictures are looked at pixel by pixel."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from visionsmith.data.sampler import generator
from visionsmith.data.world import (
    COLOURS,
    FAMILIES,
    KINDS,
    NEW_PAIRS,
    PAIR_FAMILIES,
    PAIRS,
    PLACES,
    Question,
    Scene,
    ask,
    caption,
    crop,
    describe,
    draw,
    make_scene,
    mark,
    relation,
    symbols,
)

SEEN = tuple(pair for pair in PAIRS if pair not in NEW_PAIRS)


def questions(family: str, count: int = 150) -> list[Question]:
    return [ask(family, generator(7, 0, index)) for index in range(count)]


def at(scene: Scene, place: int) -> str:
    """What stands at a place, by the boxes alone."""
    found = []
    for thing in scene.things:
        x, y, width, height = thing.box
        if (int((x + width / 2) * 3), int((y + height / 2) * 3)) == (place % 3, place // 3):
            found.append(thing.name)
    assert len(found) <= 1
    return found[0] if found else "nothing"


def shown_colour(pixels: np.ndarray) -> str:
    """The colour whose hue is nearest to that of most vivid pixels (RGB uint8 `n 3`); gray where few are vivid."""
    vivid = pixels[np.ptp(pixels, axis=1) > 40]
    if len(vivid) < 0.2 * len(pixels):
        return "gray"
    hues = {
        name: colorsys.rgb_to_hsv(*np.array(rgb) / 255)[0] for name, rgb in COLOURS.items() if name != "gray"
    }
    own = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in vivid / 255]
    votes = [min(hues, key=lambda name: abs((hues[name] - hue + 0.5) % 1 - 0.5)) for hue in own]
    return max(set(votes), key=votes.count)


def test_pairs() -> None:
    assert len(PAIRS) == len(KINDS) * len(COLOURS) == 192
    assert len(NEW_PAIRS) == 20
    assert set(PAIRS) > NEW_PAIRS
    # Every kind and every colour is still seen in training.
    assert {kind for kind, _ in SEEN} == set(KINDS)
    assert {colour for _, colour in SEEN} == set(COLOURS)


def test_scenes_are_made_of_what_was_asked_for() -> None:
    for index in range(200):
        scene = make_scene(generator(1, 0, index), pairs=SEEN)
        names = [(thing.kind, thing.colour) for thing in scene.things]
        assert 1 <= len(names) <= 5
        assert len(set(names)) == len(names)
        assert not NEW_PAIRS & set(names)
        places = [thing.place for thing in scene.things]
        assert places == sorted(set(places))
        for thing in scene.things:
            x, y, width, height = thing.box
            left, top = thing.column / 3, thing.row / 3
            assert left - 1e-9 <= x
            assert x + width <= left + 1 / 3 + 1e-9
            assert top - 1e-9 <= y
            assert y + height <= top + 1 / 3 + 1e-9
    assert make_scene(generator(1, 0, 5)) == make_scene(generator(1, 0, 5))
    full = make_scene(generator(1, 0, 0), 9)
    assert [thing.place for thing in full.things] == list(range(9))


def test_shared_kinds_and_colours() -> None:
    for index in range(60):
        scene = make_scene(generator(2, 0, index), 5, same_kind=3)
        kinds = [thing.kind for thing in scene.things]
        assert kinds.count(max(kinds, key=kinds.count)) == 3
        scene = make_scene(generator(2, 1, index), 5, same_colour=4)
        colours = [thing.colour for thing in scene.things]
        assert colours.count(max(colours, key=colours.count)) == 4


@pytest.mark.parametrize("side", [48, 72, 96, 200])
def test_a_picture_shows_its_things_where_their_boxes_are(side: int) -> None:
    for index in range(20):
        scene = make_scene(generator(3, 0, index), 4)
        picture = draw(scene, side)
        assert picture.shape == (side, side, 3)
        assert picture.dtype == np.uint8
        drawn = (picture.astype(int) != np.array(scene.ground)).any(axis=2)
        inside = np.zeros((side, side), bool)
        for thing in scene.things:
            x, y, width, height = (value * side for value in thing.box)
            box = np.s_[max(int(y) - 1, 0) : int(y + height) + 2, max(int(x) - 1, 0) : int(x + width) + 2]
            inside[box] = True
            assert drawn[box].mean() > 0.1
            assert shown_colour(picture[box][drawn[box]]) == thing.colour, (index, thing.name)
        assert not drawn[~inside].any()


def test_drawing_does_not_depend_on_what_was_drawn_before() -> None:
    scene = make_scene(generator(3, 1, 0), 5)
    first = draw(scene)
    for index in range(10):
        draw(make_scene(generator(3, 2, index)))
    assert np.array_equal(first, draw(scene))


def test_what_where_colour_and_count_follow_from_the_boxes() -> None:
    for question in questions("what"):
        place = PLACES.index(question.text.removeprefix("What is ").removesuffix("?"))
        assert question.answer.removeprefix("an ").removeprefix("a ") == at(question.scenes[0], place)
    for question in questions("where"):
        name = question.text.removeprefix("Where is the ").removesuffix("?")
        assert at(question.scenes[0], PLACES.index(question.answer)) == name
    for question in questions("colour"):
        kind = question.text.removeprefix("What colour is the ").removesuffix("?")
        held = [thing.colour for thing in question.scenes[0].things if thing.kind == kind]
        assert held == [question.answer]
    words = ["no", "one", "two", "three", "four", "five"]
    plurals = {"butterflies": "butterfly", "fish": "fish"} | {f"{kind}s": kind for kind in KINDS}
    nothing = 0
    for question in questions("count"):
        noun = question.text.removeprefix("How many ").removesuffix(" are there?")
        things = question.scenes[0].things
        if noun == "things":
            count = len(things)
        elif noun.endswith(" things"):
            count = sum(thing.colour == noun.removesuffix(" things") for thing in things)
        else:
            count = sum(thing.kind == plurals[noun] for thing in things)
        assert words.index(question.answer) == count
        nothing += count == 0
    assert nothing > 5


def test_existence_relation_and_size_follow_from_the_boxes() -> None:
    for family in ("exists", "relation"):
        answers = [question.answer for question in questions(family)]
        assert 0.35 < answers.count("yes") / len(answers) < 0.65, family
    for question in questions("exists"):
        name = (
            question.text.removeprefix("Is there ").removeprefix("an ").removeprefix("a ").removesuffix("?")
        )
        held = [thing.name for thing in question.scenes[0].things]
        assert (name in held) == (question.answer == "yes")
    for question in questions("relation"):
        things = {thing.name: thing for thing in question.scenes[0].things}
        text = question.text.removeprefix("Is the ").removesuffix("?")
        word = next(word for word in ("left of", "right of", "above", "below") if f" {word} " in text)
        first, second = (things[name] for name in text.split(f" {word} the "))
        axis = 0 if word in ("left of", "right of") else 1
        # Things of one row or column are jittered, and neither lies above or left of the other.
        difference = round((second.centre[axis] - first.centre[axis]) * 3)
        holds = difference > 0 if word in ("left of", "above") else difference < 0
        if abs(second.centre[axis] - first.centre[axis]) > 0.2:
            assert holds == (question.answer == "yes")
        else:
            same = (first.column, second.column) if axis == 0 else (first.row, second.row)
            assert (question.answer == "yes") == (
                same[0] < same[1] if word in ("left of", "above") else same[0] > same[1]
            )
    for question in questions("larger"):
        things = {thing.name: thing for thing in question.scenes[0].things}
        head, _, names = question.text.removesuffix("?").partition(", the ")
        areas = {name: np.prod(things[name].box[2:]) for name in names.split(" or the ")}
        chosen = (max if "larger" in head else min)(areas, key=areas.__getitem__)
        assert question.answer == f"the {chosen}"
        assert max(areas.values()) > 1.5 * min(areas.values())


def test_only_one_thing_is_odd() -> None:
    for question in questions("odd"):
        things = question.scenes[0].things
        odd = [
            thing.name
            for thing in things
            for key in ("kind", "colour")
            if len({getattr(other, key) for other in things if other is not thing}) == 1
            and getattr(thing, key) not in {getattr(other, key) for other in things if other is not thing}
        ]
        assert [f"the {name}" for name in odd] == [question.answer]


def test_two_pictures_differ_in_what_the_answer_says() -> None:
    for question in questions("missing"):
        before, after = ({thing.name for thing in scene.things} for scene in question.scenes)
        assert before - after == {question.answer.removeprefix("the ")}
        assert after < before
    kinds = set()
    for question in questions("changed"):
        before, after = ({thing.name: thing for thing in scene.things} for scene in question.scenes)
        gone, come = before.keys() - after.keys(), after.keys() - before.keys()
        if question.answer.endswith("appeared"):
            assert not gone
            assert come == {question.answer.removesuffix(" appeared").removeprefix("an ").removeprefix("a ")}
        elif question.answer.endswith("moved"):
            name = question.answer.removeprefix("the ").removesuffix(" moved")
            assert not gone | come
            assert before[name].place != after[name].place
        else:
            old, colour = question.answer.removeprefix("the ").split(" turned ")
            assert gone == {old}
            assert come == {f"{colour} {before[old].kind}"}
            assert before[old].box == after[f"{colour} {before[old].kind}"].box
        kinds.add(question.answer.split()[-1] if question.answer.split()[-1] in ("moved", "appeared") else "")
    assert len(kinds) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_evidence_and_repetition(family: str) -> None:
    for index, question in enumerate(questions(family, 60)):
        assert question == ask(family, generator(7, 0, index))
        assert question.family == family
        assert len(question.scenes) == (2 if family in PAIR_FAMILIES else 1)
        held = {thing for scene in question.scenes for thing in scene.things}
        assert set(question.evidence) <= held
        assert bool(question.evidence) == (question.answer not in ("nothing", "no") or family == "relation")
    assert (
        not {
            (thing.kind, thing.colour)
            for index in range(60)
            for scene in ask(family, generator(8, 0, index), SEEN).scenes
            for thing in scene.things
        }
        & NEW_PAIRS
    )


def test_words_tell_the_scene() -> None:
    for index in range(40):
        rng = generator(9, 0, index)
        scene = make_scene(rng)
        for text in (caption(scene), caption(scene, rng), describe(scene, rng)):
            for thing in scene.things:
                assert f"{thing.name} {'is ' if text.endswith('.') else ''}{thing.where}" in text
        lines = symbols(scene).splitlines()
        assert len(lines) == len(scene.things)
        assert all(
            line.startswith(f"{thing.name}: [") for line, thing in zip(lines, scene.things, strict=True)
        )
    scene = make_scene(generator(9, 1, 0), 9)
    assert relation(scene.things[0], scene.things[8]) == "left of"
    assert relation(scene.things[8], scene.things[2]) == "below"


def test_crops_and_marks() -> None:
    scene = make_scene(generator(10, 0, 0), 5)
    picture = draw(scene)
    one = crop(picture, scene.things[:1])
    x, y, width, height = (value * 96 for value in scene.things[0].box)
    assert abs(one.shape[1] - min(width + 4, 96 - max(x - 2, 0))) <= 2
    assert abs(one.shape[0] - min(height + 4, 96 - max(y - 2, 0))) <= 2
    assert crop(picture, scene.things).shape[0] > one.shape[0]
    marked = mark(picture, scene.things[:1])
    changed = (marked != picture).any(axis=2)
    assert 0 < changed.sum() < 6 * max(one.shape[:2])
    assert not changed[int(y + height) + 3 :].any()
