"""Which tokens are learned is checked by decoding them."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.papers.swimbird.conftest import small_config
from visionsmith.data.sampler import generator
from visionsmith.errors import DataError
from visionsmith.losses.language import IGNORED
from visionsmith.papers.swimbird.chat import SPECIAL, SYSTEM, Turn, encode_chat
from visionsmith.papers.swimbird.tasks import KINDS, MODES, exercise


def learned(vocabulary: Tokenizer, labels) -> str:
    return vocabulary.decode([int(label) for label in labels if label != IGNORED], skip_special_tokens=False)


def test_several_turns(vocabulary: Tokenizer) -> None:
    config = small_config(vocabulary)
    look = np.zeros((24, 24, 3), np.uint8)
    turns = [
        Turn("user", "What is this <image> here?", (np.zeros((36, 36, 3), np.uint8),)),
        Turn("assistant", "<reason><thought></reason><answer>빨간 고양이 🐈</answer>", (look,)),
        Turn("user", "Why?"),
        Turn("assistant", "<reason>It looks so.</reason><answer>so</answer>"),
    ]
    encoded = encode_chat(turns, vocabulary, config)
    text = vocabulary.decode(encoded.ids.tolist(), skip_special_tokens=False)
    assert text == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nWhat is this <|vision_start|>{'<|image_pad|>' * 9}"
        "<|vision_end|> here?<|im_end|>\n<|im_start|>assistant\n<reason><|latent_start|>"
        f"{'<|latent|>' * 4}<|latent_end|></reason><answer>빨간 고양이 🐈</answer><|im_end|>\n<|im_start|>user\n"
        "Why?<|im_end|>\n<|im_start|>assistant\n<reason>It looks so.</reason><answer>so</answer><|im_end|>\n"
    )
    assert learned(vocabulary, encoded.labels) == (
        "<reason><|latent_start|><|latent_end|></reason><answer>빨간 고양이 🐈</answer><|im_end|>"
        "<reason>It looks so.</reason><answer>so</answer><|im_end|>"
    )
    staying = encode_chat(turns, vocabulary, small_config(vocabulary, supervise_stay=True))
    assert "<|latent_start|><|latent|><|latent|><|latent|><|latent|><|latent_end|>" in learned(
        vocabulary, staying.labels
    )


def test_a_prompt_ends_where_the_answer_begins(vocabulary: Tokenizer) -> None:
    encoded = encode_chat(
        [Turn("user", "Why?")], vocabulary, small_config(vocabulary), system="", answer=True
    )
    text = vocabulary.decode(encoded.ids.tolist(), skip_special_tokens=False)
    assert text == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert (encoded.labels == IGNORED).all()


def test_budgets_of_thoughts_follow_the_picture(vocabulary: Tokenizer) -> None:
    config = small_config(vocabulary)
    lengths = []
    for size in ((12, 12), (12, 24), (24, 24), (100, 100)):
        turns = [Turn("assistant", "<thought>", (np.zeros((*size, 3), np.uint8),))]
        ids = encode_chat(turns, vocabulary, config).ids
        lengths.append(int((ids == config.latent_id).sum()))
    assert lengths == [1, 2, 4, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_exercises_are_whole(kind: str, vocabulary: Tokenizer) -> None:
    config = small_config(vocabulary)
    for index in range(15):
        each = exercise(kind, generator(1, 0, index), side=72)
        assert kind in MODES[each.mode]
        assert bool(each.looks) == (each.mode != "text")
        words = each.reason.replace("<thought>", "").strip()
        assert bool(words) == (each.mode != "vision")
        encoded = encode_chat(each.turns(), vocabulary, config)
        assert learned(vocabulary, encoded.labels).endswith(f"<answer>{each.answer}</answer><|im_end|>")
        brief = encode_chat(each.turns(think=False), vocabulary, config)
        assert learned(vocabulary, brief.labels) == f"<answer>{each.answer}</answer><|im_end|>"
        again = exercise(kind, generator(1, 0, index), side=72)
        assert (again.question, again.answer) == (each.question, each.answer)


def test_sums_and_orders_are_right() -> None:
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for index in range(100):
        each = exercise("sum", generator(2, 0, index), side=72)
        parts = each.question.replace(".", "").split()
        first, second = words.index(parts[2]), words.index(parts[6])
        assert words.index(each.answer) == (first + second if parts[5] == "gets" else first - second)
        each = exercise("order", generator(2, 1, index), side=72)
        older = {}
        for fact in each.question.split(". ")[:2]:
            left, _, right = fact.partition(" is older than ")
            older[left] = right
        youngest = next(name for name in older.values() if name not in older)
        oldest = next(name for name in older if name not in older.values())
        assert each.answer == (oldest if "oldest" in each.question else youngest)


def test_mistakes(vocabulary: Tokenizer) -> None:
    config = small_config(vocabulary)
    blank = np.zeros((12, 12, 3), np.uint8)
    with pytest.raises(DataError, match="1 places for 2 pictures"):
        encode_chat([Turn("assistant", "<thought>", (blank, blank))], vocabulary, config)
    with pytest.raises(DataError, match="2 places for 1 pictures"):
        encode_chat([Turn("user", "<image><image>", (blank,))], vocabulary, config)
    for token in SPECIAL:
        with pytest.raises(DataError, match="contains the token"):
            encode_chat([Turn("user", f"a {token}")], vocabulary, config)
