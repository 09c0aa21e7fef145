"""`visionsmith run f3net`: verdicts, heat maps and timelines as files, and every mistake in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import visionsmith as vs
from tests.image.test_video import write_video
from visionsmith.cli import main
from visionsmith.errors import ConfigError
from visionsmith.image.io import encode_png, read_image
from visionsmith.papers.f3net.detector import prepare, to_square
from visionsmith.papers.f3net.heat import FULL, HEAT, draw_heat
from visionsmith.papers.f3net.model import F3Net


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    colour = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    (folder / "colour.png").write_bytes(encode_png(colour))
    (folder / "gray.png").write_bytes(encode_png(colour[:, :, 0]))
    (folder / "alpha.png").write_bytes(encode_png(np.dstack([colour, np.full((60, 80), 90, np.uint8)])))
    (folder / "small.png").write_bytes(encode_png(colour[:5, :7]))
    monkeypatch.chdir(tmp_path)
    return folder


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["run", "f3net", *map(str, arguments)])
    printed = capsys.readouterr()
    code = stop.value.code
    assert isinstance(code, int)
    return code, printed.out, printed.err


def test_pictures_of_every_kind(photos: Path, checkpoint: Path, capsys) -> None:
    code, out, _ = run(photos, "--checkpoint", checkpoint, "--json", capsys=capsys)
    assert code == 0
    printed = json.loads(out)
    assert [Path(one["path"]).name for one in printed["found"]] == [
        "alpha.png",
        "colour.png",
        "gray.png",
        "small.png",
    ]
    detector = vs.load("f3net", checkpoint)
    expected = detector.probabilities([one["path"] for one in printed["found"]])
    assert [one["probability"] for one in printed["found"]] == pytest.approx(expected, abs=1e-4)
    for one in printed["found"]:
        assert one["verdict"] == ("forged" if one["probability"] >= 0.5 else "no sign")
    assert printed["trained_on"] == "squares and discs"
    assert "no proof" in printed["note"]
    assert read_image(printed["sheet"]).std() > 10


def test_a_video_has_a_timeline(photos: Path, checkpoint: Path, capsys) -> None:
    video = write_video(photos / "clip.avi")
    code, out, _ = run(video, "--frames", 5, "--checkpoint", checkpoint, "--json", capsys=capsys)
    assert code == 0
    found = json.loads(out)["found"][0]
    assert found["frames"] == 5
    by_frame = [one["probability"] for one in found["by_frame"]]
    assert found["probability"] == pytest.approx(np.mean(by_frame), abs=1e-3)
    assert [one["seconds"] for one in found["by_frame"]] == [0.0, 0.5, 1.0, 1.4, 1.9]
    assert read_image(found["timeline"]).std() > 5
    # A folder gives its pictures and its videos.
    code, out, _ = run(photos, "--frames", 2, "--checkpoint", checkpoint, "--json", capsys=capsys)
    assert len(json.loads(out)["found"]) == 5


def test_what_is_printed_says_how_far_to_trust_it(photos: Path, checkpoint: Path, capsys) -> None:
    code, out, err = run(photos, "--checkpoint", checkpoint, capsys=capsys)
    assert (code, err) == (0, "")
    for words in (
        "from a probability of 0.500 on",
        "On 40 test pictures that called 10% of the real ones forged, and missed 20%",
        "Trained on: squares and discs",
        "at 48 x 48 px",
        "A score is no proof",
        "heat maps: f3net.png",
    ):
        assert words in " ".join(out.split()), words


def test_a_broken_picture_is_left_out_and_named(photos: Path, checkpoint: Path, capsys) -> None:
    (photos / "broken.png").write_bytes((photos / "colour.png").read_bytes()[:300])
    code, out, err = run(photos, "--checkpoint", checkpoint, capsys=capsys)
    assert code == 0
    assert "colour.png" in out
    assert "left out 1:" in err
    assert "broken.png" in err


def test_mistakes_get_a_sentence(photos: Path, checkpoint: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 50)
    for arguments, message in (
        ((), "no picture was given"),
        (("missing.png",), "missing.png: no such picture or folder"),
        (("missing.mp4",), "missing.mp4: no such picture or folder"),
        (("empty",), "empty: holds no pictures"),
        (("junk.mp4",), "is no video that can be decoded"),
        ((photos, "--output", "sheet.jpg"), "is not a .png"),
    ):
        code, out, err = run(*arguments, "--checkpoint", checkpoint, capsys=capsys)
        assert (code, out) == (2, ""), arguments
        assert message in err
        assert "Traceback" not in err
    code, _, err = run(photos, "--checkpoint", tmp_path / "nowhere", capsys=capsys)
    assert code == 2
    assert "no such checkpoint" in err


def test_the_probability_is_the_models(model: F3Net, checkpoint: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (70, 48, 48, 3)).astype(np.uint8)
    with torch.no_grad():
        expected = torch.sigmoid(model(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1))
    detector = vs.load("f3net", checkpoint)
    assert detector.probabilities(pictures) == pytest.approx(expected.numpy(), abs=1e-5)
    assert [one.probability for one in detector.look(pictures)] == pytest.approx(expected.numpy(), abs=1e-5)
    assert detector.probabilities([]).shape == (0,)


def test_pixels_become_minus_one_to_one() -> None:
    images = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    assert prepare(images).flatten().tolist() == pytest.approx([-1, 128 / 127.5 - 1, 1], abs=1e-6)
    with pytest.raises(ConfigError, match="float64 of shape"):
        to_square(np.zeros((4, 4, 3)), 48)


def test_heat_is_drawn_on_one_scale_for_all() -> None:
    picture = np.full((40, 40, 3), (10, 200, 90), np.uint8)
    gray = draw_heat(picture, np.full((4, 4), -3.0, np.float32))
    assert (gray == gray[0, 0, 0]).all()  # what speaks against a forgery is not drawn
    evidence = np.zeros((4, 4), np.float32)
    evidence[0, 0] = FULL
    drawn = draw_heat(picture, evidence).astype(int)
    assert np.abs(drawn[2, 2] - (0.2 * gray[0, 0] + 0.8 * np.array(HEAT))).max() <= 1
    assert np.array_equal(drawn[-5, -5], gray[-5, -5])
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    outlined = draw_heat(picture, np.zeros((4, 4), np.float32), mask)
    assert (outlined[10, 10:20] == 255).all()
    assert np.array_equal(outlined[12:18, 12:18], gray[12:18, 12:18])
