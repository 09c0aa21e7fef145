"""The tiny recipe, smaller still: it learns, it resumes to the bit, and it takes a user's folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import visionsmith as vs
from visionsmith import checkpoint
from visionsmith.config import override
from visionsmith.errors import DataError
from visionsmith.image.io import encode_png
from visionsmith.papers.clip.recipes import ClipRecipe, tiny
from visionsmith.papers.clip.train import train

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 30), "blue": (30, 30, 220), "black": (0, 0, 0)}
SHAPES = ("square", "disc")


def picture(colour: str, shape: str, size: int = 40) -> np.ndarray:
    image = np.full((size, size, 3), 255, np.uint8)
    rows, columns = np.mgrid[:size, :size]
    centre = (size - 1) / 2
    inside = (
        (np.abs(rows - centre) < size * 0.3) & (np.abs(columns - centre) < size * 0.3)
        if shape == "square"
        else (rows - centre) ** 2 + (columns - centre) ** 2 < (size * 0.3) ** 2
    )
    image[inside] = COLOURS[colour]
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "pictures"
    data.mkdir()
    for colour in COLOURS:
        for shape in SHAPES:
            for copy in range(4):
                name = f"{colour}-{shape}-{copy}"
                (data / f"{name}.png").write_bytes(encode_png(picture(colour, shape, 36 + 2 * copy)))
                (data / f"{name}.txt").write_text(f"a {colour} {shape}")
    return data


def mini(**settings) -> ClipRecipe:
    """A few thousand parameters at 32 px."""
    base = {
        "model": {
            "embed_dim": 32,
            "vision": {"image_size": 32, "width": 8, "layers": [1, 1]},
            "text": {"width": 32, "heads": 1, "layers": 1, "context_length": 16},
        },
        "tokenizer_words": 600,
        "train": {
            "steps": 40,
            "batch_size": 16,
            "save_every": 10,
            "log_every": 5,
            "evaluate_every": 0,
            "ema": 0.9,
        },
        "grouped_share": 0.0,
        "augment": {"reword": 0.0, "phrase": 0.0},
    }
    return override(override(tiny(), base), [f"{key}={value}" for key, value in settings.items()])


def test_learns_a_user_folder_and_loads_in_python(folder: Path, tmp_path: Path) -> None:
    model = train(mini(steps=120), data=folder, output=tmp_path / "run", progress=False)
    clip = vs.load("clip", model)
    labels = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    pictures = [picture(colour, shape, 50) for colour in COLOURS for shape in SHAPES]
    best = [next(iter(scores)) for scores in clip.classify_all(pictures, labels)]
    right = sum(found == label for found, label in zip(best, labels, strict=True))
    assert right >= 6, f"{right} of 8; chance is 1"
    images, texts = clip.encode_images(pictures), clip.encode_texts(labels)
    assert images.shape == texts.shape == (8, 32)
    assert torch.allclose(images.norm(dim=1), torch.ones(8), atol=1e-5)
    clip.save(tmp_path / "saved")
    assert torch.allclose(vs.load("clip", tmp_path / "saved").encode_texts(labels), texts, atol=1e-6)

    run = tmp_path / "run"
    for name in (
        "config.yaml",
        "environment.json",
        "log.jsonl",
        "samples.png",
        "report.html",
        "model/card.json",
    ):
        assert (run / name).stat().st_size > 0, name
    assert list((run / "plots").glob("*.png"))
    assert list((run / "tensorboard").iterdir())
    card = json.loads((model / "card.json").read_text())
    assert card["measured"]["zero_shot.top1"] >= 0
    losses = [
        line["loss"]
        for line in map(json.loads, (run / "log.jsonl").read_text().splitlines())
        if "loss" in line
    ]
    assert losses[-1] < 0.6 * losses[0]


def test_resumes_to_the_bit(folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(mini(), data=folder, output=whole, progress=False)
    cut = shutil.copytree(whole, tmp_path / "cut")
    shutil.rmtree(cut / "model")
    shutil.rmtree(cut / "checkpoints" / "step-00000040")
    train(mini(), data=folder, output=cut, resume=True, progress=False)
    a, b = (checkpoint.read(run / "model").tensors() for run in (whole, cut))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_vision_transformer_bf16_accumulation(folder: Path, tmp_path: Path) -> None:
    recipe = override(
        mini(steps=4),
        {
            "model": {
                "vision": {
                    "kind": "vit",
                    "image_size": 32,
                    "patch_size": 8,
                    "width": 32,
                    "layers": 1,
                    "heads": 1,
                }
            },
            "train": {"accumulate": 2},
        },
    )
    model = train(recipe, data=folder, output=tmp_path / "run", progress=False)
    assert checkpoint.read(model).config["vision"]["kind"] == "vit"


def test_starts_from_other_weights(folder: Path, tmp_path: Path) -> None:
    first = train(mini(), data=folder, output=tmp_path / "first", progress=False)
    recipe = override(mini(), [f"initial={first}", "steps=1", "lr=1e-9", "ema=null", "model.embed_dim=999"])
    second = train(recipe, data=folder, output=tmp_path / "second", progress=False)
    a, b = checkpoint.read(first).tensors(), checkpoint.read(second).tensors()
    assert torch.allclose(a["text_projection"].float(), b["text_projection"].float(), atol=1e-3)
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()


def test_what_is_left_out_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG")
    (folder / "broken.txt").write_text("a broken picture")
    train(mini(steps=1), data=folder, output=tmp_path / "run", progress=True)
    assert "1 samples are left out (broken: " in capsys.readouterr().err


def test_too_little_data(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes(encode_png(picture("red", "disc")))
    (tmp_path / "one" / "a.txt").write_text("a red disc")
    with pytest.raises(DataError, match="has 1 pictures with captions"):
        train(mini(), data=tmp_path / "one", output=tmp_path / "run", progress=False)
