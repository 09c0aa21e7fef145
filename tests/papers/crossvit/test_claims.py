"""The claims' arithmetic: what is fitted, what is compared, and when a statement holds."""

from __future__ import annotations

from typing import Any

import pytest

from visionsmith.image.io import decode
from visionsmith.papers.crossvit import claims
from visionsmith.papers.crossvit.config import FUSIONS


class GivenTrials:
    """Trials that were run already: the top-1 by name."""

    def __init__(self, top1: dict[str, float]) -> None:
        self.top1, self.recipes = top1, {}

    def fit(self, name: str, recipe: Any, make_task: Any) -> dict[str, float]:
        self.recipes[name] = recipe
        return {"top1": self.top1[name]}


def given(**means: float) -> GivenTrials:
    spread = (-0.01, 0.0, 0.01)
    return GivenTrials(
        {
            f"{fusion}-seed{seed}": means.get(fusion, 0.2) + spread[seed]
            for fusion in FUSIONS
            for seed in claims.SEEDS
        }
    )


@pytest.mark.parametrize(
    ("means", "holds"),
    [
        ({"cross_attention": 0.25}, True),
        ({"cross_attention": 0.205}, False),  # within what the seeds explain
        ({"cross_attention": 0.25, "pairwise": 0.26}, False),
        ({"none": 0.3}, False),
    ],
)
def test_the_highest_accuracy_is_claimed_only_where_it_is_clear(means: dict[str, float], holds: bool) -> None:
    trials = given(**means)
    claim = claims._accuracy(trials)  # type: ignore[arg-type]
    assert claim.holds == holds
    assert len(claim.values) == len(trials.recipes) == 15


def test_the_trials_differ_in_fusion_and_seed_alone() -> None:
    trials = given()
    claims._accuracy(trials)  # type: ignore[arg-type]
    from visionsmith.config import override

    kinds = {(recipe.model.fusion, recipe.train.seed) for recipe in trials.recipes.values()}
    assert kinds == {(fusion, seed) for fusion in FUSIONS for seed in claims.SEEDS}
    alike = {
        override(recipe, {"model": {"fusion": "none"}, "train": {"seed": 0}})
        for recipe in trials.recipes.values()
    }
    assert len(alike) == 1


def test_the_exponent_of_a_power_is_found() -> None:
    sizes = [100, 200, 500, 1000]
    assert claims.growth_exponent(sizes, [3e-6 * size**1.7 for size in sizes]) == pytest.approx(1.7)
    assert claims.growth_exponent(sizes, [0.25] * 4) == pytest.approx(0)


@pytest.mark.parametrize(("power", "holds"), [(1.0, True), (2.0, False)])
def test_growth_is_judged_by_the_exponents(power: float, holds: bool) -> None:
    curve = {
        "cross_attention": [1e-6 * n**power for n in claims.PATCHES],
        "all_attention": [1e-6 * n**2 for n in claims.PATCHES],
    }
    assert claims._growth(curve).holds == holds
    assert decode(claims.cost_plot(curve)).shape == (540, 936, 3)


def test_both_fusions_are_timed_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PATCHES", (4, 256))
    monkeypatch.setattr(claims, "BUDGET", 0.05)
    found = claims.fusion_seconds()
    assert list(found) == ["cross_attention", "all_attention"]
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found.values())
