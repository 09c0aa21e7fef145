"""Eight questions learned by heart: the score, the written answers and the truth are then the same."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tokenizers import Tokenizer

from tests.papers.llava.conftest import random_llava, small
from visionsmith.data.world import NEW_PAIRS, draw
from visionsmith.losses.language import IGNORED
from visionsmith.papers.llava.assistant import Assistant, layout_of
from visionsmith.papers.llava.evaluate import _majority
from visionsmith.papers.llava.objective import AnswerObjective
from visionsmith.papers.llava.probing import tower_scores
from visionsmith.papers.llava.samples import ConversationCollate
from visionsmith.papers.llava.score import (
    _sample,
    heldout_losses,
    known_questions,
    new_questions,
    seen_scores,
)
from visionsmith.papers.llava.tower import vision_model


@pytest.fixture(scope="module")
def by_heart(words: Tokenizer) -> Assistant:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    llava = random_llava(small(vision=dataclasses.replace(small().vision, image_size=36)))
    layout = layout_of(llava.config, words)
    questions = [*known_questions("where", 4), *known_questions("count", 4)]
    batch = ConversationCollate(3)([_sample(question, layout, 36, False) for question in questions])
    objective = AnswerObjective(llava)
    learned = [*llava.projector.parameters(), *llava.language.parameters()]
    optimizer = torch.optim.AdamW(learned, lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        loss = objective(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.05, "it has learned them"
    return Assistant(llava.eval(), words)


def test_the_score_is_what_is_written(by_heart: Assistant) -> None:
    llava, layout = by_heart.model, by_heart.layout
    with torch.no_grad():
        for family in ("where", "count"):
            questions = known_questions(family, 4)
            pictures = [draw(question.scenes[0], 36) for question in questions]
            told = by_heart.answer(
                [([picture], question.text) for picture, question in zip(pictures, questions, strict=True)]
            )
            assert told == [question.answer for question in questions]
            assert seen_scores(llava, layout, {family: questions}) == {family: 1.0}
            wrong = [
                dataclasses.replace(question, answer=f"{question.answer}s") for question in questions[:1]
            ]
            assert seen_scores(llava, layout, {family: [*wrong, *questions[1:]]}) == {family: 0.75}
            assert seen_scores(llava, layout, {family: questions}, blind=True)[family] < 1


def test_questions_are_new() -> None:
    for question in new_questions("colour", 5):
        assert any((thing.kind, thing.colour) in NEW_PAIRS for thing in question.evidence)
    for question in known_questions("colour", 30):
        assert not {(thing.kind, thing.colour) for thing in question.scenes[0].things} & NEW_PAIRS


def test_losses_by_type_are_means_over_their_tokens(by_heart: Assistant) -> None:
    with torch.no_grad():
        found = heldout_losses(by_heart.model, by_heart.layout, count=3)
    assert set(found) == {"caption", "conversation", "detail", "reasoning"}
    assert all(value > 0 for value in found.values())


def test_majority_counts_the_most_frequent_answer_of_training() -> None:
    assert _majority("exists", ["yes", "no", "no", "no"]) in (0.25, 0.75)
    assert _majority("larger", ["the purple unicorn"]) == 0


def test_a_tower_that_shows_kinds_is_read() -> None:
    """Against the chance of guessing the most frequent: pixels of a place alone give colours away."""
    torch.manual_seed(0)
    tower = vision_model(dataclasses.replace(small().vision, image_size=36, width=32)).eval()
    scores = tower_scores(tower, 36, fit=120, test=40)
    assert set(scores) == {"kind", "empty", "colour", "size", "place"}
    assert scores["empty"] > 0.75
    assert scores["colour"] > 2 / 8
    assert tower_scores(tower, 36, fit=120, test=40) == scores
    positions = tower.embeddings.position_embedding.weight
    places = []
    for std in (0.0, 0.4):
        torch.nn.init.normal_(positions, std=std)
        places.append(tower_scores(tower, 36, fit=120, test=40)["place"])
    assert places[0] < 0.4 < 0.8 < places[1]


def test_padding_is_not_learned(words: Tokenizer) -> None:
    layout = layout_of(small(), words)
    questions = [known_questions("what", 1)[0], known_questions("larger", 1)[0]]
    batch = ConversationCollate(3)([_sample(question, layout, 24, True) for question in questions])
    assert batch["ids"].shape == batch["labels"].shape
    short = int((batch["ids"][0] == 3).nonzero()[0])
    assert (batch["labels"][0, short + 1 :] == IGNORED).all()
    assert batch["labels"][0, short] == 3
