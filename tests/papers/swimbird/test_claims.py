"""The claims, in miniature: every training runs, differs in what its claim is about, and is not run twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from visionsmith.config import override
from visionsmith.papers.swimbird import claims as module
from visionsmith.papers.swimbird import recipes
from visionsmith.papers.swimbird.recipes import tiny
from visionsmith.papers.swimbird.train import make_reasoner
from visionsmith.train.run_folder import RunFolder

SMALL = {
    "model": {
        "vision": {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2},
        "text": {
            "hidden_size": 24, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 12, "mrope_section": [2, 2, 2],
        },
    },
    "train": {"batch_size": 2},
}  # fmt: skip


def test_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = override(tiny(), SMALL)
    short = tuple(dataclasses.replace(stage, steps=1) for stage in small.train.stages)
    small = dataclasses.replace(
        small, name_steps=50, sight_steps=50, train=dataclasses.replace(small.train, stages=short)
    )
    monkeypatch.setattr(recipes, "tiny", lambda: small)
    monkeypatch.setattr("visionsmith.papers.swimbird.evaluate.MOST", 8)
    for name, value in (("SEEDS", (0,)), ("THINK", 1), ("ASKED", 1)):
        monkeypatch.setattr(module, name, value)
    found = module.claims(output=tmp_path, progress=False)
    assert len(found) == 6
    assert not any(claim.holds for claim in found if "thoughts carry" in claim.statement), (
        "it has learned nothing"
    )
    names = sorted(folder.name for folder in tmp_path.iterdir())
    assert names == sorted(
        [
            "seeing",
            *(
                f"{name}-seed0"
                for name in ("plain", "words", "budget-2", "budget-36", "fixed", "lambda-0", "lambda-1")
            ),
        ]
    )
    steps = {name: (tmp_path / name / "log.jsonl").stat().st_mtime_ns for name in names}
    assert [dataclasses.asdict(claim) for claim in module.claims(output=tmp_path, progress=False)] == [
        dataclasses.asdict(claim) for claim in found
    ]
    assert steps == {name: (tmp_path / name / "log.jsonl").stat().st_mtime_ns for name in names}
    settings = {name: RunFolder(tmp_path / name).path.joinpath("config.yaml").read_text() for name in names}
    assert "looks: false" in settings["words-seed0"]
    assert "fixed_latent: true" in settings["fixed-seed0"]
    assert "max_latent_token: 36" in settings["budget-36-seed0"]
    assert "latent_lambda: 0.0" in settings["lambda-0-seed0"]
    # What is set in a recipe reaches the model that starts from a checkpoint.
    changed = {"fixed_latent": True, "max_latent_token": 2, "latent_lambda": 0.5}
    config = make_reasoner(
        module._recipe(str(tmp_path / "seeing" / "model"), 0, looks=True, **changed)
    ).model.config
    assert {name: getattr(config, name) for name in changed} == changed
