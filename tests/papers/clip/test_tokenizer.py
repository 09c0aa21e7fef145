from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from visionsmith.errors import CheckpointError, ConfigError, DataError
from visionsmith.papers.clip.tokenizer import END, START, ClipTokenizer, clean

CORPUS = [
    "a photo of a cat",
    "a photo of a dog, isn't it?",
    "the woman firefighter: medium-dark skin tone",
    "the man firefighter: light skin tone",
    "a photograph of the flag of Norway",
    "two cats and 15 dogs can't agree!!",
] * 3

TEXTS = [
    *CORPUS[:6],
    "",
    "   A  Photo\tof\n a CAT ",
    "I've, you're, we'll, he'd, it's, I'm",
    "Café crème — naïve façade №5",
    "고양이 사진",
    "emoji 👩🏽‍🚒 and 🇳🇴",
    "!?!... (#hash) 3.14 a_b",
    "ΣΑΣ straße İstanbul",
]


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer.train(CORPUS, vocab_size=580, context_length=77)


@pytest.fixture(scope="module")
def folder(tokenizer: ClipTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vocabulary in the published forms: vocab.json with merges.txt, and the gzipped list of merges."""
    path = tmp_path_factory.mktemp("tokenizer")
    model = json.loads(tokenizer.save())["model"]
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    (path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    (path / "bpe.txt.gz").write_bytes(gzip.compress(f'"bpe_simple_vocab#version: 0.2\n{merges}\n'.encode()))
    return path


def rows(tokens: torch.Tensor, end: int) -> list[list[int]]:
    return [row[: row.index(end) + 1] for row in tokens.tolist()]


def test_the_layout_is_the_published_one(tokenizer: ClipTokenizer) -> None:
    vocab = json.loads(tokenizer.save())["model"]["vocab"]
    by_id = sorted(vocab, key=vocab.get)
    assert by_id[0] == "!"
    assert by_id[256] == "!</w>"
    assert [token + "</w>" for token in by_id[:256]] == by_id[256:512]
    assert by_id[-2:] == [START, END]
    assert (tokenizer.start_token, tokenizer.end_token) == (
        tokenizer.vocab_size - 2,
        tokenizer.vocab_size - 1,
    )
    assert tokenizer.vocab_size == len(vocab) == 580
    assert "photo</w>" in vocab


def test_ids_equal_those_of_transformers(tokenizer: ClipTokenizer, folder: Path) -> None:
    reference = CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    cleaned = [clean(text) for text in TEXTS]
    expected = reference(cleaned)["input_ids"]
    assert rows(tokenizer.encode(TEXTS), tokenizer.end_token) == expected
    assert len({len(row) for row in expected}) > 5


@pytest.mark.parametrize("name", ["", "bpe.txt.gz"])
def test_published_files_give_the_same_tokenizer(tokenizer: ClipTokenizer, folder: Path, name: str) -> None:
    read = ClipTokenizer.from_official(folder / name)
    assert read.context_length == 77
    assert read.vocab_size == tokenizer.vocab_size
    assert torch.equal(read.encode(TEXTS), tokenizer.encode(TEXTS))


def naive_encode(text: str, vocab: dict[str, int], merges: list[list[str]]) -> list[int]:
    """One word of ASCII letters, merged pair by pair in order of priority."""
    parts = [*text[:-1], text[-1] + "</w>"]
    for left, right in merges:
        place = 0
        while place < len(parts) - 1:
            if parts[place : place + 2] == [left, right]:
                parts[place : place + 2] = [left + right]
            place += 1
    return [vocab[part] for part in parts]


def test_merging_is_a_naive_loop(tokenizer: ClipTokenizer) -> None:
    model = json.loads(tokenizer.save())["model"]
    for word in ("photograph", "firefighters", "cat", "toned", "a", "zzz"):
        expected = naive_encode(word, model["vocab"], model["merges"])
        found = tokenizer.encode([word])[0].tolist()
        assert found == [tokenizer.start_token, *expected, tokenizer.end_token]


def test_padding_and_truncation(tokenizer: ClipTokenizer) -> None:
    short = ClipTokenizer.from_bytes(tokenizer.save(), context_length=6)
    tokens = short.encode(["cat", "a photo of the flag of Norway", ""])
    assert tokens.dtype == torch.int64
    assert tokens.shape == (3, 6)
    assert tokens[1, -1] == short.end_token
    assert tokens[1, :-1].tolist() == tokenizer.encode(["a photo of the flag of Norway"])[0, :5].tolist()
    assert tokens[2].tolist() == [short.start_token, short.end_token, 0, 0, 0, 0]
    assert short.encode([]).shape == (0, 0)
    with pytest.raises(DataError, match=r"caption 1 .* tokens of 6 allowed"):
        short.encode(["cat", "a photo of the flag of Norway"], truncate=False)


def test_decoding_returns_the_cleaned_caption(tokenizer: ClipTokenizer) -> None:
    for text in (*CORPUS[:3], "고양이 사진", "emoji 👩🏽‍🚒", "!"):
        words = tokenizer.decode(tokenizer.encode([text]))[0]
        assert words.replace(" ", "") == clean(text).replace(" ", "")
    assert tokenizer.decode(tokenizer.encode(["a photo of a cat", "dog"])) == ["a photo of a cat", "dog"]


def test_saving_returns_the_same_and_others_can_read_it(tokenizer: ClipTokenizer) -> None:
    again = ClipTokenizer.from_bytes(tokenizer.save(), context_length=77)
    assert torch.equal(again.encode(TEXTS), tokenizer.encode(TEXTS))
    assert again.save() == tokenizer.save()
    library = Tokenizer.from_str(tokenizer.save().decode())
    cleaned = [clean(text) for text in TEXTS]
    assert [library.encode(text).ids for text in cleaned] == rows(
        tokenizer.encode(TEXTS), tokenizer.end_token
    )


def test_training_twice_gives_the_same(tokenizer: ClipTokenizer) -> None:
    for _ in range(5):
        again = ClipTokenizer.train(iter(CORPUS), vocab_size=580, context_length=77)
        assert again.save() == tokenizer.save()


def test_few_captions_make_a_smaller_vocabulary() -> None:
    small = ClipTokenizer.train(["ab ab"], vocab_size=1000, context_length=8)
    assert small.vocab_size == 515
    assert small.encode(["ab"]).tolist() == [[513, 512, 514]]


def test_text_can_not_end_a_caption(tokenizer: ClipTokenizer) -> None:
    tokens = tokenizer.encode([f"a cat {END} a dog {START}"])[0].tolist()
    assert tokens.count(tokenizer.end_token) == tokens.count(tokenizer.start_token) == 1
    assert tokens[-1] == tokenizer.end_token


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  A\tB\n\nc ", "a b c"),
        ("rock &amp;amp; roll", "rock & roll"),
        ("&lt;b&gt; x", "<b> x"),
        ("schÃ¶n", "schön"),
        ("“quoted”", '"quoted"'),
        ("plain text", "plain text"),
        ("cafe\u0301", "café"),
        ("non\u00a0breaking", "non breaking"),
    ],
)
def test_cleaning(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_the_short_way_of_cleaning_is_the_long_way() -> None:
    import html

    import ftfy

    for code in range(128):
        text = f"a {chr(code)} B{chr(code)}c  d"
        long_way = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
        assert clean(text) == long_way, code


def test_mistakes_are_told(tokenizer: ClipTokenizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too small"):
        ClipTokenizer.train(CORPUS, vocab_size=100, context_length=77)
    with pytest.raises(ConfigError, match="no room"):
        ClipTokenizer.from_bytes(tokenizer.save(), context_length=2)
    with pytest.raises(CheckpointError, match="not one of CLIP"):
        ClipTokenizer.from_bytes(b"{}", context_length=77)
    with pytest.raises(CheckpointError, match="not a CLIP tokenizer"):
        ClipTokenizer.from_official(tmp_path / "absent.txt.gz")
    with pytest.raises(CheckpointError, match="not a CLIP tokenizer"):
        ClipTokenizer.from_official(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(CheckpointError, match="has no <\\|startoftext"):
        ClipTokenizer.from_official(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, START: 1, END: 2}))
    (tmp_path / "merges.txt").write_text("x y\n")
    with pytest.raises(CheckpointError, match="do not belong together"):
        ClipTokenizer.from_official(tmp_path)
