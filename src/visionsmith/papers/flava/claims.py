"""The paper's ablation at the scale of a laptop: which losses help on pictures, on texts and on pairs.

Four arms of one small FLAVA differ only in their batches and losses, and take as many steps at the same rate. Each is
measured the same way, by a linear classifier on what the frozen model gives (`tasks`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.papers.claim import Claim, apart, mean, spread

if TYPE_CHECKING:
    from visionsmith.papers.flava.flava import Flava
    from visionsmith.papers.flava.recipes import FlavaRecipe
    from visionsmith.papers.trials import Trials
    from visionsmith.train.task import Task

__all__ = ["claims"]

COMMAND = "visionsmith claims flava"
SEEDS = (0, 1, 2)
STEPS, BATCH, WARM_UP = 800, 128, 40
"""Chosen so that the twelve trainings together stay below 40 minutes on one core."""
SIDE, WIDTH, LAYERS = 32, 96, 2
"""Of the pictures (pixels), and of every encoder."""
ARMS: dict[str, dict[str, Any]] = {
    "unimodal": {"cycle": ["image", "text"]},
    "contrastive": {"cycle": ["pair"], "weights": {"mmm_image": 0, "mmm_text": 0, "itm": 0}},
    "multimodal": {"cycle": ["pair"], "weights": {"contrastive": 0}},
    "full": {"cycle": ["pair", "image", "pair", "text"]},
}
TASKS = ("image", "text", "pair")


def claims(*, output: Path | None = None, progress: bool = True) -> Sequence[Claim]:
    """Check the claims.

    Args:
        output: where the trainings stay; one that is there already is used again. None: a temporary folder.
        progress: whether to show bars.
    """
    from visionsmith.papers.trials import Trials

    with tempfile.TemporaryDirectory(prefix="visionsmith-claims-") as scratch:
        arms = _Arms(Trials(output or Path(scratch), "flava", progress=progress))
        return [_pairs(arms), _pictures(arms), _texts(arms), _all_three(arms)]


class _Arms:
    """The trainings, one an arm and seed."""

    def __init__(self, trials: Trials) -> None:
        from visionsmith.papers.flava.run import load
        from visionsmith.papers.flava.world import open_world

        self.trials = trials
        self.codebook = load(None).require_codebook()
        self.world = open_world(None, size=SIDE, progress=trials.progress)
        self.found: dict[str, Mapping[str, float]] = {}

    def measured(self, arm: str, seed: int) -> Mapping[str, float]:
        """The measures of an arm by name."""
        name = f"{arm}-seed{seed}"
        if name not in self.found:
            recipe = _recipe(arm, seed)
            self.found[name] = self.trials.fit(name, recipe, lambda: self._task(recipe))
        return self.found[name]

    def over_seeds(self, arm: str, measure: str) -> list[float]:
        """One measure of an arm, a value a seed; "mean" is that of the three tasks."""
        if measure == "mean":
            return [
                mean(values) for values in zip(*(self.over_seeds(arm, task) for task in TASKS), strict=True)
            ]
        return [float(self.measured(arm, seed)[measure]) for seed in SEEDS]

    def all_arms(self, measure: str) -> str:
        """One measure of every arm, in words."""
        return "; ".join(f"{arm} {spread(self.over_seeds(arm, measure))}" for arm in ARMS)

    def values(self, measure: str) -> tuple[tuple[str, float], ...]:
        """One measure of every arm, means over the seeds."""
        return tuple((f"{arm}_{measure}", mean(self.over_seeds(arm, measure))) for arm in ARMS)

    def _task(self, recipe: FlavaRecipe) -> Task:
        from visionsmith.papers.flava.train import flava_task

        return flava_task(
            recipe, self.world, self.codebook, measure=self._measure, progress=self.trials.progress
        )

    def _measure(self, flava: Flava) -> dict[str, float]:
        from visionsmith.papers.flava.tasks import image_task, pair_task, text_task

        pairs = pair_task(flava, self.world)
        return {
            "image": image_task(flava)["top1"],
            "text": text_task(flava, self.world)["top1"],
            "pair": pairs["top1"],
            "pair_text_only": pairs["text_only"],
        }


def _recipe(arm: str, seed: int) -> FlavaRecipe:
    """The tiny recipe, smaller and shorter."""
    from visionsmith.config import override
    from visionsmith.papers.flava.recipes import tiny

    encoder = {"width": WIDTH, "layers": LAYERS, "heads": 4, "hidden": 4 * WIDTH}
    settings = {
        "model": {
            "image": {**encoder, "image_size": SIDE},
            "text": encoder,
            "multimodal": encoder,
            "embed_dim": WIDTH,
        },
        "train": {
            "steps": STEPS,
            "batch_size": BATCH,
            "seed": seed,
            "ema": None,
            "evaluate_every": 0,
            "save_every": STEPS // 4,
            "optim": {"warmup_steps": WARM_UP},
        },
        **ARMS[arm],
    }
    return override(tiny(), settings)


def _scale() -> str:
    return (
        f"{STEPS} steps of {BATCH} for every arm, {SIDE} px, encoders of {LAYERS} layers of {WIDTH}, "
        f"{len(SEEDS)} seeds; linear classifiers on the frozen model, where the paper fine-tunes on texts and pairs"
    )


def _pairs(arms: _Arms) -> Claim:
    full, contrastive = arms.over_seeds("full", "pair"), arms.over_seeds("contrastive", "pair")
    text_only = arms.over_seeds("full", "pair_text_only")
    return Claim(
        statement="Masked multimodal modelling and matching, beside the contrastive loss, help on pairs.",
        source="section 5, ablations",
        paper="FLAVA above its contrastive part on the average of the multimodal tasks",
        measured=arms.all_arms("pair"),
        holds=apart(full, contrastive),
        command=COMMAND,
        note="does a caption fit a held-out picture, or is it of the same subject and wrong: chance 50%, from the text "
        f"alone {spread(text_only)}. {_scale()}",
        values=(*arms.values("pair"), ("full_pair_text_only", mean(text_only))),
    )


def _pictures(arms: _Arms) -> Claim:
    full, unimodal = arms.over_seeds("full", "image"), arms.over_seeds("unimodal", "image")
    return Claim(
        statement="Training with pairs makes the features of pictures better than masked pictures alone do.",
        source="section 5, ablations",
        paper="FLAVA above masked image modelling alone on the average of the vision tasks",
        measured=arms.all_arms("image"),
        holds=apart(full, unimodal),
        command=COMMAND,
        note=f"subject of built-in scenes, 40 classes: chance 2.5%. {_scale()}",
        values=arms.values("image"),
    )


def _texts(arms: _Arms) -> Claim:
    full, contrastive = arms.over_seeds("full", "text"), arms.over_seeds("contrastive", "text")
    return Claim(
        statement="Masked texts make the features of texts better than the contrastive loss alone does.",
        source="section 5, ablations",
        paper="FLAVA above its contrastive part on the average of the language tasks",
        measured=arms.all_arms("text"),
        holds=apart(full, contrastive),
        command=COMMAND,
        note=f"are the words of a caption in order or shuffled: chance 50%. {_scale()}",
        values=arms.values("text"),
    )


def _all_three(arms: _Arms) -> Claim:
    full = arms.over_seeds("full", "mean")
    return Claim(
        statement="One model with all losses is the best over pictures, texts and pairs together.",
        source="abstract and section 5",
        paper="FLAVA the highest average over its 35 tasks",
        measured=arms.all_arms("mean"),
        holds=all(apart(full, arms.over_seeds(arm, "mean")) for arm in ARMS if arm != "full"),
        command=COMMAND,
        note=f"mean of the three tasks, whose chances are 2.5%, 50% and 50%. {_scale()}",
        values=arms.values("mean"),
    )
