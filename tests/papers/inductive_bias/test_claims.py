"""The whole experiment in miniature, and the judgement of results that are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from visionsmith.cli.app import app
from visionsmith.data.labelled import Labelled
from visionsmith.papers.claim import Claim
from visionsmith.papers.inductive_bias import experiment
from visionsmith.papers.inductive_bias.claims import global_share, judge
from visionsmith.papers.inductive_bias.config import ARCHITECTURES, UNPLACED, ExperimentConfig
from visionsmith.papers.inductive_bias.experiment import CHOICE, COMPARED, Experiment, Results

TINY = ExperimentConfig(steps=2, batch_size=4, seeds=(0,), shares=(0.1, 1.0), rates=(1e-3,))
TRAININGS = 5 * (1 + 2 + 1) + 1


def test_miniature_runs_once_and_is_read_again(
    tmp_path: Path, folder_of_colours: Callable[..., Labelled], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [folder_of_colours(tmp_path / name) for name in ("compared", "choice")]
    made = []

    class Counted(Experiment):
        def _task(self, recipe: object) -> object:
            made.append(recipe)
            return super()._task(recipe)

    monkeypatch.setattr(experiment, "built_in", lambda **_: data)
    monkeypatch.setattr(experiment, "Experiment", partial(Counted, settings=TINY))
    output = tmp_path / "out"
    first = claims_of(output)
    assert len(made) == TRAININGS == len(list((output / "runs").iterdir()))
    assert sum(recipe.classes == "choice" for recipe in made) == 5
    assert sum(recipe.permuted for recipe in made) == 5
    page = (output / "report.html").read_text()
    assert all(name in page for name in (*ARCHITECTURES, UNPLACED))
    assert sorted(path.stem for path in (output / "plots").iterdir()) == [
        "cues", "data", "permuted", "pictures", "shift_agree", "shift_top1"
    ]  # fmt: skip
    assert claims_of(output) == first
    assert len(made) == TRAININGS
    raw = {name: value for claim in first for name, value in claim["values"].items()}
    assert all(0 <= value <= 1 for name, value in raw.items() if name.startswith("CNN at"))
    # What holds by construction holds after two updates.
    exact = {claim["statement"]: claim["holds"] for claim in first}
    assert exact["A graph network does not care how nodes are numbered, as long as the edges move along."]
    assert raw["CNN, 8 px"] == 1


def claims_of(output: Path) -> list[dict]:
    done = CliRunner().invoke(
        app,
        ["claims", "inductive_bias", "--output", str(output), "--json", "--quiet"],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    found: list[dict] = json.loads(done.stdout)
    return found


def test_the_classes_of_the_choice_are_not_those_of_the_report() -> None:
    assert len(COMPARED) == len(CHOICE) == 10
    assert not set(COMPARED) & set(CHOICE)


def planted(*, literature: bool) -> Results:
    """Results in which everything is as the literature has it, or nothing is."""
    names = (*ARCHITECTURES, UNPLACED)
    lead = {0.01: 0.1, 0.1: 0.3, 1.0: 0.05} if literature else {0.01: 0.0, 0.1: 0.0, 1.0: 0.2}
    probes = {
        name: {
            "top1": seeds(0.6),
            **{f"shift_{d}.agree": seeds(0.5) for d in range(1, 9)},
            "permuted.top1": seeds(0.2),
            "permuted.agree": seeds(0.3),
            "reversed.top1": seeds(0.2),
            "conflict.global": seeds(0.3),
            "conflict.local": seeds(0.3),
        }
        for name in names
    }
    probes["GNN"]["renamed.agree"] = [1.0] * 3 if literature else seeds(0.9)
    if literature:
        probes["CNN"] |= {f"shift_{d}.agree": seeds(0.9) for d in range(1, 8)} | {"shift_8.agree": [1.0] * 3}
        probes["CNN"] |= {"conflict.global": seeds(0.1), "conflict.local": seeds(0.5)}
        probes["Transformer"] |= {"permuted.top1": seeds(0.4)}
        probes[UNPLACED] |= {"top1": seeds(0.5)}
    else:
        probes["RNN"]["reversed.top1"] = seeds(0.6)
    return Results(
        classes=10,
        pictures=2000,
        tested=500,
        shares={
            "CNN": {share: seeds(0.5 + gap) for share, gap in lead.items()},
            "Transformer": {share: seeds(0.5) for share in lead},
        },
        probes=probes,
        permuted={name: seeds(0.6 if name == "FCN" or not literature else 0.4) for name in ARCHITECTURES},
    )


def seeds(value: float) -> list[float]:
    return [value - 0.01, value, value + 0.01]


@pytest.mark.parametrize("literature", [True, False])
def test_claims_follow_the_figures(literature: bool) -> None:
    found = judge(planted(literature=literature))
    assert len(found) == 11
    assert {claim.statement: claim.holds for claim in found} == {
        claim.statement: literature for claim in found
    }
    for claim in found:
        assert json.loads(json.dumps(claim.plain()))["values"]
        assert len({name for name, _ in claim.values}) == len(claim.values)


def test_figures_are_those_of_the_seeds() -> None:
    found = {claim.statement.split()[0]: claim for claim in judge(planted(literature=True))}
    shuffled: Claim = found["Shuffled"]
    values = dict(shuffled.values)
    assert values["Transformer, left[1]"] == pytest.approx((0.4 - 0.1) / (0.6 - 0.1))
    assert values["CNN, top-1[2]"] == pytest.approx(0.21)
    assert global_share(planted(literature=True), "CNN")[1] == pytest.approx(0.1 / 0.6)
    assert "25.0 %" not in shuffled.measured
    assert "CNN 20.0%" in shuffled.measured
