"""The command on a user's own files: ranking, filling in, embeddings; and its mistakes, which write nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.papers.flava.conftest import CONFIG, picture, spread_weights
from visionsmith import checkpoint
from visionsmith.cli import main
from visionsmith.errors import ConfigError
from visionsmith.image.io import write_image
from visionsmith.papers.flava.flava import Flava
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.run import load
from visionsmith.papers.flava.words import SPECIAL, Words
from visionsmith.papers.vocabulary import learn_word_pieces


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights, and two pictures."""
    import dataclasses

    folder = tmp_path_factory.mktemp("run")
    words = Words(learn_word_pieces(["a red square", "a blue disc"] * 3, size=100, special=SPECIAL), 20)
    text = dataclasses.replace(CONFIG.text, vocab_size=words.size)
    model = FLAVA(dataclasses.replace(CONFIG, text=text))
    spread_weights(model)
    export = Flava(model, words).export(model.state_dict())
    checkpoint.write(
        folder / "model", paper="flava", config=export.config, tensors=export.tensors, files=export.files
    )
    (folder / "pictures").mkdir()
    write_image(folder / "pictures" / "one.png", picture("red", "square"))
    write_image(folder / "pictures" / "two.png", picture("blue", "disc", 51))
    return folder


def run(capsys: pytest.CaptureFixture, *arguments: object, code: int = 0) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "flava", *map(str, arguments)])
    found = capsys.readouterr()
    assert stopped.value.code == code, found.err
    return found.out if code == 0 else found.err


def test_texts_are_ranked_as_by_hand(place: Path, capsys: pytest.CaptureFixture) -> None:
    texts = "a red square, a blue disc, a disc"
    found = json.loads(
        run(capsys, place / "pictures", "--texts", texts, "--checkpoint", place / "model", "--json")
    )
    flava = load(place / "model")
    assert [Path(answer["picture"]).name for answer in found["pictures"]] == ["one.png", "two.png"]
    for answer in found["pictures"]:
        image = flava.encode_images([answer["picture"]])
        for row in answer["texts"]:
            all_texts = flava.encode_texts([text.strip() for text in texts.split(",")])
            own = flava.encode_texts([row["text"]])
            scale = float(flava.model.logit_scale.detach().exp())
            share = (scale * image @ own.T).exp() / (scale * image @ all_texts.T).exp().sum()
            assert row["contrastive"] == pytest.approx(float(share), abs=1e-3)
            assert row["match"] == pytest.approx(
                float(flava.matches([answer["picture"]], [row["text"]])), abs=1e-3
            )
        shares = [row["contrastive"] for row in answer["texts"]]
        assert shares == sorted(shares, reverse=True)
    shown = run(
        capsys, place / "pictures", "--texts", "a, b", "--texts", "a disc", "--checkpoint", place / "model"
    )
    assert "a, b" in shown, "several options are one text each"


def test_a_gap_is_filled_with_and_without_the_picture(place: Path, capsys: pytest.CaptureFixture) -> None:
    one = place / "pictures" / "one.png"
    found = json.loads(
        run(capsys, one, "--fill", "a [MASK] [MASK]", "--top", 3, "--checkpoint", place / "model", "--json")
    )
    flava = load(place / "model")
    without, seen = found["filled"]
    assert without["picture"] is None
    assert Path(seen["picture"]).name == "one.png"
    for answer, image in ((without, None), (seen, one)):
        by_hand = flava.fill("a [MASK] [MASK]", image, top=3)
        for mask, expected in zip(answer["masks"], by_hand, strict=True):
            assert list(mask.values()) == pytest.approx([share for _, share in expected], abs=1e-4)
            assert not set(mask) & set(SPECIAL)
    assert "(without a picture)" in run(capsys, "--fill", "a [MASK]", "--checkpoint", place / "model")


def test_embeddings_of_pictures_texts_and_pairs(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "all.safetensors"
    run(
        capsys, place / "pictures", "--texts", "a disc, a square, red", "--embeddings", file,
        "--checkpoint", place / "model",
    )  # fmt: skip
    found = load_file(file)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "images": (2, 24),
        "texts": (3, 24),
        "pairs": (2, 3, 32),
    }
    assert torch.allclose(found["images"].norm(dim=1), torch.ones(2))
    flava = load(place / "model")
    two = place / "pictures" / "two.png"
    assert torch.allclose(found["pairs"][1, 2], flava.pair_features([two], ["red"])[0], atol=1e-5)
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    assert json.loads(about["texts"]) == ["a disc", "a square", "red"]
    assert [Path(name).name for name in json.loads(about["images"])] == ["one.png", "two.png"]
    alone = tmp_path / "texts.safetensors"
    run(capsys, "--texts", "a disc", "--embeddings", alone, "--checkpoint", place / "model")
    assert set(load_file(alone)) == {"texts"}


def test_results_do_not_depend_on_what_else_is_asked(place: Path) -> None:
    flava = load(place / "model")
    pictures = [picture("red", "square"), picture("blue", "disc"), np.zeros((70, 40, 3), np.uint8)]
    together = flava.encode_images(pictures)
    assert all(
        torch.allclose(together[row], flava.encode_images([one])[0], atol=1e-5)
        for row, one in enumerate(pictures)
    )
    texts = ["a", "a red square with a blue disc", "red"]
    together = flava.encode_texts(texts)
    assert all(
        torch.allclose(together[row], flava.encode_texts([one])[0], atol=1e-5)
        for row, one in enumerate(texts)
    )
    assert not flava.model.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to do"),
        (["--texts", "a"], "there is nothing to do"),
        (["PICTURE"], "there is nothing to do"),
        (["PICTURE", "--texts", " , "], "there is nothing to do"),
        (["PICTURE", "--fill", "a cat"], "'a cat' has no [MASK]"),
        (["PICTURE", "--fill", "a [MASK]", "--texts", "a"], "--fill does not go with --texts"),
        (["nowhere.png", "--texts", "a"], "nowhere.png: no such picture or folder"),
        (["PICTURE", "--texts", "a", "--checkpoint", "nowhere"], "is neither a file nor a folder"),
        (["PICTURE", "--embeddings", "a.txt"], "'a.txt', is not a .safetensors"),
        (["--embeddings", "a.safetensors"], "there is nothing to embed"),
        (["PICTURE", "--embeddings", "TAKEN"], "exists; add --overwrite"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    taken = tmp_path / "taken.safetensors"
    taken.write_bytes(b"mine")
    names = {"PICTURE": str(place / "pictures" / "one.png"), "TAKEN": str(taken)}
    given = [names.get(word, word) for word in arguments]
    if "--checkpoint" not in given:
        given += ["--checkpoint", str(place / "model")]
    said = run(capsys, *given, code=2)
    assert message in said.replace("\n", " ")
    assert said.count("error:") == 1
    assert taken.read_bytes() == b"mine"
    assert not list(tmp_path.glob("*.txt"))


def test_mistakes_in_python(place: Path) -> None:
    flava = load(place / "model")
    with pytest.raises(ConfigError, match="no texts were given"):
        flava.rank(picture("red", "disc"), [])
    with pytest.raises(ConfigError, match="a picture is float64 of shape"):
        flava.encode_images([np.zeros((4, 4, 3))])
