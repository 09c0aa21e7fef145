"""SupCon on a user's files: labels, likeness, mistakes; features against sums written out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import visionsmith as vs
from tests.papers.supcon.conftest import CLASSES, mini, picture
from visionsmith.cli import main
from visionsmith.config import override
from visionsmith.errors import CheckpointError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.supcon import SupCon, SupConResNet
from visionsmith.papers.supcon.feature_map import feature_map, flat_places
from visionsmith.papers.supcon.neighbours import linear_top1, nearest_scores, nearest_top1


def run(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, said.err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Not trained; its features still tell colours apart."""
    torch.manual_seed(0)
    config = override(mini().model, [f"classes=[{', '.join(CLASSES)}]"])
    SupCon(SupConResNet(config).eval()).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    SupCon(SupConResNet(mini().model).eval()).save(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_labels(folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG")
    sheet = tmp_path / "sheet.png"
    arguments = ("run", "supcon", str(folder), "--checkpoint", str(model), "--output", str(sheet))
    code, out, err = run(capsys, *arguments, "--json", "--top", "2")
    assert code == 0, err
    found = json.loads(out)
    assert len(found["pictures"]) == 36
    assert len(found["left_out"]) == 1
    supcon = vs.load("supcon", model)
    for entry in found["pictures"][::9]:
        assert len(entry["labels"]) == 2
        shown = torch.from_numpy(supcon.show(read_image(Path(entry["picture"]))))[None]
        pixels = (shown / 255 - torch.tensor(supcon.model.config.mean)) / torch.tensor(
            supcon.model.config.std
        )
        wanted = supcon.model(pixels.permute(0, 3, 1, 2)).softmax(1)[0].detach()
        for name, share in entry["labels"].items():
            assert share == pytest.approx(float(wanted[supcon.classes.index(name)]), abs=1e-3)
    assert read_image(sheet).shape[1] > 500
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert "probability" in out


def test_similar(folder: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    query = folder / "red" / "3.png"
    copy = folder / "blue" / "a-copy.png"
    write_image(copy, read_image(query))
    sheet = tmp_path / "sheet.png"
    arguments = ["run", "supcon", "--similar", str(query), "--in", str(folder), "--output", str(sheet)]
    arguments += ["--checkpoint", str(encoder), "--top", "4"]
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["searched"] == 36, "all but the picture itself"
    assert found["pictures"][0] == {"picture": str(copy), "similarity": pytest.approx(1, abs=1e-4)}
    assert len(found["pictures"]) == 4
    scores = [entry["similarity"] for entry in found["pictures"]]
    assert scores == sorted(scores, reverse=True)
    supcon = vs.load("supcon", encoder)
    others = [Path(entry["picture"]) for entry in found["pictures"]]
    rows = [supcon.embed([path])[0] for path in (query, *others)]
    wanted = [float(F.cosine_similarity(rows[0], row, dim=0)) for row in rows[1:]]
    assert scores == pytest.approx(wanted, abs=1e-3)
    places = supcon.similar(query, others, top=2)
    assert [place for place, _ in places] == [0, 1]
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "similarity" in out
    assert read_image(sheet).ndim == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no pictures were given"),
        (("nowhere.png",), "no such picture or folder"),
        (("{empty}",), "holds no pictures"),
        (("{folder}", "--output", "sheet.jpg"), "not a .png"),
        (("{folder}", "--checkpoint", "{folder}"), "is not a checkpoint"),
        (("{folder}", "--checkpoint", "{encoder}"), "an encoder without a classifier; compare pictures"),
        (("{folder}", "--checkpoint", "{encoder}", "--similar", "nowhere.png"), "nowhere.png"),
        (("{one}", "--checkpoint", "{encoder}", "--similar", "{one}"), "nothing to compare"),
        (("{broken}", "--checkpoint", "{model}"), "broken.png"),
    ],
)
def test_mistakes_get_a_sentence(
    arguments: tuple[str, ...],
    message: str,
    folder: Path,
    model: Path,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    places = {
        "empty": tmp_path / "empty",
        "folder": folder,
        "model": model,
        "encoder": encoder,
        "one": folder / "red" / "0.png",
        "broken": tmp_path / "broken.png",
    }
    code, out, err = run(capsys, "run", "supcon", *(argument.format(**places) for argument in arguments))
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err
    assert not list(tmp_path.glob("supcon*.png"))


def test_saved_and_loaded_answers_are_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = override(mini().model, ["classes=[a, b]"])
    first = SupCon(SupConResNet(config).eval())
    first.save(tmp_path / "model")
    second = vs.load("supcon", tmp_path / "model")
    images = [picture(name, 0, size) for name in CLASSES for size in (9, 16, 40)]
    torch.testing.assert_close(second.embed(images), first.embed(images), rtol=0, atol=2e-3)
    torch.testing.assert_close(first.embed(images).norm(dim=1), torch.ones(9))
    assert first.embed([]).shape == (0, config.encoder.features)
    with pytest.raises(CheckpointError, match="holds a model of 'supcon', not of 'clip'"):
        vs.load("clip", tmp_path / "model")


def test_votes_of_the_nearest() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = (F.normalize(torch.randn(n, 6, generator=generator), dim=1) for n in (30, 7))
    labels = torch.randint(4, (30,), generator=generator)
    found = nearest_scores(train, labels, test, 4, neighbours=5)
    for row, votes in zip(test, found, strict=True):
        order = sorted(range(30), key=lambda place: -float(row @ train[place]))[:5]
        wanted = torch.zeros(4)
        for place in order:
            wanted[labels[place]] += float((row @ train[place] / 0.07).exp())
        torch.testing.assert_close(votes, wanted / wanted.sum())
    own = nearest_scores(train, labels, test, 4).argmax(1).numpy()
    assert nearest_top1(train, labels.numpy(), test, own) == 1.0
    wrong = np.where(np.arange(7) < 3, own, (own + 1) % 4)
    assert nearest_top1(train, labels.numpy(), test, wrong) == pytest.approx(3 / 7)


def test_a_linear_classifier_separates_what_a_line_separates() -> None:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    features = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], 1), dtype=torch.float32)
    labels = (angles < np.pi).astype(np.int64)
    assert linear_top1(features, labels, features, labels) >= 0.95
    alternating = np.arange(60) % 2
    assert linear_top1(features, alternating, features, alternating) < 0.7


def test_a_map_puts_like_pictures_together() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(3)
    features = F.normalize(
        centres.repeat_interleave(20, 0) + 0.05 * torch.randn(60, 3, generator=generator), dim=1
    )
    labels = np.arange(3).repeat(20)
    places = flat_places(features)
    assert places.min() == 0
    assert places.max() == 1
    middles = np.stack([places[labels == label].mean(0) for label in range(3)])
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(1)
    assert (nearest == labels).mean() == 1
    assert np.array_equal(places, flat_places(features))


def test_a_map_is_drawn_in_frames_of_the_classes() -> None:
    pictures = [np.full((20, 20, 3), value, np.uint8) for value in (10, 120)]
    drawn = feature_map(pictures, np.array([[0.0, 0.0], [1.0, 1.0]]), [0, 1])
    assert drawn.shape == (1200, 1200, 3)
    assert (drawn[4, 4] == 10).all()
    assert (drawn[-5, -5] == 120).all()
    assert (drawn[600, 600] == 255).all()
    assert not np.array_equal(drawn[0, 0], drawn[-1, -1])
    assert len({tuple(drawn[0, 0]), (255, 255, 255), (10, 10, 10)}) == 3
