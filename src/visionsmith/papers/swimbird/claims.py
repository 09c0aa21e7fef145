"""What the paper says of SwimBird, measured at the scale of a laptop: three seeds each.

One model learns to see and to speak; from it short trainings go apart that teach it to think, each in another way.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.papers.claim import Claim, apart, mean, spread
from visionsmith.papers.trials import Trials

if TYPE_CHECKING:
    from visionsmith.papers.swimbird.reasoner import Reasoner
    from visionsmith.papers.swimbird.recipes import SwimBirdRecipe
    from visionsmith.train.task import Task

__all__ = ["claims"]

COMMAND = "visionsmith claims swimbird"
SEEDS = (0, 1, 2)
THINK = 100
"""Steps of each training that teaches to think."""
ASKED = 30
"""Test questions of each kind."""
BUDGETS = (2, 36)
"""Most tokens of a look, beside the recipe's own 9."""
LAMBDAS = (0.0, 1.0)
"""Weights of the latent loss, beside the recipe's own 0.2."""

Figures = list[Mapping[str, float]]


def claims(*, output: Path | None = None, progress: bool = True) -> Sequence[Claim]:
    """Check the claims.

    Args:
        output: where the trainings stay; one that is there already is used again. None: a temporary folder.
        progress: whether to show bars.
    """
    with tempfile.TemporaryDirectory(prefix="visionsmith-claims-") as scratch:
        runs = _Runs(output or Path(scratch), "swimbird", progress=progress)
        runs.seeing = str(runs.made_seeing())
        plain = runs.thinking("plain")
        return [
            _modes(plain),
            _worth(plain),
            _mixture(plain, runs.thinking("words", looks=False)),
            _budget(
                plain, {most: runs.thinking(f"budget-{most}", max_latent_token=most) for most in BUDGETS}
            ),
            _dynamic(plain, runs.thinking("fixed", fixed_latent=True)),
            _weight(
                plain, {value: runs.thinking(f"lambda-{value:g}", latent_lambda=value) for value in LAMBDAS}
            ),
        ]


class _Runs(Trials):
    """Short trainings from one model that sees."""

    seeing: str

    def made_seeing(self) -> Path:
        """The model that sees and speaks, trained once."""
        from visionsmith.papers.swimbird.recipes import tiny

        whole = tiny()
        stages = whole.train.schedule[:-1]
        recipe = dataclasses.replace(
            whole, train=dataclasses.replace(whole.train, stages=stages, evaluate_every=0)
        )
        self.fit("seeing", recipe, partial(_task, recipe))
        return self.folder / "seeing" / "model"

    def thinking(self, name: str, *, looks: bool = True, **model: Any) -> Figures:
        """Figures of three trainings that teach to think."""
        found = []
        for seed in SEEDS:
            recipe = _recipe(self.seeing, seed, looks=looks, **model)
            found.append(self.fit(f"{name}-seed{seed}", recipe, partial(_task, recipe)))
        return found


def _recipe(seeing: str, seed: int, *, looks: bool, **model: Any) -> SwimBirdRecipe:
    """The tiny recipe's last stage, shorter."""
    from visionsmith.papers.swimbird.recipes import tiny

    whole = tiny()
    think = dataclasses.replace(whole.train.schedule[-1], steps=THINK)
    return dataclasses.replace(
        whole,
        initial=seeing,
        name_steps=0,
        sight_steps=0,
        looks=looks,
        model=dataclasses.replace(whole.model, **model),
        train=dataclasses.replace(whole.train, stages=(think,), seed=seed, evaluate_every=0),
    )


def _task(recipe: SwimBirdRecipe) -> Task:
    from visionsmith.papers.swimbird.train import make_task

    return make_task(recipe, measures=lambda bird: figures(bird, side=recipe.side))


def figures(bird: Reasoner, *, side: int) -> dict[str, float]:
    """What the claims are about, of one model."""
    from visionsmith.papers.swimbird.evaluate import ask_exercises, controls, exercises, summary

    asked = exercises(ASKED, side=side)
    answers = ask_exercises(bird, asked)
    pairs = list(zip(asked, answers, strict=True))
    looking = [each for each in asked if each.looks]

    def latent(mode: str) -> float:
        own = [answer for each, answer in pairs if each.mode == mode]
        return mean([float(answer.mode != "text") for answer in own])

    whole, part = summary(asked, answers), controls(bird, looking)
    return {
        "accuracy": float(whole["accuracy"]),
        "mode_as_taught": float(whole["mode_as_taught"]),
        "thoughts": sum(sum(answer.lengths) for answer in answers) / len(looking),
        **{f"latent_{mode}": latent(mode) for mode in ("vision", "interleaved", "text")},
        **{f"looking_{name}": value for name, value in part.items()},
    }


def _of(found: Figures, name: str) -> list[float]:
    return [each[name] for each in found]


def _modes(plain: Figures) -> Claim:
    look, both, words = (_of(plain, f"latent_{mode}") for mode in ("vision", "interleaved", "text"))
    return Claim(
        statement="It chooses by itself how to think: in latent thoughts where it must look, else in words.",
        source="sec. 4.4",
        paper="the share of the modes differs by benchmark (a figure)",
        measured=f"answers with a latent span: {spread(look)} of the questions that are taught with looks alone, "
        f"{spread(both)} of those with words and looks, {spread(words)} of those with words; the taught mode in "
        f"{spread(_of(plain, 'mode_as_taught'))}",
        holds=apart(look, words) and apart(both, words),
        command=COMMAND,
        note=f"{ASKED} new questions of each of ten kinds, {THINK} steps, three seeds; the built-in exercises are "
        "taught with one mode a kind, so this is whether it recognises the kind",
        values=(("vision", mean(look)), ("interleaved", mean(both)), ("text", mean(words))),
    )


def _worth(plain: Figures) -> Claim:
    own, zeros, noise = (_of(plain, f"looking_{name}") for name in ("thoughts", "zeros", "noise"))
    return Claim(
        statement="The thoughts carry what the answer needs: without them it gets worse.",
        source="not in the paper; the control that its readers ask for",
        paper="not reported",
        measured=f"exact answers with its thoughts {spread(own)}; fed zeros in their place {spread(zeros)}; noise of "
        f"their size {spread(noise)}",
        holds=apart(own, zeros) and apart(own, noise),
        command=COMMAND,
        note="the kinds of question that are taught with looks; the spans stay where they are, only their content "
        "is replaced; three seeds",
        values=(("thoughts", mean(own)), ("zeros", mean(zeros)), ("noise", mean(noise))),
    )


def _mixture(plain: Figures, words: Figures) -> Claim:
    both, alone = _of(plain, "accuracy"), _of(words, "accuracy")
    return Claim(
        statement="All modes together serve better than words alone.",
        source="sec. 4.3",
        paper="the mixture of three modes is above each single one",
        measured=f"exact answers with all modes {spread(both)}; words alone {spread(alone)}",
        holds=apart(both, alone),
        command=COMMAND,
        note="the same exercises with their looks left out; what was taught with a look alone is then answered at "
        "once; three seeds",
        values=(("all", mean(both)), ("words", mean(alone))),
    )


def _budget(plain: Figures, others: Mapping[int, Figures]) -> Claim:
    small, large = BUDGETS
    figures = {
        small: _of(others[small], "accuracy"),
        9: _of(plain, "accuracy"),
        large: _of(others[large], "accuracy"),
    }
    return Claim(
        statement="A middle budget of thoughts is best: too few and too many both cost accuracy.",
        source="sec. 4.3",
        paper="at most 32 of 16, 32, 64, 128 tokens a thought picture",
        measured="; ".join(f"at most {most}: {spread(values)}" for most, values in figures.items()),
        holds=apart(figures[9], figures[small]) and apart(figures[9], figures[large]),
        command=COMMAND,
        note="exact answers; a thing that is cut out fills one token and two together at most nine, so that 36 is the "
        "same training as 9; three seeds",
        values=tuple((str(most), mean(values)) for most, values in figures.items()),
    )


def _dynamic(plain: Figures, fixed: Figures) -> Claim:
    free, one = _of(plain, "accuracy"), _of(fixed, "accuracy")
    return Claim(
        statement="Spans whose length follows the picture serve better than spans of one length.",
        source="sec. 4.3",
        paper="the dynamic budget is above the fixed one",
        measured=f"exact answers: dynamic {spread(free)}, {mean(_of(plain, 'thoughts')):.1f} thoughts a question; "
        f"fixed {spread(one)}, {mean(_of(fixed, 'thoughts')):.1f} thoughts",
        holds=apart(free, one),
        command=COMMAND,
        note="fixed: every look is made a square of nine tokens; three seeds",
        values=(("dynamic", mean(free)), ("fixed", mean(one))),
    )


def _weight(plain: Figures, others: Mapping[float, Figures]) -> Claim:
    none, much = LAMBDAS
    figures = {
        none: _of(others[none], "accuracy"),
        0.2: _of(plain, "accuracy"),
        much: _of(others[much], "accuracy"),
    }
    return Claim(
        statement="The latent loss helps at a weight of 0.2, more than at others.",
        source="sec. 4.3",
        paper="0.2 is the best of the weights that were tried",
        measured="; ".join(f"{value:g}: {spread(shares)}" for value, shares in figures.items()),
        holds=apart(figures[0.2], figures[none]) and apart(figures[0.2], figures[much]),
        command=COMMAND,
        note="exact answers; at 0 nothing draws the thoughts to what the tower sees; three seeds",
        values=tuple((f"{value:g}", mean(shares)) for value, shares in figures.items()),
    )
