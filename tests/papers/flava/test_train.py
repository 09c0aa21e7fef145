"""The tiny recipe, smaller still: it learns, it resumes to the bit, and it takes a user's folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import visionsmith as vs
from tests.papers.flava.conftest import mini
from visionsmith import checkpoint
from visionsmith.config import encode, override
from visionsmith.errors import CheckpointError, ConfigError, DataError, OutputError
from visionsmith.image.io import read_image
from visionsmith.papers.flava.recipes import FlavaRecipe, paper, tiny
from visionsmith.papers.flava.train import train

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 240 steps, the codebook before it included."""
    run = tmp_path_factory.mktemp("flava-run") / "run"
    recipe = mini(**{"train.steps": 160, "train.save_every": 160, "train_codebook.steps": 60})
    train(recipe, data=folder, output=run, progress=False)
    return run


def test_learns_all_of_it(trained: Path) -> None:
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    lines = [line for line in log if "lr" in line]
    # A line holds the means over the steps that had the loss; with batches of several kinds, not every line has all.
    values = {name: [line[name] for line in lines if name in line] for name in set().union(*lines)}
    for name in ("mim", "mlm", "mmm_image", "mmm_text", "contrastive"):
        assert values[name][-1] < values[name][0], name
    assert values["mlm_accuracy"][-1] > 0.5
    assert values["mmm_text_accuracy"][-1] > 0.6
    assert {"codebook", "codes-image.safetensors", "codes-pair.safetensors", "report.html"} <= set(
        os.listdir(trained)
    )
    card = json.loads((trained / "model" / "card.json").read_text())
    assert card["data"]["pairs"] == 31
    assert read_image(trained / "samples.png").shape[1] > 100


def test_loads_and_answers(trained: Path, folder: Path) -> None:
    flava = vs.load("flava", trained / "model")
    assert flava.require_codebook().decoder is not None
    right = 0
    for name in ("red-square-0", "green-disc-1", "blue-square-2", "black-disc-3"):
        colour, shape, _ = name.split("-")
        ranked = flava.rank(
            folder / f"{name}.png", [f"a {c} {shape}" for c in ("red", "green", "blue", "black")]
        )
        assert sum(share for _, share, _ in ranked) == pytest.approx(1, abs=1e-5)
        assert all(0 <= match <= 1 for _, _, match in ranked)
        right += ranked[0][0] == f"a {colour} {shape}"
        filled = flava.fill(f"a [MASK] {shape}", folder / f"{name}.png")
        assert len(filled) == 1
        right += filled[0][0][0] == colour
    assert right >= 6, "of eight, chance would be two"
    alone = flava.fill("a [MASK] square")[0]
    assert {word for word, _ in alone[:4]} == {"red", "green", "blue", "black"}


def test_killed_and_resumed_equals_uninterrupted(folder: Path, tmp_path: Path) -> None:
    whole = train(mini(), data=folder, output=tmp_path / "whole", progress=False)
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "whole", again)
    # As if it had been killed after step 16 of FLAVA, and the codes were lost.
    shutil.rmtree(again / "model")
    shutil.rmtree(again / "checkpoints" / "step-00000024")
    (again / "codes-pair.safetensors").unlink()
    train(mini(), data=folder, output=again, resume=True, progress=False)
    left, right = (checkpoint.read(path / "model").tensors() for path in (tmp_path / "whole", again))
    assert whole == tmp_path / "whole" / "model"
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_starts_from_its_own_checkpoint(trained: Path, folder: Path, tmp_path: Path) -> None:
    recipe = mini(
        initial=str(trained / "model"),
        codebook=str(trained / "model"),
        **{"train.steps": 4, "train.optim.lr": 1e-9},
    )
    made = train(recipe, data=folder, output=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "codebook").exists()
    before, after = checkpoint.read(trained / "model").tensors(), checkpoint.read(made).tensors()
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


def test_arms_of_the_ablation_train(trained: Path, folder: Path, tmp_path: Path) -> None:
    """Parameters that no loss reaches are saved and restored with the others."""
    settings = {"train.steps": 8, "train.save_every": 4, "codebook": str(trained / "model")}
    for name, changes in {
        "unimodal": {"cycle": "[image, text]"},
        "contrastive": {"cycle": "[pair]", "weights": "{mmm_image: 0, mmm_text: 0, itm: 0}"},
    }.items():
        recipe = mini(**settings, **changes)
        run = tmp_path / name
        train(recipe, data=folder, output=run, progress=False)
        shutil.rmtree(run / "model")
        shutil.rmtree(run / "checkpoints" / "step-00000008")
        made = train(recipe, data=folder, output=run, resume=True, progress=False)
        assert checkpoint.verify(made) is None


def test_recipes_name_what_comes() -> None:
    assert paper().model == FlavaRecipe(**{"train": paper().train, "cycle": ("pair",), "codebook": "x"}).model
    assert encode(override(FlavaRecipe(**vars(tiny())), ["cycle=null", "sampling={pair: 1}"]))[
        "sampling"
    ] == {"pair": 1}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cycle=null", "either cycle or sampling says which batches come"),
        ("cycle=[pair, sound]", "input should be 'image', 'text' or 'pair'"),
        ("cycle=[]", "the cycle has no turns"),
        ("sampling={image: 0}", "give one, and set the other to null"),
        ("train_codebook=null", "there is no codebook"),
        ("weights.itm=-1", "weights.itm = -1.0 is negative"),
        ("mask.patches=0", "mask.patches = 0.0 is out of range"),
        ("train.batch_size=64", "batch_size = 64 is larger than the data set of 31 records"),
        ("model.text.width=64", "model: image.width, text.width and multimodal.width are 32, 64, 32"),
        ("codebook=nowhere", "is neither a file nor a folder"),
    ],
)
def test_mistakes_in_settings(setting: str, message: str, folder: Path, tmp_path: Path) -> None:
    def begin() -> None:
        recipe = override(mini(**{"train_codebook.steps": 1}), [setting])
        train(recipe, data=folder, output=tmp_path / "run", progress=False)

    with pytest.raises((ConfigError, CheckpointError)) as caught:
        begin()
    assert message in str(caught.value)
    if setting == "codebook=nowhere":
        assert not (tmp_path / "run").exists()


def test_mistakes_in_data(folder: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(folder / "red-square-0.png", tmp_path / "one")
    shutil.copy(folder / "red-square-0.txt", tmp_path / "one")
    with pytest.raises(DataError, match="has 1 pictures with captions; give at least two pairs"):
        train(mini(), data=tmp_path / "one", output=tmp_path / "run", progress=False)
    with pytest.raises(OutputError, match="holds a run already"):
        train(mini(), data=folder, output=trained, progress=False)


@pytest.mark.slow
def test_two_processes_equal_one(trained: Path, folder: Path, tmp_path: Path) -> None:
    settings = {"train.steps": 8, "codebook": str(trained / "model")}
    one = train(mini(**settings), data=folder, output=tmp_path / "one", progress=False)
    code = (
        "import json, sys; from pathlib import Path; from tests.papers.flava.conftest import mini; "
        "from visionsmith.papers.flava.train import train; "
        "train(mini(**json.loads(sys.argv[1])), data=Path(sys.argv[2]), output=Path(sys.argv[3]), progress=False)"
    )
    script = tmp_path / "launch.py"
    script.write_text(f"{code}\n")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *(str(script), json.dumps(settings), str(folder), str(tmp_path / "two")),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left, right = checkpoint.read(one).tensors(), checkpoint.read(tmp_path / "two" / "model").tensors()
    assert max(float((left[name].float() - right[name].float()).abs().max()) for name in left) < 2e-3
