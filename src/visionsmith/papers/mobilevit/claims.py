"""What the paper says of MobileViT, measured at the scale of a laptop: nine short trainings and two stopwatches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.papers.claim import Claim, apart, mean, spread

if TYPE_CHECKING:
    import torch

    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.mobilevit.recipes import MobileViTRecipe
    from visionsmith.papers.trials import Trials

__all__ = ["claims"]

COMMAND = "visionsmith claims mobilevit"
SEEDS = (0, 1, 2)
EPOCHS = 6
"""Of every training; multi-scale training sees as many pictures in fewer steps."""
UNSEEN = (32, 96, 128)
"""Sides that no training shows, pixels."""
LARGE_PATCHES = (4, 4, 2)
Runs = dict[str, list[Mapping[str, float]]]
"""What `_train` gives, by kind of training and seed."""
Sides = dict[str, list[dict[int, float]]]
"""Top-1 by side in pixels, by kind of training and seed."""
REPEATS = 7


def claims(*, output: Path | None = None, progress: bool = True) -> Sequence[Claim]:
    """Check the claims.

    Args:
        output: where the trainings stay; one that is there already is used again. None: a temporary folder.
        progress: whether to show bars.
    """
    import torch

    from visionsmith.data.labelled import open_labelled
    from visionsmith.papers.mobilevit.evaluate import scene_side
    from visionsmith.papers.trials import Trials

    with tempfile.TemporaryDirectory(prefix="visionsmith-claims-") as scratch:
        trials = Trials(output or Path(scratch), "mobilevit", progress=progress)
        data = open_labelled(None, size=scene_side(recipe(seed=0).size), progress=progress)
        found = [*_multi_scale(trials, data), _patches(trials, data)]
    # Timed with one thread, like the trainings.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*found, *_latency()]
    finally:
        torch.set_num_threads(threads)


def recipe(*, seed: int, scales: bool = False, patches: tuple[int, int, int] = (2, 2, 2)) -> MobileViTRecipe:
    """The tiny recipe, narrower and shorter; no average of the weights, which would blur what is compared."""
    from visionsmith.papers.mobilevit.recipes import tiny

    base = tiny()
    model = replace(
        base.model,
        stem=8,
        channels=(8, 16, 24, 32, 48),
        widths=(32, 48, 64),
        depths=(2, 2, 2),
        patches=patches,
    )
    train = replace(
        base.train, seed=seed, ema=None, evaluate_every=0, optim=replace(base.train.optim, warmup_steps=50)
    )
    return replace(base, model=model, train=train, scales=base.scales if scales else None)


def _train(trials: Trials, name: str, asked: MobileViTRecipe, data: Labelled) -> Mapping[str, float]:
    """Train for `EPOCHS` epochs: "top1" at the recipe's size, "steps" and "per_second" (pictures)."""
    from visionsmith.data.sampler import VaryingPlan
    from visionsmith.papers.mobilevit.train import make_task

    plan = make_task(asked, data).plan
    steps = (
        sum(len(plan.lengths(epoch)) for epoch in range(EPOCHS))
        if isinstance(plan, VaryingPlan)
        else EPOCHS * len(plan)
    )
    asked = replace(asked, train=replace(asked.train, steps=steps))
    measured = trials.fit(name, asked, lambda: make_task(asked, data))
    return {**measured, "steps": steps, "per_second": _speed(trials.log(name), plan)}


def _speed(log: Sequence[Mapping[str, Any]], plan: Any) -> float:
    """Pictures a second over all lines of a log but the first, which warms up."""
    from itertools import islice, pairwise

    from visionsmith.data.sampler import batch_rows

    lines = [line for line in log if "samples_per_second" in line]
    rows = list(islice(batch_rows(plan), lines[-1]["step"]))
    pictures = seconds = 0.0
    for before, line in pairwise(lines):
        window = sum(rows[before["step"] : line["step"]])
        pictures += window
        seconds += window / line["samples_per_second"]
    return pictures / seconds


def _sizes(trials: Trials, name: str, data: Labelled) -> dict[int, float]:
    """Top-1 of a finished run by side, pixels: those of multi-scale training and those that nobody trains at."""
    from visionsmith.papers.mobilevit.evaluate import by_size
    from visionsmith.papers.mobilevit.run import load

    scales = recipe(seed=0, scales=True).scales
    assert scales is not None
    found = by_size(load(trials.folder / name / "model"), data, sorted({*scales.sizes, *UNSEEN}))
    return {int(side): share for side, share in found.items()}


def _multi_scale(trials: Trials, data: Labelled) -> list[Claim]:
    """Three claims from the same six trainings."""
    runs: Runs = {"fixed": [], "multi": []}
    sides: Sides = {"fixed": [], "multi": []}
    for seed in SEEDS:
        for kind in runs:
            name = f"{kind}-seed{seed}"
            runs[kind].append(_train(trials, name, recipe(seed=seed, scales=kind == "multi"), data))
            sides[kind].append(_sizes(trials, name, data))
    task = (
        f"{len(data.test):,} test scenes of {len(data.classes)} classes, {EPOCHS} epochs, {len(SEEDS)} seeds"
    )
    return [_faster(runs), _better(runs, task), _other_sizes(sides)]


def _faster(runs: Runs) -> Claim:
    speed = {kind: [run["per_second"] for run in found] for kind, found in runs.items()}
    steps = {kind: mean([run["steps"] for run in found]) / EPOCHS for kind, found in runs.items()}
    return Claim(
        statement="The multi-scale sampler trains faster: it takes fewer updates an epoch.",
        source="sec. 3.2",
        paper="computed from its batches, ImageNet in 8 x 128 pictures: 927 updates an epoch in place of 1,251",
        measured=f"updates an epoch {steps['multi']:.0f} in place of {steps['fixed']:.0f}; pictures a second "
        f"{mean(speed['multi']):.0f} in place of {mean(speed['fixed']):.0f} on one core",
        holds=steps["multi"] < steps["fixed"] and apart(speed["multi"], speed["fixed"]),
        command=COMMAND,
        note=f"sides {_sides()} px against 64 px; a batch has about as many pixels at every side",
        values=(
            *((f"updates_{kind}", value) for kind, value in steps.items()),
            *((f"per_second_{kind}", mean(value)) for kind, value in speed.items()),
        ),
    )


def _better(runs: Runs, task: str) -> Claim:
    top1 = {kind: [run["top1"] for run in found] for kind, found in runs.items()}
    return Claim(
        statement="It also generalises better at the size of evaluation.",
        source="sec. 3.2",
        paper="78.4 % against 77.6 % on ImageNet (MobileViT-S)",
        measured=f"multi-scale {spread(top1['multi'])}, fixed {spread(top1['fixed'])} at 64 px",
        holds=apart(top1["multi"], top1["fixed"]),
        command=COMMAND,
        note=f"{task}; equal epochs, so multi-scale training has fewer updates",
        values=tuple((f"top1_{kind}", mean(value)) for kind, value in top1.items()),
    )


def _other_sizes(sides: Sides) -> Claim:
    unseen = {kind: [mean([by[side] for side in UNSEEN]) for by in found] for kind, found in sides.items()}
    means = {
        kind: {side: mean([by[side] for by in found]) for side in found[0]} for kind, found in sides.items()
    }
    listed = {
        kind: ", ".join(f"{side}: {share:.1%}" for side, share in by.items()) for kind, by in means.items()
    }
    return Claim(
        statement="Without position embeddings the model works at sizes that it was not trained at, and "
        "multi-scale training helps it there.",
        source="sec. 3.2",
        paper="no figure",
        measured=f"mean top-1 at {', '.join(map(str, UNSEEN))} px: multi-scale {spread(unseen['multi'])}, "
        f"fixed {spread(unseen['fixed'])}",
        holds=apart(unseen["multi"], unseen["fixed"]),
        command=COMMAND,
        note=f"by side in px: multi-scale {listed['multi']}; fixed {listed['fixed']}",
        values=tuple((f"{kind}_{side}", share) for kind, by in means.items() for side, share in by.items()),
    )


def _sides() -> str:
    scales = recipe(seed=0, scales=True).scales
    assert scales is not None
    return ", ".join(map(str, scales.sizes))


def _patches(trials: Trials, data: Labelled) -> Claim:
    small = [_train(trials, f"fixed-seed{seed}", recipe(seed=seed), data)["top1"] for seed in SEEDS]
    large = [
        _train(trials, f"patches-seed{seed}", recipe(seed=seed, patches=LARGE_PATCHES), data)["top1"]
        for seed in SEEDS
    ]
    return Claim(
        statement="Patches no larger than the kernel (h, w <= n = 3) do better: every pixel then reaches every other.",
        source="sec. 3.1, appendix",
        paper="patches 2, 2, 2 beat 8, 4, 2 on ImageNet",
        measured=f"patches 2, 2, 2 {spread(small)}; {', '.join(map(str, LARGE_PATCHES))} {spread(large)}",
        holds=apart(small, large),
        command=COMMAND,
        note=f"top-1 at 64 px after {EPOCHS} epochs, {len(SEEDS)} seeds. Feature maps are 8, 4 and 2 positions "
        "wide, so a sequence has 4, 1 and 1 of them with the large patches, and 16, 4 and 1 with the small ones",
        values=(("patches_2", mean(small)), ("patches_4", mean(large))),
    )


def _latency() -> list[Claim]:
    """Milliseconds of one picture at 256 px on one core, MobileViT-S with folded batch norms."""
    import torch

    from visionsmith.papers.mobilevit.config import published
    from visionsmith.papers.mobilevit.folding import fold_batch_norm
    from visionsmith.papers.mobilevit.mobilenet import equal_mobilenet
    from visionsmith.papers.mobilevit.model import MobileViT

    config = published("S")
    ours = MobileViT(config)
    parameters = sum(parameter.numel() for parameter in ours.parameters())
    rival = equal_mobilenet(parameters, config.classes)
    found = _alternate(
        {
            "mobilevit": fold_batch_norm(ours),
            "mobilenet": fold_batch_norm(rival),
            "transformers": _library_model(),
        },
        torch.rand(1, 3, 256, 256),
    )
    rival_parameters = sum(parameter.numel() for parameter in rival.parameters())
    values = tuple((name, value) for name, value in found.items())
    task = f"MobileViT-S, {parameters:,} parameters, one picture of 256 px, one core, median of {REPEATS}"
    return [
        Claim(
            statement="MobileViT is slower than a MobileNetV2 of similar size.",
            source="table 3",
            paper="slower than MobileNetV2 on a phone, whose kernels are tuned for convolutions",
            measured=f"{found['mobilevit']:.0f} ms, MobileNet {found['mobilenet']:.0f} ms",
            holds=found["mobilevit"] > found["mobilenet"],
            command=COMMAND,
            note=f"{task}; the MobileNet has {rival_parameters:,} parameters",
            values=values,
        ),
        Claim(
            statement="This project's MobileViT answers faster than transformers'.",
            source="this project",
            paper="no statement of the paper",
            measured=f"{found['mobilevit']:.0f} ms, transformers {found['transformers']:.0f} ms",
            holds=found["transformers"] > found["mobilevit"],
            command=COMMAND,
            note=f"{task}; batches and the other sizes: benchmarks/mobilevit.py",
            values=values,
        ),
    ]


def _library_model() -> Callable[[torch.Tensor], Any]:
    from visionsmith.memory.locks import library_load

    with library_load():
        from transformers import MobileViTConfig, MobileViTForImageClassification

        labels = {number: str(number) for number in range(1000)}
        model = MobileViTForImageClassification(MobileViTConfig(id2label=labels))
    model.train(False)
    return lambda images: model(images).logits


def _alternate(models: Mapping[str, Callable[[torch.Tensor], Any]], images: torch.Tensor) -> dict[str, float]:
    """Median milliseconds of each model; they take turns, and the first round warms up."""
    import statistics
    import time

    import torch

    seconds: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for turn in range(REPEATS + 1):
            for name, model in models.items():
                start = time.perf_counter()
                model(images)
                if turn:
                    seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}
