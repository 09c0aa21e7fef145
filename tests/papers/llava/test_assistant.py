"""Answers: one by one or in batches, with or without memory, whole or piece by piece."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.papers.llava.conftest import random_llava, small
from visionsmith.data.world import draw, make_scene
from visionsmith.errors import ConfigError, DataError, VisionsmithError
from visionsmith.papers.llava.assistant import Assistant

QUESTIONS = [
    "What is at the top?",
    "How many things are there? Explain your answer.",
    "Is there a cat?",
    "Where?",
]


def picture(seed: int, side: int = 24) -> np.ndarray:
    return draw(make_scene(np.random.default_rng(seed), 4), max(side, 32))


def test_a_batch_answers_as_one_by_one(assistant: Assistant) -> None:
    asked = [([picture(0)], QUESTIONS[0]), ([picture(1), picture(2)], QUESTIONS[1]), ([], QUESTIONS[2])]
    together = assistant.answer(asked, longest=12)
    assert together == [assistant.answer([each], longest=12)[0] for each in asked]
    assert len(set(together)) == 3
    assert assistant.answer([]) == []


def test_a_chat_with_memory_says_what_one_without_says(assistant: Assistant) -> None:
    shown = [picture(3)]
    chat = assistant.chat(shown)
    turns: list[tuple[str, str | None]] = []
    read = []
    for question in QUESTIONS[:3]:
        answer = chat.ask(question, longest=10)
        asked = question if turns else f"<image>\n{question}"
        prompt = assistant.prompt([*turns, (asked, None)], 1)
        (ids,) = assistant.write([prompt], assistant.look(shown), longest=10)
        assert answer == assistant.words(ids)
        turns.append((asked, answer))
        read.append((chat.read, len(prompt)))
    assert read[0][0] == read[0][1], "the first turn reads all"
    for (_, before), (less, whole) in itertools.pairwise(read):
        assert less <= whole - before, "what the turn before had read is not read again"


def test_text_comes_in_pieces(assistant: Assistant) -> None:
    pieces: list[str] = []
    answer = assistant.chat([picture(4)]).ask(QUESTIONS[1], longest=12, on_text=pieces.append)
    assert len(pieces) > 1
    assert "".join(pieces).strip() == answer


def test_a_saved_model_answers_alike(assistant: Assistant, tmp_path: Path) -> None:
    from visionsmith.papers.llava.run import load

    assistant.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.model.config == assistant.model.config
    half = assistant.model.language.model.embed_tokens.weight.half().float()
    assert (again.model.language.model.embed_tokens.weight == half).all()
    assert again.model.projector.weight.dtype == half.dtype
    assert again.ask(picture(5), QUESTIONS[0], longest=8) == Assistant(again.model, again.tokenizer).ask(
        picture(5), QUESTIONS[0], longest=8
    )


def test_layouts_without_an_end_token_stop_at_their_mark(words: Tokenizer) -> None:
    assistant = Assistant(random_llava(small(template="v0")), words)
    (ids,) = assistant.write([assistant.prompt([("Hi", None)], 0)], None, longest=30)
    text = assistant.tokenizer.decode(ids.tolist(), skip_special_tokens=False)
    assert len(ids) == 30 or "###" in text
    assert "###" not in text[:-3]


@pytest.mark.parametrize("question", ["", "  ", "look <image> here", "stop</s>"])
def test_questions_that_cannot_be_asked(assistant: Assistant, question: str) -> None:
    with pytest.raises(ConfigError):
        assistant.ask(picture(0), question)


def test_pictures_that_cannot_be_shown(assistant: Assistant, tmp_path: Path) -> None:
    with pytest.raises(VisionsmithError, match=r"nothing\.png"):
        assistant.ask(tmp_path / "nothing.png", "What?")
    with pytest.raises(DataError, match="float64"):
        assistant.ask(np.zeros((8, 8, 3)), "What?")


def test_a_question_longer_than_the_model(assistant: Assistant) -> None:
    with pytest.raises(DataError, match="the model takes 160"):
        assistant.ask(picture(0), "Is there a cat? " * 60)


def test_a_chat_that_grows_too_long_keeps_what_it_has(assistant: Assistant) -> None:
    chat = assistant.chat([picture(0)])
    first = chat.ask("What?", longest=4)
    with pytest.raises(DataError, match="begin a new conversation"):
        chat.ask("Is there a cat? " * 60)
    assert chat.turns == [("<image>\nWhat?", first)]
    chat.ask("Where?", longest=4)
    assert len(chat.turns) == 2
