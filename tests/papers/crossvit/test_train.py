"""Training on a user's folder, and the trained model on the command line: answers, sheets, mistakes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import visionsmith
from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.config import override
from visionsmith.data.labelled import open_labelled
from visionsmith.errors import ConfigError, DataError, VisionsmithError
from visionsmith.image.io import read_image
from visionsmith.papers.crossvit.config import CrossViTConfig
from visionsmith.papers.crossvit.recipes import AugmentConfig, CrossViTRecipe, tiny
from visionsmith.papers.crossvit.train import View, make_model, make_task, train
from visionsmith.papers.paper import get_paper
from visionsmith.train.recipe import OptimConfig, TrainConfig

RUNNER = CliRunner()
CLASSES = ("circle", "cross", "square")


def draw(name: str, rng: np.random.Generator) -> np.ndarray:
    """A shape on a pale ground, each in its own range of colours."""
    image = np.full((40, 40, 3), rng.integers(180, 256, 3), dtype=np.uint8)
    colour = rng.integers(0, 80, 3)
    colour[CLASSES.index(name)] += 150
    x, y = rng.integers(15, 25, 2).tolist()
    if name == "circle":
        cv2.circle(image, (x, y), 12, colour.tolist(), -1)
    elif name == "square":
        cv2.rectangle(image, (x - 11, y - 11), (x + 11, y + 11), colour.tolist(), -1)
    else:
        cv2.line(image, (x - 11, y - 11), (x + 11, y + 11), colour.tolist(), 6)
        cv2.line(image, (x - 11, y + 11), (x + 11, y - 11), colour.tolist(), 6)
    return image


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir()
        for number in range(24):
            assert cv2.imwrite(str(folder / name / f"{number}.png"), draw(name, rng))
    return folder


RECIPE = CrossViTRecipe(
    model=CrossViTConfig(
        image_sizes=(24, 32),
        patch_sizes=(6, 8),
        widths=(24, 48),
        heads=(2, 2),
        depths=((1, 1, 1), (1, 1, 1)),
        init_std=None,
    ),
    train=TrainConfig(
        steps=30,
        batch_size=24,
        threads=1,
        save_every=30,
        optim=OptimConfig(lr=3e-3, warmup_steps=5, weight_decay=0.05),
    ),
    augment=AugmentConfig(crop=(0.7, 1.0), rand_augment=None, erase=0.0),
    mix=None,
    resize=32,
)


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return train(RECIPE, data=shapes, output=tmp_path_factory.mktemp("runs") / "run", progress=False)


def test_it_learns_shapes_from_a_folder(trained: Path, shapes: Path) -> None:
    classifier = visionsmith.load("crossvit", trained)
    assert classifier.classes == CLASSES
    data = open_labelled(shapes, classes=CLASSES)
    assert classifier.measure(data)["top1"] >= 0.8  # chance is a third
    assert next(iter(classifier.classify(draw("cross", np.random.default_rng(7))))) == "cross"


def test_evaluate_measures_what_it_says(trained: Path, shapes: Path) -> None:
    found = get_paper("crossvit").module("evaluate").evaluate(checkpoint=trained, data=shapes, progress=False)
    assert found["pictures"] == 15
    assert found["model"]["fusion"] == "cross_attention"
    assert found["top1"] == pytest.approx(sum(found["per_class"].values()) / 3)


def test_mixed_batches_and_every_change_train_too(shapes: Path, tmp_path: Path) -> None:
    settings = {
        "augment": {"rand_augment": 9.0, "colour": 0.4, "erase": 0.5},
        "mix": {},
        "train": {"steps": 2},
    }
    recipe = override(RECIPE, settings)
    assert checkpoint.is_checkpoint(train(recipe, data=shapes, output=tmp_path / "run", progress=False))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in log if "loss" in line)


def test_a_view_follows_from_its_stream_alone(shapes: Path) -> None:
    view = View(AugmentConfig(colour=0.4), 32)
    picture = read_image(shapes / "circle" / "0.png")
    once, again, other = (view(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once.shape == (32, 32, 3)
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(shapes: Path, tmp_path: Path) -> None:
    recipe = override(RECIPE, {"train": {"steps": 6, "save_every": 3}, "model": {"drop_path": 0.2}})
    whole = checkpoint.read(train(recipe, data=shapes, output=tmp_path / "whole", progress=False)).tensors()

    def stop_at_four() -> None:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt

    from visionsmith.train.loop import fit
    from visionsmith.train.run_folder import RunFolder

    steps: list[int] = []
    run = RunFolder(tmp_path / "parts")
    run.start(paper="crossvit", data=shapes, recipe=recipe, resume=False)
    task = dataclasses.replace(
        make_task(recipe, open_labelled(shapes, into=run.path / "records")), after_step=stop_at_four
    )
    with pytest.raises(KeyboardInterrupt):
        fit(task, recipe.train, run, progress=False)
    parts = checkpoint.read(
        train(recipe, data=shapes, output=tmp_path / "parts", resume=True, progress=False)
    ).tensors()
    assert set(parts) == set(whole)
    for name, value in whole.items():
        assert torch.equal(parts[name], value), name


def test_trained_weights_go_on_with_other_classes_and_sizes(trained: Path) -> None:
    recipe = override(
        RECIPE, {"initial": str(trained), "model": {"image_sizes": [48, 64], "widths": [6, 6]}, "resize": 64}
    )
    before, model = visionsmith.load("crossvit", trained).network, make_model(recipe, 5)
    assert model.config.classes == 5
    assert model.config.grids == (8, 8)
    assert model.config.widths == (24, 48)
    assert torch.equal(
        model.blocks[0].blocks[0][0].attn.qkv.weight, before.blocks[0].blocks[0][0].attn.qkv.weight
    )
    # What it sees at 64 px is what the model before it saw at 64 px, its positions interpolated on the way.
    pixels = torch.randn(1, 3, 64, 64)
    for new, old in zip(model.eval().forward_features(pixels), before.forward_features(pixels), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-5)


def test_presets_are_the_published_models() -> None:
    paper = get_paper("crossvit")
    named = {
        "paper_ti": "Ti",
        "paper_s": "S",
        "paper_b": "B",
        "paper_9_dagger": "9-dagger",
        "paper_15_dagger": "15-dagger",
        "paper_18_dagger": "18-dagger",
    }
    assert set(paper.presets) == {"tiny", *named}
    from visionsmith.papers.crossvit.cost import count_parameters

    for preset, name in named.items():
        recipe = paper.recipe(preset)
        assert count_parameters(recipe.model) == paper.parameters[name]
        assert recipe.train.steps == 300 * (1_281_167 // 4096)
        assert recipe.train.optim.lr == pytest.approx(5e-4 * 4096 / 512)
    assert (
        count_parameters(override(tiny().model, {"classes": 40})) * 4 < 6e6
    )  # a shipped checkpoint has 6 MB at most


def run(*arguments: object) -> tuple[int, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit | VisionsmithError), (
        result.exception
    )
    return (
        result.exit_code,
        result.output if result.exception is None else f"{result.output}{result.exception}",
    )


def test_labels_and_attention_of_a_users_pictures(trained: Path, shapes: Path, tmp_path: Path) -> None:
    color = draw("square", np.random.default_rng(3))
    cv2.imwrite(str(tmp_path / "gray.png"), cv2.cvtColor(color, cv2.COLOR_RGB2GRAY))
    alpha = np.dstack([color, np.full((40, 40), 128, np.uint8)])
    cv2.imwrite(str(tmp_path / "alpha.png"), alpha)
    cv2.imwrite(str(tmp_path / "small.png"), color[:5, :3])
    cv2.imwrite(str(tmp_path / "wide.png"), np.hstack([color] * 4))
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    sheet, attention = tmp_path / "out" / "sheet.png", tmp_path / "out" / "attention.png"
    code, text = run(
        "run",
        "crossvit",
        tmp_path,
        "--checkpoint",
        trained,
        "--output",
        sheet,
        "--attention",
        attention,
        "--top",
        2,
        "--json",
    )
    assert code == 0, text
    found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert [Path(entry["picture"]).name for entry in found["pictures"]] == [
        "alpha.png",
        "gray.png",
        "small.png",
        "wide.png",
    ]
    assert all(len(entry["labels"]) == 2 for entry in found["pictures"])
    assert len(found["left_out"]) == 1
    assert read_image(sheet).shape[1] > 300
    # Three pictures a row, four rows.
    assert read_image(attention).shape[0] > 4 * 220


def test_what_is_looked_at_keeps_its_light(trained: Path) -> None:
    from visionsmith.papers.crossvit.classifier import _look

    image = np.full((32, 32, 3), (200, 40, 40), dtype=np.uint8)
    weights = np.full((4, 4), 0.05, dtype=np.float32)
    weights[1, 2] = 0.25
    look = _look(image, weights)
    lit = look.picture.astype(int)
    assert np.abs(lit[12, 20] - (200, 40, 40)).max() <= 12  # the patch's centre keeps its colour
    assert lit[28, 4].max() < 50  # far from it all is gray and dark
    assert np.ptp(lit[28, 4]) == 0
    assert look.peak == pytest.approx(4)
    assert _look(image, np.full((4, 4), 1 / 16, dtype=np.float32)).peak == pytest.approx(1)
    for found in visionsmith.load("crossvit", trained).attention(image):
        assert found.picture.shape == (32, 32, 3)
        assert found.peak >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no pictures were given; name pictures"),
        (("nowhere.png",), "no such picture or folder"),
        (("{empty}",), "holds no pictures"),
        (("{shapes}", "--output", "sheet.jpg"), "is not a .png"),
        (("{shapes}", "--output", "a.png", "--attention", "a.png"), "would be both sheets"),
        (("{shapes}", "--checkpoint", "{shapes}"), "is not a checkpoint"),
    ],
)
def test_mistakes_of_run(
    arguments: tuple[str, ...], message: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    filled = [part.format(empty=tmp_path / "empty", shapes=shapes) for part in arguments]
    code, text = run("run", "crossvit", *filled)
    assert code != 0
    assert message in text
    assert not list(tmp_path.glob("*.png"))


def test_mistakes_of_train(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "cat").mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(
            str(tmp_path / "one" / "cat" / f"{number}.png"), draw("cross", np.random.default_rng(number))
        )
    with pytest.raises(DataError, match=r"has only the class 'cat'; at least two are needed"):
        train(RECIPE, data=tmp_path / "one", output=tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match=r"resize = 20 px is smaller than the model's input of 32 px"):
        override(RECIPE, {"resize": 20})
    with pytest.raises(ConfigError, match=r"augment.erase = 1.5 is out of range; choose 0 to 1"):
        override(RECIPE, {"augment": {"erase": 1.5}})
    with pytest.raises(ConfigError, match=r"augment.crop = \[0.9, 0.5\] is no range of shares"):
        override(RECIPE, {"augment": {"crop": [0.9, 0.5]}})
