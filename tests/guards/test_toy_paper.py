"""A paper is one folder: a toy is added without an edit elsewhere, and every verb drives it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import visionsmith

TOML = """
title = "A toy"
row = "Z1"
task = "learns y = 3x"
verbs = ["train", "evaluate", "run", "claims", "official"]
presets = ["tiny"]
"""
FILES = {
    "__init__.py": '"""A toy."""\n',
    "recipes.py": """
from visionsmith.config import config
from visionsmith.train.recipe import OptimConfig, TrainConfig

@config
class ToyRecipe:
    width: int = 1
    train: TrainConfig = TrainConfig(steps=300, batch_size=8, threads=1, optim=OptimConfig(lr=0.1, weight_decay=0.0))

def tiny() -> ToyRecipe:
    return ToyRecipe()
""",
    "model.py": """
import torch
from torch import nn

class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)
    def forward(self, batch):
        return {"loss": (self.linear(batch["x"]) - batch["y"]).square().mean()}
""",
    "train.py": """
def train(recipe, *, data=None, output, resume=False, progress=True):
    import torch
    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.toy.model import Toy
    from visionsmith.train.loop import fit
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Export, Task

    class Lines(torch.utils.data.Dataset):
        def __getitem__(self, key):
            return float(key[1]) / 32
    run = RunFolder(output)
    run.start(paper="toy", data=data, recipe=recipe, resume=resume)
    task = Task(
        paper="toy", objective=Toy(), dataset=Lines(), plan=ShuffledBatches(range(32), recipe.train.batch_size, 0),
        collate=lambda xs: {"x": torch.tensor(xs)[:, None], "y": 3 * torch.tensor(xs)[:, None]},
        export=lambda state: Export(config={}, tensors=state, files={}),
    )
    return fit(task, recipe.train, run, progress=progress)
""",
    "official.py": """
def from_official(state, config):
    from visionsmith.papers.toy.model import Toy
    model = Toy()
    model.load_state_dict(dict(state))
    model.config = {}
    return model
""",
    "run.py": """
from pathlib import Path
from typing import Annotated
import typer

def load(source=None):
    from visionsmith import checkpoint
    from visionsmith.papers.toy.official import from_official
    return from_official(checkpoint.read(Path(source), paper="toy").tensors(), None)

def command(x: float, checkpoint: Annotated[Path, typer.Option()]) -> None:
    import torch
    typer.echo(f"{float(load(checkpoint).linear(torch.tensor([[x]]))):.2f}")
""",
    "evaluate.py": """
def evaluate(*, checkpoint=None, data=None, progress=True):
    from visionsmith.papers.toy.run import load
    return {"slope": float(load(checkpoint).linear.weight)}
""",
    "claims.py": """
from visionsmith.papers.claim import Claim

def claims(*, output=None, progress=True):
    return [Claim(statement="Lines are straight.", source="eq. 1", paper="3", measured="3", holds=True, command="-")]
""",
}


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one more folder."""
    root = tmp_path_factory.mktemp("toolkit")
    source = Path(visionsmith.__file__).parent
    shutil.copytree(source, root / "visionsmith", ignore=shutil.ignore_patterns("__pycache__"))
    folder = root / "visionsmith" / "papers" / "toy"
    folder.mkdir()
    (folder / "paper.toml").write_text(TOML)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return root


def run(toolkit: Path, *arguments: str) -> str:
    code = "from visionsmith.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(toolkit), "VISIONSMITH_DEBUG": "1"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_verb_drives_a_paper_that_is_one_folder(toolkit: Path, tmp_path: Path) -> None:
    listed = {paper["name"]: paper for paper in json.loads(run(toolkit, "list", "--json"))}
    assert all(listed["toy"]["works"].values())

    run(toolkit, "train", "toy", "--output", str(tmp_path / "run"), "--quiet")
    model = tmp_path / "run" / "model"
    slope = json.loads(run(toolkit, "evaluate", "toy", "--checkpoint", str(model), "--json"))["slope"]
    assert abs(slope - 3) < 0.1
    assert run(toolkit, "run", "toy", "2", "--checkpoint", str(model)).strip() in (
        "5.98",
        "5.99",
        "6.00",
        "6.01",
        "6.02",
    )
    assert "toy" in run(toolkit, "run", "--help")
    assert json.loads(run(toolkit, "claims", "toy", "--json"))[0]["holds"] is True
    run(toolkit, "convert", "official", "toy", str(model / "model.safetensors"), str(tmp_path / "converted"))
    again = json.loads(run(toolkit, "evaluate", "toy", "--checkpoint", str(tmp_path / "converted"), "--json"))
    assert again["slope"] == slope
