"""Vocabularies that are learned: exact round trips, fixed ids, the same from run to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.vocabulary import (
    FILE,
    learn_byte_pairs,
    learn_word_pieces,
    read_vocabulary,
    token_id,
    vocabulary_file,
)

TEXTS = ["a red cat sits left of a blue car", "a blue cat and a red car", "how many cars are there? two"] * 20
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def test_bytes_spell_any_text() -> None:
    vocabulary = learn_byte_pairs(TEXTS, size=320, special=("<|end|>",))
    assert vocabulary.get_vocab_size() <= 320
    assert token_id(vocabulary, "<|end|>") == 0
    for text in ("a red cat", "빨간 고양이 🐈\n\tend", " two  spaces "):
        assert vocabulary.decode(vocabulary.encode(text).ids) == text
    # A word that was learned is shorter than its bytes; a special token is one token.
    assert len(vocabulary.encode("a red cat").ids) <= 4
    assert vocabulary.encode("red<|end|>").ids[-1] == 0


def test_word_pieces_go_on_with_a_word() -> None:
    vocabulary = learn_word_pieces(TEXTS, size=120, special=BERT)
    assert [token_id(vocabulary, token) for token in BERT] == [0, 1, 2, 3, 4]
    assert vocabulary.encode("A RED cat").tokens == vocabulary.encode("a red cat").tokens
    pieces = vocabulary.encode("redcat").tokens
    assert pieces[0] == "red"
    assert "[UNK]" not in vocabulary.encode("quizzical 42").tokens
    assert vocabulary.encode("a [MASK] car").ids[1] == 4
    assert all(piece.startswith("##") for piece in pieces[1:])


def test_the_same_vocabulary_in_another_process() -> None:
    program = (
        "import hashlib; from tests.papers.test_vocabulary import TEXTS, BERT;"
        "from visionsmith.papers.vocabulary import *;"
        "v = [learn_byte_pairs(TEXTS, size=300), learn_word_pieces(TEXTS, size=120, special=BERT)];"
        "print(hashlib.sha256(b''.join(x.to_str().encode() for x in v)).hexdigest())"
    )
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    }
    assert len(found) == 1


def test_files_and_mistakes(tmp_path: Path) -> None:
    vocabulary = learn_byte_pairs(TEXTS, size=300)
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        read_vocabulary(tmp_path)
    (tmp_path / FILE).write_bytes(vocabulary_file(vocabulary)[FILE])
    assert read_vocabulary(tmp_path).encode("a red cat").ids == vocabulary.encode("a red cat").ids
    with pytest.raises(CheckpointError, match=r"has no <image>"):
        token_id(vocabulary, "<image>")
    (tmp_path / FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not a tokenizer"):
        read_vocabulary(tmp_path)
    with pytest.raises(ConfigError, match="no room for every byte"):
        learn_byte_pairs(TEXTS, size=100)
    with pytest.raises(ConfigError, match="no room for every letter"):
        learn_word_pieces(TEXTS, size=60, special=BERT)
    with pytest.raises(ConfigError, match="cannot spell"):
        learn_word_pieces(TEXTS, size=100, special=("[PAD]",))
