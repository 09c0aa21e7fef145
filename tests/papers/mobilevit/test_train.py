"""A small recipe: it learns at several sizes, resumes to the bit, takes a user's folder; and the command on files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import visionsmith as vs
from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.config import override
from visionsmith.data.labelled import Labelled, open_labelled
from visionsmith.data.sampler import VaryingPlan
from visionsmith.errors import ConfigError, DataError, VisionsmithError
from visionsmith.image.io import encode_png
from visionsmith.papers.mobilevit.evaluate import evaluate
from visionsmith.papers.mobilevit.recipes import MobileViTRecipe, paper_s, paper_xxs, tiny
from visionsmith.papers.mobilevit.train import make_model, make_task, train
from visionsmith.train.loop import fit
from visionsmith.train.run_folder import RunFolder

SHAPES = ("bar", "disc", "ring")


def picture(shape: str, number: int, size: int = 72) -> np.ndarray:
    """A shape on light ground, somewhere; each shape has its own hue, so that it is learned in seconds."""
    rng = np.random.default_rng((SHAPES.index(shape), number))
    image = np.full((size, size, 3), rng.integers(170, 256, 3), np.uint8)
    ink = [int(value) for value in rng.integers(0, 80, 3)]
    ink[SHAPES.index(shape)] += 150
    x, y = (int(value) for value in rng.integers(size // 3, size - size // 3, 2))
    if shape == "bar":
        cv2.rectangle(image, (x - 24, y - 5), (x + 24, y + 5), ink, -1)
    else:
        cv2.circle(image, (x, y), 18, ink, -1 if shape == "disc" else 6)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("pictures")
    for shape in SHAPES:
        (data / shape).mkdir()
        for number in range(40):
            (data / shape / f"{number}.png").write_bytes(encode_png(picture(shape, number)))
    return data


def mini(**settings: object) -> MobileViTRecipe:
    """Some thousand parameters at 48 px, trained at 32, 48 and 64."""
    base = {
        "model": {
            "stem": 8,
            "channels": [8, 8, 16, 16, 24],
            "widths": [16, 16, 24],
            "depths": [1, 1, 1],
        },
        "train": {
            "steps": 12,
            "batch_size": 16,
            "save_every": 4,
            "log_every": 2,
            "evaluate_every": 0,
            "ema": 0.9,
            "optim": {"warmup_steps": 10, "lr": 5e-3},
        },
        "size": 48,
        "scales": {"size": 48, "lowest": 32, "highest": 64},
        "crop": [0.8, 1.0],
        "erase": 0.0,
    }
    return override(override(tiny(), base), [f"{key}={value}" for key, value in settings.items()])


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("run")
    return train(mini(steps=50, save_every=50), data=folder, output=output / "run", progress=False)


def test_it_learns_a_user_folder_at_every_size(trained: Path, folder: Path) -> None:
    found = evaluate(checkpoint=trained, data=folder, progress=False)
    assert found["top1"] > 0.6, "chance is a third"
    assert found["pictures"] == 24
    assert list(found["by_size"]) == ["36", "48", "60", "72"], "24 px is below the stride"
    assert found["by_size"]["48"] == found["top1"]
    assert min(found["by_size"].values()) > 1 / 3
    assert found["model"]["size"] == 48


def test_the_checkpoint_says_how_it_is_used(trained: Path) -> None:
    classifier = vs.load("mobilevit", trained)
    assert classifier.classes == SHAPES
    assert (classifier.size, classifier.resize) == (48, None)
    answers = classifier.classify(picture("ring", 99), top=2)
    assert len(answers) == 2
    assert set(checkpoint.read(trained).config) == {"model", "classes", "size", "resize"}


@pytest.fixture(scope="module")
def opened(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return open_labelled(folder, into=tmp_path_factory.mktemp("packed") / "records")


def fit_only(recipe: MobileViTRecipe, data: Labelled, output: Path) -> dict[str, torch.Tensor]:
    """The weights of a training without its report."""
    run = RunFolder(output)
    run.start(paper="mobilevit", data=None, recipe=recipe, resume=True)
    return checkpoint.read(fit(make_task(recipe, data), recipe.train, run, progress=False)).tensors()


@pytest.mark.slow
def test_a_run_resumes_to_the_bit(opened: Labelled, tmp_path: Path) -> None:
    recipe = mini(steps=6, save_every=3)
    whole = fit_only(recipe, opened, tmp_path / "whole")
    fit_only(recipe, opened, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "model")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-00000006")
    again = fit_only(recipe, opened, tmp_path / "again")
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_one_size_and_micro_batches_train_too(opened: Labelled, tmp_path: Path) -> None:
    fixed = override(mini(steps=1), {"scales": None})
    assert not isinstance(make_task(fixed, opened).plan, VaryingPlan)
    fit_only(fixed, opened, tmp_path / "fixed")
    fit_only(mini(**{"steps": 1, "accumulate": 2, "scales.divisor": 2}), opened, tmp_path / "parts")
    with pytest.raises(ConfigError, match="is not a multiple of 1 processes x 2 micro-batches"):
        fit_only(mini(steps=1, accumulate=2), opened, tmp_path / "odd")


def test_training_starts_from_other_weights(trained: Path) -> None:
    same = make_model(mini(initial=str(trained)), classes=3)
    other = make_model(mini(initial=str(trained)), classes=5)
    state = checkpoint.read(trained).tensors()
    assert all(torch.equal(tensor, state[name]) for name, tensor in same.state_dict().items())
    assert other.config.classes == len(other.classifier.fc.weight) == 5
    kept = [name for name in state if not name.startswith("classifier")]
    assert all(torch.equal(other.state_dict()[name], state[name]) for name in kept)


def test_published_recipes() -> None:
    recipe = paper_xxs()
    optim = recipe.train.optim
    assert recipe.scales.rows(recipe.train.batch_size) == {
        160: 2616,
        192: 1816,
        256: 1024,
        288: 808,
        320: 648,
    }
    assert recipe.train.steps == 300 * 1_281_167 * 5 // (2616 + 1816 + 1024 + 808 + 648)
    assert (optim.lr * optim.initial_lr, optim.lr, optim.lr * optim.final_lr) == pytest.approx(
        (2e-4, 2e-3, 2e-4)
    )
    assert recipe.train.ema == 1 - 5e-4
    assert optim.decay_all
    assert (recipe.size, recipe.resize, recipe.crop, recipe.smoothing) == (256, 288, (0.08, 1.0), 0.1)
    assert paper_s().model.widths == (144, 192, 240)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": 40}, "size = 48, resize = 40"),
        ({"crop": "[0, 1]"}, "crop = [0.0, 1.0] is out of range"),
        ({"erase": 1}, "erase = 1.0 is out of range"),
        ({"scales.lowest": 8}, "lowest = 8"),
    ],
)
def test_recipe_mistakes(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mini(**settings)
    assert message in str(caught.value)


def test_data_mistakes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="more than the 96 records"):
        train(mini(batch_size=64), data=folder, output=tmp_path / "run", progress=False)
    (tmp_path / "one" / "bar").mkdir(parents=True)
    shutil.copy(folder / "bar" / "0.png", tmp_path / "one" / "bar")
    with pytest.raises(DataError, match="only the class 'bar'"):
        train(mini(), data=tmp_path / "one", output=tmp_path / "run2", progress=False)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["run", "mobilevit", *map(str, arguments)])


def test_run_labels_files_and_folders(trained: Path, folder: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "disc.png").write_bytes(encode_png(picture("disc", 77)))
    cv2.imwrite(str(files / "gray.png"), cv2.cvtColor(picture("bar", 78), cv2.COLOR_RGB2GRAY))
    ring = picture("ring", 79)
    cv2.imwrite(
        str(files / "see-through.png"), np.dstack([ring[..., ::-1], np.full((72, 72), 255, np.uint8)])
    )
    (files / "broken.png").write_bytes(b"\x89PNG")
    (files / "small.png").write_bytes(encode_png(picture("ring", 80)[:3, :5]))
    sheet = tmp_path / "sheet.png"
    done = run(files, "--checkpoint", trained, "--top", 2, "--output", sheet, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    found = {Path(entry["picture"]).stem: entry["labels"] for entry in answer["pictures"]}
    assert set(found) == {"disc", "gray", "see-through", "small"}
    classifier = vs.load("mobilevit", trained)
    gray = np.repeat(cv2.cvtColor(picture("bar", 78), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    for name, same in (("disc", picture("disc", 77)), ("gray", gray), ("see-through", ring)):
        assert found[name] == classifier.classify(same, top=2), name
    assert len(answer["left_out"]) == 1
    assert sheet.is_file()
    larger = run(files / "disc.png", "--checkpoint", trained, "--size", 96, "--output", sheet, "--json")
    assert larger.exit_code == 0, larger.output
    assert json.loads(larger.stdout)["pictures"][0]["labels"] == classifier.at(96).classify(
        picture("disc", 77)
    )


def test_run_writes_the_network(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    done = run("--checkpoint", trained, "--onnx", path)
    assert done.exit_code == 0, done.output
    assert "1 x 3 x 48 x 48, BGR" in done.stdout
    network = cv2.dnn.readNetFromONNX(str(path))
    image = picture("disc", 55, 48)
    network.setInput(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255)
    logits = vs.load("mobilevit", trained).logits(torch.from_numpy(image)[None])
    np.testing.assert_allclose(network.forward(), logits.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no pictures were given"),
        (["absent.png"], "no such picture or folder"),
        (["{empty}"], "holds no pictures"),
        (["{broken}"], "broken.png"),
        (["{good}", "--size", "31"], "size = 31 px is smaller"),
        (["{good}", "--output", "sheet.jpg"], "is not a .png"),
        (["{good}", "--onnx", "network.pt"], "is not an .onnx file"),
        (["{good}", "--checkpoint", "{empty}"], "config.json cannot be read"),
    ],
)
def test_run_mistakes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {name: tmp_path / name for name in ("empty", "broken.png", "good.png")}
    places["empty"].mkdir()
    places["broken.png"].write_bytes(b"\x89PNG")
    places["good.png"].write_bytes(encode_png(picture("disc", 1)))
    named = {"empty": "empty", "broken": "broken.png", "good": "good.png"}
    given = [
        argument.format(**{key: places[value] for key, value in named.items()}) for argument in arguments
    ]
    if "--checkpoint" not in given:
        given += ["--checkpoint", str(trained)]
    done = run(*given)
    assert isinstance(done.exception, VisionsmithError | SystemExit), done.exception
    assert message in (str(done.exception) + done.output)
    assert not list(tmp_path.glob("mobilevit*.png")), "nothing is written"


def test_another_papers_data_is_told(trained: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encode_png(picture("disc", 3)))
    with pytest.raises(DataError, match="none of the model's 3 classes"):
        evaluate(checkpoint=trained, data=tmp_path, progress=False)
