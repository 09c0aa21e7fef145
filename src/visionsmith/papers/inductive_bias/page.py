"""One page with everything that the experiment measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionsmith.durable import write_whole
from visionsmith.image.io import encode_png
from visionsmith.papers.claim import Claim, mean
from visionsmith.papers.inductive_bias.claims import COMMAND, global_share
from visionsmith.papers.inductive_bias.config import PATCH, PATCHES, UNPLACED
from visionsmith.papers.inductive_bias.experiment import Experiment, Results, Seeds
from visionsmith.papers.inductive_bias.pictures import (
    FIXED_ORDER,
    blur,
    conflict,
    details,
    partners,
    permute_patches,
    shift,
)
from visionsmith.papers.inductive_bias.probes import SHIFTS
from visionsmith.report.page import Page
from visionsmith.report.plots import bars, curves
from visionsmith.report.sheet import contact_sheet

__all__ = ["write_page"]


def write_page(folder: Path, experiment: Experiment, results: Results, claims: Sequence[Claim]) -> Path:
    """Write `report.html`, and its plots as PNG files into `plots/`.

    Args:
        folder: where.
        experiment: whose pictures are shown.
        results: what was measured.
        claims: what it means.

    Returns:
        The page.

    Raises:
        OutputError: the folder cannot be written.
    """
    page = Page(
        "Inductive bias of five architectures",
        f"FCN, CNN, RNN, GNN and Transformer with the same number of parameters on the same task: `{COMMAND}`",
    )
    page.table(
        ("statement", "source", "measured here", ""),
        [(c.statement, c.source, c.measured, "holds" if c.holds else "does not hold") for c in claims],
        "What the literature says, and what was found",
    )
    plots = _Plots(folder / "plots", page)
    _task(page, plots, experiment, results)
    _data(page, plots, results)
    _translation(page, plots, results)
    _permutation(page, plots, results)
    _cues(page, plots, results)
    _settings(page, experiment, results)
    page.write(folder / "report.html")
    return folder / "report.html"


_UNIT = "In percent of the test pictures: mean and half the range over the seeds"
_CHANGES = (
    "shifted by 5 px",
    "patches permuted",
    "patches reversed",
    "the fixed other order",
    "blurred",
    "only details",
)


class _Plots:
    """Puts a plot onto the page and into a file of its own."""

    def __init__(self, folder: Path, page: Page) -> None:
        self.folder, self.page = folder, page

    def add(self, name: str, png: bytes, caption: str, alt: str) -> None:
        write_whole(self.folder / f"{name}.png", png)
        self.page.figure(png, caption, alt)


def _task(page: Page, plots: _Plots, experiment: Experiment, results: Results) -> None:
    data = experiment.data["compared"]
    page.section(
        "One task",
        f"{results.classes} classes ({', '.join(data.classes)}), {results.pictures:,} training and "
        f"{results.tested:,} test pictures of {data.name}, 32 px. All networks see the same pictures in the same "
        "order, mirrored and recoloured at random but never shifted, for the same number of updates. What differs is "
        "the network.",
    )
    pictures = experiment.pictures("compared")
    step = max(1, len(data.test) // 3)
    places = list(range(0, len(data.test), step))[:3]
    shown = np.stack([pictures[data.test[place]] for place in places])
    labels = data.labels[[data.test[place] for place in places]]
    rng = np.random.default_rng(1)
    other = partners(labels, rng) if len(set(labels.tolist())) > 1 else np.arange(len(shown))
    changed = (
        shown,
        shift(shown, x=5),
        np.stack([permute_patches(image, rng.permutation(PATCHES)) for image in shown]),
        permute_patches(shown, range(PATCHES)[::-1]),
        permute_patches(shown, FIXED_ORDER),
        blur(shown),
        details(shown),
        conflict(shown, shown[other], rng),
    )
    rows = []
    for row, label in enumerate(labels):
        captions = (data.classes[label], *_CHANGES, f"details of {data.classes[labels[other[row]]]}")
        rows += [(variant[row], caption) for variant, caption in zip(changed, captions, strict=True)]
    sheet = contact_sheet(
        [picture for picture, _ in rows], [name for _, name in rows], columns=len(changed), cell=96
    )
    plots.add(
        "pictures",
        encode_png(sheet),
        "Three test pictures, and what they are changed into.",
        f"three pictures as they are, {', '.join(_CHANGES)}, and with the details of another",
    )


def _data(page: Page, plots: _Plots, results: Results) -> None:
    page.section(
        "How little data each needs",
        "The same number of updates on a share of the training pictures of each class. A share holds the smaller ones.",
    )
    each = results.pictures / results.classes
    plots.add(
        "data",
        curves(
            {
                name: (
                    [share * each for share in by_share],
                    [100 * mean(seeds) for seeds in by_share.values()],
                )
                for name, by_share in results.shares.items()
            },
            x="training pictures a class",
            y="right answers about test pictures, %",
            log_x=True,
            baseline=("chance", 100 / results.classes),
        ),
        "Accuracy by the share of the training data, mean over the seeds.",
        "curves of accuracy over the number of training pictures a class, one a network",
    )
    shares = list(next(iter(results.shares.values())))
    page.table(
        ("network", *(f"{share:.0%}" for share in shares)),
        [(name, *(_short(by_share[share]) for share in shares)) for name, by_share in results.shares.items()],
        f"Accuracy by share of the training data. {_UNIT}",
    )


def _translation(page: Page, plots: _Plots, results: Results) -> None:
    page.section(
        "Shifted pictures",
        "The test picture is moved on a torus, to the right or down; what leaves at one side comes in at the other. "
        f"After {PATCH} px the grids of the CNN's last layer and of the GNN's patches match again, and both answer as "
        "before.",
    )
    for measure, title, caption in (
        ("agree", "same answer as without shift, %", "Answers that stay when the picture is shifted."),
        ("top1", "right answers, %", "Accuracy on shifted pictures."),
    ):
        before = {
            name: 1.0 if measure == "agree" else mean(found["top1"]) for name, found in results.probes.items()
        }
        plots.add(
            f"shift_{measure}",
            curves(
                {
                    name: (
                        [0, *SHIFTS],
                        [100 * before[name], *(100 * mean(found[f"shift_{d}.{measure}"]) for d in SHIFTS)],
                    )
                    for name, found in results.probes.items()
                },
                x="shift, pixels",
                y=title,
                baseline=("chance", 100 / results.classes) if measure == "top1" else None,
            ),
            caption,
            f"curves over the shift in pixels, one a network: {title}",
        )


def _permutation(page: Page, plots: _Plots, results: Results) -> None:
    page.section(
        "Permuted patches",
        f"The picture's {PATCHES} patches of {PATCH} px change places: at random for each test picture, or the last "
        "one first, after training on pictures as they are; or all pictures of training and test in one fixed other "
        "order. The GNN keeps its grid of edges, unless the edges move along with the patches.",
    )

    def cell(name: str, measure: str) -> str:
        return _short(results.probes[name][measure]) if measure in results.probes[name] else ""

    page.table(
        (
            "network",
            "as it is",
            "permuted",
            "reversed",
            "edges moved",
            "other order",
        ),
        [
            (
                name,
                *(cell(name, key) for key in ("top1", "permuted.top1", "reversed.top1", "renamed.top1")),
                _short(results.permuted[name]) if name in results.permuted else "",
            )
            for name in results.probes
        ],
        f"Accuracy; in the last column trained and tested in one other order. {_UNIT}",
    )
    plots.add(
        "permuted",
        bars(
            {name: mean(found["permuted.top1"]) for name, found in results.probes.items()},
            y="right answers about test pictures with permuted patches, %",
            baseline=("chance", 1 / results.classes),
            errors={name: _reach(found["permuted.top1"]) for name, found in results.probes.items()},
            percent=True,
        ),
        "Accuracy when the patches of each test picture change places, mean and half the range over the seeds.",
        "bars of accuracy on permuted pictures, one a network",
    )


def _cues(page: Page, plots: _Plots, results: Results) -> None:
    page.section(
        "Local and global cues",
        "A contradictory picture has the arrangement of one class (a test picture without its details) and the details "
        "of another (what the blur takes away, its patches in random order). The bars say which of the two the answers "
        "follow. In blurred pictures only the arrangement is left, in permuted ones only the patches.",
    )
    plots.add(
        "cues",
        bars(
            {name: mean(global_share(results, name)) for name in results.probes},
            y="answers by arrangement, of those by arrangement or details, %",
            baseline=("both alike", 0.5),
            errors={name: _reach(global_share(results, name)) for name in results.probes},
            percent=True,
        ),
        "What answers to contradictory pictures follow, mean and half the range over the seeds.",
        "bars of the share of answers by global arrangement, one a network",
    )
    columns = {
        "top1": "as it is",
        "blurred.top1": "blurred",
        "details.top1": "only details",
        "permuted.top1": "only patches",
        "conflict.global": "to arrangement",
        "conflict.local": "to details",
    }
    page.table(
        ("network", *columns.values()),
        [(name, *(_short(found[key]) for key in columns)) for name, found in results.probes.items()],
        "Accuracy, and how often the answer to a contradictory picture is the class of its arrangement or its details. "
        f"{_UNIT}",
    )


def _settings(page: Page, experiment: Experiment, results: Results) -> None:
    settings = experiment.settings
    page.section(
        "Settings",
        f"{settings.steps} updates of {settings.batch_size} pictures, AdamW with warm-up and cosine; seeds "
        f"{', '.join(map(str, settings.seeds))}. The learning rate of each network is the best of "
        f"{', '.join(f'{rate:g}' for rate in settings.rates)} for seed {settings.choice_seed} on other classes "
        f"({', '.join(experiment.data['choice'].classes)}), none of which is reported. {UNPLACED}, takes the "
        "Transformer's.",
    )
    page.table(
        ("network", "parameters", "learning rate", *(f"top-1 at {rate:g}" for rate in settings.rates)),
        [
            (
                name,
                results.parameters[name],
                f"{results.rates[name]:g}",
                *(f"{results.choice[name][r]:.1%}" for r in settings.rates),
            )
            for name in results.rates
        ],
        "Size, and how the rate was chosen",
    )


def _short(values: Seeds) -> str:
    """Mean and half the range, short enough for a table: "44.8 ± 1.2"."""
    return f"{100 * mean(values):.1f} ± {100 * _reach(values):.1f}"


def _reach(values: Seeds) -> float:
    return (max(values) - min(values)) / 2
