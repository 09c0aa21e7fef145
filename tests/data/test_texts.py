"""The built-in texts and a user's: what is read, what is cleaned away, and that a test was never trained on."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from visionsmith.data.texts import SHARED_LINE, builtin_texts, clean, open_texts, read_text
from visionsmith.errors import DataError


def test_builtin_texts_are_large_and_apart() -> None:
    before = set(sys.modules)
    texts = builtin_texts()
    assert not {"antigravity", "this"} & (set(sys.modules) - before), "sources are read, never imported"
    assert texts.about["characters"] == sum(map(len, texts.train)) > 1_000_000
    assert texts.about["test_characters"] == sum(map(len, texts.test)) > 50_000
    trained = {line for text in texts.train for line in text.split("\n") if len(line) >= SHARED_LINE}
    tested = [line for text in texts.test for line in text.split("\n") if len(line) >= SHARED_LINE]
    assert len(tested) > 500
    assert not trained & set(tested)
    assert len(set(tested)) == len(tested), "no long line twice"
    assert texts.about["sha256"] == hashlib.sha256("\0".join(texts.train).encode()).hexdigest()
    again = builtin_texts()
    assert (again.train, again.test) == (texts.train, texts.test), "kept as they were read"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Title\n*****\n\nSome   words.", "Title\n\nSome words."),
        ("see :func:`~os.path.join` and ``x`` in **bold**", "see os.path.join and x in bold"),
        ("text\n>>> code(1)\n... more\nend", "text\nend"),
        ("rule:\n   stmt ::= a b\nend\n\n\n\nlast", "rule:\nend\n\nlast"),
        ("2 * 3 = 6", ""),
    ],
)
def test_clean_keeps_prose(given: str, kept: str) -> None:
    assert clean(given) == kept


def test_folder_keeps_one_document_of_twelve(tmp_path: Path) -> None:
    for number in range(24):
        (tmp_path / f"{number:02}.txt").write_text(f"document {number}")
    (tmp_path / "notes.csv").write_text("no text")
    (tmp_path / ".hidden.txt").write_text("hidden")
    texts = open_texts(tmp_path)
    assert texts.test == ("document 11", "document 23")
    assert len(texts.train) == 22


def test_single_text_is_cut_between_paragraphs(tmp_path: Path) -> None:
    paragraphs = [f"paragraph {number} " + "word " * 20 + "end" for number in range(30)]
    path = tmp_path / "book.md"
    path.write_text("\n\n".join(paragraphs))
    texts = open_texts(path)
    kept, held_out = texts.train[0].split("\n\n"), texts.test[0].split("\n\n")
    assert kept + held_out == paragraphs
    assert 1 <= len(held_out) <= 4


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_published_layout(tmp_path: Path, ending: str) -> None:
    items = [
        {"context": f"page {number}", "conversations": [{"from": "human", "value": "<image>"}]}
        for number in range(3)
    ]
    path = tmp_path / f"pages{ending}"
    path.write_text(json.dumps(items) if ending == ".json" else "\n".join(map(json.dumps, items)))
    assert open_texts(path).train + open_texts(path).test == ("page 0", "page 1", "page 2")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\xff\xfe\x00", "no text in UTF-8"),
        ("a.txt", b"one\0two", "binary"),
        ("a.txt", b" \n ", "empty"),
        ("a.txt", b"word", "too short"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b'{"context": "x"}', "not a list"),
        ("a.jsonl", b'{"context": "x"}\n{"text": "y"}', "item 1 has no text"),
        ("a.json", b'[{"context": " "}]', "holds no text"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_texts(path)
    assert str(path) in str(caught.value)


def test_missing_and_empty_places(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_texts(tmp_path / "none.txt")
    with pytest.raises(DataError, match=r"no \.txt or \.md"):
        open_texts(tmp_path)


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffwörter".encode())
    assert read_text(path) == "wörter"
