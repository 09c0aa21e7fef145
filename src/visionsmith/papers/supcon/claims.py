"""What the paper says of SupCon, measured at the scale of a laptop: short trainings of a small encoder on ten classes.

Every arm sees the same pictures in the same views for as many updates at the same rate; only the loss differs. Each is
measured the same way, by a logistic regression on its frozen features, told the same labels as its training.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.papers.claim import Claim, apart, mean, spread

if TYPE_CHECKING:
    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.supcon.recipes import SupConRecipe
    from visionsmith.papers.trials import Trials
    from visionsmith.train.task import Task

__all__ = ["claims"]

COMMAND = "visionsmith claims supcon"
SEEDS = (0, 1, 2)
STEPS, BATCH, RATE = 600, 64, 4e-3
"""Chosen so that the 27 trainings together stay below 40 minutes on one core."""
EVERY = 4
"""Of the built-in subjects every fourth is a class: of all forty a batch holds few positives, and in so few updates the
contrastive losses learn little."""
TEMPERATURES = (0.05, 0.1, 0.2, 0.5)
NOISES = (0.2, 0.4)
SIMCLR_TEMPERATURE = 0.5
"""The public code's."""


def claims(*, output: Path | None = None, progress: bool = True) -> Sequence[Claim]:
    """Check the claims.

    Args:
        output: where the trainings stay; one that is there already is used again. None: a temporary folder.
        progress: whether to show bars.
    """
    from visionsmith.papers.trials import Trials

    with tempfile.TemporaryDirectory(prefix="visionsmith-claims-") as scratch:
        arms = _Arms(Trials(output or Path(scratch), "supcon", progress=progress))
        return [
            _against_cross_entropy(arms),
            _against_simclr(arms),
            _inside_or_outside(arms),
            _temperature(arms),
            *(_wrong_labels(arms, noise) for noise in NOISES),
        ]


class _Arms:
    """The trainings, one a loss, temperature, share of wrong labels and seed."""

    def __init__(self, trials: Trials) -> None:
        from visionsmith.papers.supcon.recipes import tiny

        self.trials, self.base = trials, tiny()
        self.data = _data(self.base)
        self.found: dict[str, Mapping[str, float]] = {}

    def measured(
        self, objective: str, *, temperature: float = 0.1, noise: float = 0.0, seed: int = 0
    ) -> Mapping[str, float]:
        """The last evaluation of an arm."""
        name = f"{objective}-t{temperature:g}-noise{noise:g}-seed{seed}"
        if name not in self.found:
            recipe = _recipe(self.base, objective, temperature=temperature, noise=noise, seed=seed)
            self.found[name] = self.trials.fit(name, recipe, lambda: _task(recipe, self.data))
        return self.found[name]

    def linear(self, objective: str, **settings: float) -> list[float]:
        """Top-1 of a linear classifier on the features, a value a seed."""
        return self.over_seeds(objective, "linear.top1", **settings)

    def over_seeds(self, objective: str, measure: str, **settings: Any) -> list[float]:
        """One measure, a value a seed."""
        return [float(self.measured(objective, seed=seed, **settings)[measure]) for seed in SEEDS]


def _recipe(
    base: SupConRecipe, objective: str, *, temperature: float, noise: float, seed: int
) -> SupConRecipe:
    """The tiny recipe, shorter."""
    from visionsmith.config import override
    from visionsmith.train.precision import settle_precision

    settings = {
        "objective": objective,
        "temperature": temperature,
        "label_noise": noise,
        "train": {
            "steps": STEPS,
            "batch_size": BATCH,
            "seed": seed,
            "evaluate_every": 0,
            "optim": {"lr": RATE},
        },
    }
    recipe = override(base, settings)
    return dataclasses.replace(recipe, train=settle_precision(recipe.train))


def _data(recipe: SupConRecipe) -> Labelled:
    from visionsmith.data.labelled import open_labelled
    from visionsmith.data.scenes import SUBJECTS

    return open_labelled(None, size=recipe.model.image_size, classes=SUBJECTS[::EVERY])


def _task(recipe: SupConRecipe, data: Labelled) -> Task:
    """The first stage alone, without a picture at the end."""
    from visionsmith.papers.supcon.train import encoder_task

    return dataclasses.replace(encoder_task(recipe, data), samples=None)


def _scale(arms: _Arms) -> str:
    data = arms.data
    return (
        f"top-1 on {len(data.test):,} built-in scenes of {len(data.classes)} classes, {len(SEEDS)} seeds; for all arms "
        f"the same encoder, views, rate and {STEPS} updates of {BATCH} pictures in "
        f"{arms.base.augment.views} views ({STEPS * BATCH / len(data.train):.0f} epochs)"
    )


def _against_cross_entropy(arms: _Arms) -> Claim:
    supcon, entropy = arms.linear("supcon"), arms.linear("ce")
    own = arms.over_seeds("ce", "top1")
    return Claim(
        statement="The supervised contrastive loss gives a better classifier than cross-entropy.",
        source="table 2",
        paper="ImageNet ResNet-50 78.7% against 78.2%, CIFAR-10 96.0% against 95.0%, CIFAR-100 76.5% against 75.3%",
        measured=f"SupCon {spread(supcon)}; cross-entropy {spread(entropy)} by its features, {spread(own)} by its own "
        "classifier",
        holds=apart(supcon, entropy) and apart(supcon, own),
        command=COMMAND,
        note=f"{_scale(arms)}. The paper trains SupCon for 1,000 epochs on CIFAR",
        values=(
            ("supcon", mean(supcon)),
            ("cross_entropy_features", mean(entropy)),
            ("cross_entropy", mean(own)),
        ),
    )


def _against_simclr(arms: _Arms) -> Claim:
    supcon, simclr = arms.linear("supcon"), arms.linear("simclr", temperature=SIMCLR_TEMPERATURE)
    return Claim(
        statement="Labels make the contrastive features better than those of the self-supervised loss.",
        source="table 2",
        paper="CIFAR-10 96.0% against 93.6%, CIFAR-100 76.5% against 70.7%",
        measured=f"SupCon {spread(supcon)}; SimCLR {spread(simclr)}",
        holds=apart(supcon, simclr),
        command=COMMAND,
        note=_scale(arms),
        values=(("supcon", mean(supcon)), ("simclr", mean(simclr))),
    )


def _inside_or_outside(arms: _Arms) -> Claim:
    outside, inside = arms.linear("supcon"), arms.linear("supcon_in")
    return Claim(
        statement="The sum over the positives belongs outside the logarithm: L_out beats L_in.",
        source="eq. 2 and 3, table 1",
        paper="ImageNet ResNet-50 78.7% against 67.4%",
        measured=f"L_out {spread(outside)}; L_in {spread(inside)}",
        holds=apart(outside, inside),
        command=COMMAND,
        note=_scale(arms),
        values=(("out", mean(outside)), ("in", mean(inside))),
    )


def _temperature(arms: _Arms) -> Claim:
    found = {
        temperature: arms.linear("supcon")
        if temperature == arms.base.temperature
        else [float(arms.measured("supcon", temperature=temperature)["linear.top1"])]
        for temperature in TEMPERATURES
    }
    means = {temperature: mean(values) for temperature, values in found.items()}
    best = max(means, key=means.__getitem__)
    shown = "; ".join(f"{temperature:g}: {value:.1%}" for temperature, value in means.items())
    return Claim(
        statement="A temperature of about 0.1 is best; much lower or higher ones lose.",
        source="fig. 4",
        paper="ImageNet ResNet-50, a maximum near 0.1",
        measured=f"top-1 by temperature: {shown}",
        holds=best in (0.05, 0.1, 0.2) and means[best] > means[TEMPERATURES[-1]],
        command=COMMAND,
        note=f"one seed each, but for 0.1 ({len(SEEDS)} seeds, {spread(found[arms.base.temperature])}); "
        "differences within that range decide nothing",
        values=tuple((f"temperature_{temperature:g}", value) for temperature, value in means.items()),
    )


def _wrong_labels(arms: _Arms, noise: float) -> Claim:
    supcon, entropy = arms.linear("supcon", noise=noise), arms.linear("ce", noise=noise)
    own = arms.over_seeds("ce", "top1", noise=noise)
    lost = {
        name: mean(arms.linear(objective)) - mean(values)
        for name, objective, values in (("SupCon", "supcon", supcon), ("cross-entropy", "ce", entropy))
    }
    return Claim(
        statement=f"With {noise:.0%} wrong labels the contrastive loss gives the better classifier.",
        source="not in the paper, whose robustness is that to corrupted pictures",
        paper="none",
        measured=f"SupCon {spread(supcon)}; cross-entropy {spread(entropy)} by its features, {spread(own)} by its own "
        f"classifier; lost to the wrong labels: "
        + ", ".join(f"{name} {100 * value:.1f} points" for name, value in lost.items()),
        holds=apart(supcon, entropy) and apart(supcon, own),
        command=COMMAND,
        note=f"{_scale(arms)}. The classifiers on the features are told the wrong labels too",
        values=(
            ("supcon", mean(supcon)),
            ("cross_entropy_features", mean(entropy)),
            ("cross_entropy", mean(own)),
            ("supcon_lost", lost["SupCon"]),
            ("cross_entropy_lost", lost["cross-entropy"]),
        ),
    )
