"""The commands as a user gives them: files of latents, restored texts, answers, and mistakes that lose nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.papers.c3.common import WORDS, codec
from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.errors import DataError
from visionsmith.papers.c3.book import digest, read_book, stored, write_book
from visionsmith.papers.c3.codec import Codec
from visionsmith.papers.c3.run import load

TEXT = " ".join(WORDS * 3)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    mine = codec()
    export = mine.export(mine.model.state_dict())
    checkpoint.write(
        tmp_path / "model", paper="c3", config=export.config, tensors=export.tensors, files=export.files
    )
    return tmp_path / "model"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(TEXT)
    return path


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["run", "c3", *map(str, arguments)])
    if code and not isinstance(result.exception, SystemExit | None):
        # The command line turns the project's errors into a sentence; the runner sees the error itself.
        assert getattr(result.exception, "exit_code", None) == code, result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def test_compress_and_restore(weights: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "book.c3"
    found = json.loads(run("compress", text, "--out", out, "--checkpoint", weights, "--verify", "--json"))
    mine = load(weights)
    chunks = mine.cut(TEXT)
    assert found["tokens"] == sum(map(len, chunks))
    assert found["latents"] == sum(-(-len(chunk) // 4) for chunk in chunks)
    assert found["bytes"] == out.stat().st_size
    with safe_open(out, framework="pt") as opened:
        assert opened.metadata()["model"] == mine.digest()
        assert opened.get_tensor("latents").shape == (found["latents"], 24)
    packed = read_book(out, mine).packed
    for one, other in zip(packed.latents, stored(mine.compress(TEXT)).latents, strict=True):
        assert torch.equal(one, other), "a file holds the latents, rounded"
    expected = mine.restore(packed)
    assert run("restore", out, "--checkpoint", weights).startswith(expected)
    restored = tmp_path / "back.txt"
    said = run("restore", out, "--checkpoint", weights, "--out", restored)
    assert restored.read_text() == expected
    assert "not the original to the letter" in said, "random weights restore nothing"
    # The same comparison, made here.
    pairs = zip(mine.restore_tokens(packed), chunks, strict=True)
    lost = sum(mine.speech.decode(found) != mine.speech.decode(own) for found, own in pairs)
    assert found["verified"]["exact"] == 0
    assert len(found["verified"]["first"]) == min(5, lost)


def test_ratio_and_fidelity_are_said_before_anything_is_written(
    weights: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import visionsmith.papers.c3.book as book

    def stop(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(book, "write_book", stop)
    result = CliRunner().invoke(app, ["run", "c3", "compress", str(text), "--checkpoint", str(weights)])
    assert "tokens, " in result.output
    assert "of the characters come back" in result.output
    assert "warning: this model keeps this text badly" in result.output
    assert not text.with_suffix(".c3").exists()


def test_restoring_knows_the_original(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = load(weights)
    path = tmp_path / "book.c3"
    write_book(path, mine.compress(TEXT), mine, TEXT)
    assert read_book(path).sha256 == digest(TEXT)
    monkeypatch.setattr(Codec, "restore", lambda self, packed, progress: TEXT)
    assert json.loads(run("restore", path, "--checkpoint", weights, "--json")) == {
        "exact": True,
        "characters": len(TEXT),
        "text": TEXT,
    }


def test_ask_every_chunk_the_surest_first(weights: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "book.c3"
    run("compress", text, "--out", out, "--checkpoint", weights, "--json")
    result = CliRunner().invoke(
        app, ["run", "c3", "ask", str(out), "Continue after: fox", "--checkpoint", str(weights), "--json"]
    )
    answers = json.loads(result.stdout)["answers"]
    assert sorted(one["chunk"] for one in answers) == list(range(1, len(load(weights).cut(TEXT)) + 1))
    sure = [one["sure"] for one in answers]
    assert sure == sorted(sure, reverse=True)
    assert all(0 < value <= 1 for value in sure)
    other = CliRunner().invoke(
        app, ["run", "c3", "ask", str(out), "What is it about?", "--checkpoint", str(weights)]
    )
    assert "knows questions about scenes" in other.output
    known = CliRunner().invoke(
        app, ["run", "c3", "ask", str(out), "Where is the red cat?", "--checkpoint", str(weights)]
    )
    assert "note:" not in known.output


def test_sureness_is_the_probability_of_the_answer(weights: Path) -> None:
    """Against a whole forward pass over the answer."""
    from visionsmith.papers.c3.model import Latents

    mine = load(weights)
    (latents, *_) = mine.compress_tokens([list(range(40, 60))])
    (answer,) = mine.ask([latents], ["Continue after: x"], limit=5)
    said = [*answer.tokens, *([mine.speech.end] if len(answer.tokens) < 5 else [])]
    prompt = mine.speech.prompt("Continue after: x", len(latents))
    spoken = mine.speech.speak([prompt], [said])
    own = Latents(latents[None], torch.ones(1, len(latents), dtype=torch.bool))
    with torch.no_grad():
        given = mine.model.decoder_input(own, spoken.ids, spoken.present, spoken.asked)
        logs = mine.model.decoder.lm_head(mine.model.read(given))[0].log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) - 1 + len(said))
    mean = sum(float(logs[place, token]) for place, token in zip(places, said, strict=True)) / len(said)
    assert answer.sure == pytest.approx(torch.tensor(mean).exp().item(), rel=1e-4)


def test_wrong_calls(weights: Path, text: Path, tmp_path: Path) -> None:
    assert "ask needs a question" in run("ask", text, code=2)
    assert "restore takes no question" in run("restore", text, "what", code=2)
    assert "--verify belongs to compress" in run("restore", text, "--verify", code=2)
    assert "ask writes no file" in run("ask", text, "what", "--out", tmp_path / "x", code=2)
    taken = tmp_path / "taken.c3"
    taken.write_text("mine")
    assert "is there already" in run("compress", text, "--out", taken, "--checkpoint", weights, code=2)
    assert taken.read_text() == "mine"
    run("compress", text, "--out", taken, "--checkpoint", weights, "--overwrite", "--json")
    assert read_book(taken).characters == len(TEXT)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"a\0b", "binary"), (b"\xff\xfe", "UTF-8"), (None, "no such file")],
)
def test_what_cannot_be_compressed(
    weights: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "x.txt"
    if content is not None:
        path.write_bytes(content)
    assert message in run("compress", path, "--checkpoint", weights, code=2)
    assert not path.with_suffix(".c3").exists()


def test_damaged_and_foreign_files(weights: Path, tmp_path: Path) -> None:
    mine, path = load(weights), tmp_path / "book.c3"
    write_book(path, mine.compress(TEXT), mine, TEXT)
    whole = path.read_bytes()
    with safe_open(path, framework="pt") as opened:
        about = opened.metadata()
    # Copies: the file they are mapped from is written over below.
    tensors = {name: value.clone() for name, value in load_file(path).items()}

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_book(path, mine)

    path.write_bytes(whole[:-10])
    refused("is no file of latents, or is damaged")
    path.write_text(TEXT)
    refused("is no file of latents, or is damaged")
    save_file(tensors, path, metadata={"format": "pt"})
    refused("holds no latents of C3")
    save_file(tensors, path, metadata={**about, "model": "0" * 16})
    refused(f"was written by the model {'0' * 16}, and this is {mine.digest()}")
    save_file({**tensors, "tokens": tensors["tokens"][:-1]}, path, metadata=about)
    refused("do not fit together")
    save_file({**tensors, "tokens": tensors["tokens"] + 1000}, path, metadata=about)
    refused("do not fit the model")
    save_file({**tensors, "latents": tensors["latents"] * torch.inf}, path, metadata=about)
    refused("do not fit the model")
    save_file({**tensors, "counts": tensors["counts"] * 2}, path, metadata=about)
    refused("is no file of latents, or is damaged")
