"""Arms differ in what they are compared by and in nothing else, and the verdicts follow the figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from visionsmith.config import encode
from visionsmith.papers.supcon import claims as module
from visionsmith.papers.trials import Trials

BETTER = {"supcon": 0.7, "ce": 0.6, "simclr": 0.5, "supcon_in": 0.4}


@pytest.fixture
def arms(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The recipes that the claims ask for, by the name of their run; nothing is trained."""
    asked: dict[str, object] = {}

    def fit(self: Trials, name: str, recipe: object, make_task: object) -> Mapping[str, float]:
        assert asked.setdefault(name, recipe) == recipe, f"two recipes are called {name}"
        value = BETTER[recipe.objective] - 0.1 * recipe.label_noise - 0.01 * recipe.train.seed
        value -= 0.1 * abs(recipe.temperature - 0.1) if recipe.objective == "supcon" else 0
        return {"linear.top1": value, "top1": value - 0.02}

    monkeypatch.setattr(Trials, "fit", fit)
    data = SimpleNamespace(test=range(500), train=range(2000), classes=range(10))
    monkeypatch.setattr(module, "_data", lambda recipe: data)
    return asked


def plain(recipe: object) -> dict[str, object]:
    values = encode(recipe)
    for key in ("objective", "temperature", "label_noise"):
        del values[key]
    del values["train"]["seed"]
    return values


def test_arms_differ_in_one_thing_each(arms: dict, tmp_path: Path) -> None:
    module.claims(output=tmp_path, progress=False)
    # Four losses, three more temperatures once, two shares of wrong labels for two losses.
    assert len(arms) == 4 * 3 + 3 + 2 * 2 * 3
    assert len({str(plain(recipe)) for recipe in arms.values()}) == 1
    noisy = {(r.objective, r.label_noise, r.train.seed) for r in arms.values() if r.label_noise}
    assert noisy == {(o, n, s) for o in ("supcon", "ce") for n in (0.2, 0.4) for s in (0, 1, 2)}
    assert {r.temperature for r in arms.values() if r.objective == "supcon" and r.train.seed} == {0.1}


def test_verdicts_follow_the_figures(arms: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = module.claims(output=tmp_path, progress=False)
    assert len(found) == 6
    assert all(claim.holds for claim in found)
    assert found[0].measured.startswith("SupCon 69.0% (68.0% to 70.0%); cross-entropy 59.0%")
    assert "lost to the wrong labels: SupCon 4.0 points, cross-entropy 4.0 points" in found[5].measured
    assert dict(found[3].values)["temperature_0.5"] == pytest.approx(0.66)
    monkeypatch.setitem(BETTER, "ce", 0.695)
    assert [claim.holds for claim in module.claims(output=tmp_path, progress=False)] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    monkeypatch.setitem(BETTER, "supcon", 0.3)
    assert not any(claim.holds for place, claim in enumerate(module.claims(output=tmp_path)) if place != 3)
