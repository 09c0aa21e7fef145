"""What the literature says of the inductive biases of five architectures, measured at the scale of a laptop.

No paper proposes this comparison; each statement names the one that makes it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from visionsmith.papers.claim import Claim, apart, mean, spread
from visionsmith.papers.inductive_bias.config import PATCH, UNPLACED

if TYPE_CHECKING:
    from visionsmith.papers.inductive_bias.experiment import Results, Seeds

__all__ = ["COMMAND", "claims", "global_share", "judge"]

COMMAND = "visionsmith claims inductive_bias"
STRIDE = PATCH
"""Pixels between two places of the CNN's last layer: three stages halve the sides, so it is the side of a patch."""
NO_FIGURE = "an argument, no figure"


def claims(*, output: Path | None = None, progress: bool = True) -> Sequence[Claim]:
    """Run the experiment and check the statements.

    Args:
        output: where the trainings (`runs/`), the plots (`plots/`) and the page (`report.html`) go; a training that is
            there already is used again. None: a temporary folder, and no page.
        progress: whether to show a bar, and to say where the page is.
    """
    from visionsmith.papers.inductive_bias.experiment import Experiment, built_in
    from visionsmith.papers.inductive_bias.page import write_page

    with tempfile.TemporaryDirectory(prefix="visionsmith-claims-") as scratch:
        folder = output or Path(scratch)
        experiment = Experiment(folder / "runs", *built_in(progress=progress), progress=progress)
        results = experiment.run()
        found = judge(results)
        if output is not None:
            page = write_page(output, experiment, results, found)
            if progress:
                sys.stderr.write(f"page: {page}\n")
    return found


def judge(results: Results) -> list[Claim]:
    """Every statement beside what was measured."""
    return [
        *_data(results),
        *_translation(results),
        *_permutation(results),
        *_order(results),
        *_cues(results),
    ]


def _claim(
    statement: str,
    source: str,
    paper: str,
    measured: str,
    *,
    holds: bool,
    note: str,
    values: dict[str, Seeds],
) -> Claim:
    """A claim; every seed of every value is kept."""
    raw = tuple(
        (name if len(seeds) == 1 else f"{name}[{place}]", value)
        for name, seeds in values.items()
        for place, value in enumerate(seeds)
    )
    return Claim(
        statement=statement,
        source=source,
        paper=paper,
        measured=measured,
        holds=holds,
        command=COMMAND,
        note=note,
        values=raw,
    )


def _listed(parts: dict[str, Seeds], decide: Sequence[str] = ()) -> str:
    """Mean and range of each; where some networks decide, these first, and the others by their means."""
    if not decide:
        return "; ".join(f"{name} {spread(seeds)}" for name, seeds in parts.items())
    first = "; ".join(f"{name} {spread(parts[name])}" for name in decide)
    others = ", ".join(f"{name} {mean(seeds):.1%}" for name, seeds in parts.items() if name not in decide)
    return f"{first} ({others})"


def _data(results: Results) -> list[Claim]:
    cnn, transformer = results.shares["CNN"], results.shares["Transformer"]
    every = {
        f"{name} at {share:.0%}": seeds
        for name in results.shares
        for share, seeds in results.shares[name].items()
    }
    gaps = {
        share: [left - right for left, right in zip(cnn[share], transformer[share], strict=True)]
        for share in cnn
    }
    middle = sorted(gaps)[(len(gaps) - 1) // 2]
    shown = "; ".join(
        f"{share:.0%} of the data: {mean(cnn[share]):.1%} against {mean(transformer[share]):.1%}"
        for share in cnn
    )
    about = f"top-1 of {results.classes} classes, {results.tested:,} test pictures; 100 % are {results.pictures:,}"
    return [
        _claim(
            "A convolutional network needs less data than a transformer.",
            "Dosovitskiy et al. 2021 (arXiv:2010.11929), sec. 4.3, fig. 4",
            "ResNets lead on 9M pictures, ViT on 90M and more",
            f"CNN against Transformer: {shown}",
            holds=apart(cnn[middle], transformer[middle])
            and not any(apart(transformer[share], cnn[share]) for share in cnn if share < middle),
            note=f"{about}; holds if the CNN leads at {middle:.0%} and is behind at no smaller share, "
            "by more than the seeds explain",
            values=every,
        ),
        _claim(
            "With more data the lead of the convolutional network shrinks.",
            "Dosovitskiy et al. 2021, sec. 1 and 4.3",
            "the lead is lost between 9M and 90M pictures",
            f"lead at {middle:.0%} of the data {_points(gaps[middle])}, at 100 % {_points(gaps[1.0])}",
            holds=apart(gaps[middle], gaps[1.0]),
            note=f"{about}; the paper's least data are thousands of times more than all of these",
            values={f"lead at {share:.0%}": seeds for share, seeds in gaps.items()},
        ),
    ]


def _points(gaps: Seeds) -> str:
    return f"{100 * mean(gaps):.1f} points ({100 * min(gaps):.1f} to {100 * max(gaps):.1f})"


def _agreement(results: Results, name: str, distances: Iterable[int]) -> Seeds:
    """Mean agreement over some shifts, a seed each."""
    by_shift = [results.probes[name][f"shift_{distance}.agree"] for distance in distances]
    return [mean(seeds) for seeds in zip(*by_shift, strict=True)]


def _translation(results: Results) -> list[Claim]:
    short = {name: _agreement(results, name, range(1, STRIDE)) for name in results.probes}
    full = {name: _agreement(results, name, [STRIDE]) for name in results.probes}
    about = "answers that stay when the test picture is moved on a torus, to the right or down; trained without shifts"
    values = {f"{name}, 1 to 7 px": seeds for name, seeds in short.items()}
    values |= {f"{name}, 8 px": seeds for name, seeds in full.items()}
    return [
        _claim(
            "Convolution brings invariance to translation; full connection does not.",
            "Battaglia et al. 2018 (arXiv:1806.01261), table 1",
            NO_FIGURE,
            f"same answer after 1 to 7 px: {_listed(short, ('CNN', 'FCN'))}",
            holds=apart(short["CNN"], short["FCN"]),
            note=about,
            values=values,
        ),
        _claim(
            "Because it subsamples, a convolutional network is invariant to shifts by its stride only.",
            "Azulay and Weiss 2019 (arXiv:1805.12177); Zhang 2019 (arXiv:1904.11486)",
            "ImageNet, two random shifts: ResNet-50 gives the same answer to 89.2 % (Zhang's public code)",
            f"CNN: {_listed({'after 1 to 7 px': short['CNN'], 'after 8 px': full['CNN']})}",
            holds=min(full["CNN"]) == 1 and max(short["CNN"]) < 1,
            note=f"{about}; the padding is circular, so that 8 px is exact",
            values={"CNN, 1 to 7 px": short["CNN"], "CNN, 8 px": full["CNN"]},
        ),
    ]


def _permutation(results: Results) -> list[Claim]:
    probes, fixed = results.probes, results.permuted
    plain = {name: probes[name]["top1"] for name in probes}
    renamed = probes["GNN"]["renamed.agree"]
    return [
        _claim(
            "The order of the inputs, as long as it is fixed, is nothing to a fully connected network, and much to a "
            "convolutional one.",
            "LeCun et al. 1998 (Proc. IEEE 86), sec. II",
            NO_FIGURE,
            "trained and tested in one other order of the patches: "
            + "; ".join(f"{name} {mean(plain[name]):.1%} becomes {spread(fixed[name])}" for name in fixed),
            holds=not apart(plain["FCN"], fixed["FCN"])
            and not apart(fixed["FCN"], plain["FCN"])
            and apart(plain["CNN"], fixed["CNN"]),
            note="patches of 8 px: what is near within a patch stays near",
            values={f"{name}, own order": plain[name] for name in fixed}
            | {f"{name}, other order": fixed[name] for name in fixed},
        ),
        _claim(
            "A graph network does not care how nodes are numbered, as long as the edges move along.",
            "Battaglia et al. 2018, table 1",
            "exact, by construction",
            f"same answer: {_listed({'edges moved along': renamed, 'edges left': probes['GNN']['permuted.agree']})}",
            holds=min(renamed) == 1,
            note="a fixed grid of edges is how this network knows what is near",
            values={"edges moved along": renamed, "edges left": probes["GNN"]["permuted.agree"]},
        ),
        _claim(
            "Positions help a transformer.",
            "Dosovitskiy et al. 2021, app. D.4, table 8",
            "ImageNet 5-shot, ViT-B/16: 64.2 % with, 61.4 % without",
            _listed({"with": plain["Transformer"], "without": plain[UNPLACED]}),
            holds=apart(plain["Transformer"], plain[UNPLACED]),
            note="top-1; without positions the answer is the same for every order of the patches "
            f"(measured: {spread(probes[UNPLACED]['permuted.agree'])})",
            values={"with": plain["Transformer"], "without": plain[UNPLACED]},
        ),
    ]


def _order(results: Results) -> list[Claim]:
    """Networks that were trained on pictures as they are, and are asked about patches in another order."""
    probes = results.probes
    kept = {name: _kept(results, name, "permuted") for name in probes}
    backwards = {name: _kept(results, name, "reversed") for name in probes}
    return [
        _claim(
            "Shuffled patches cost a transformer less than a convolutional network.",
            "Naseer et al. 2021 (arXiv:2105.10497)",
            "given as curves over the number of patches",
            f"share of its accuracy that is left: {_listed(kept, ('Transformer', 'CNN'))}",
            holds=apart(kept["Transformer"], kept["CNN"]),
            note="16 patches in a random order for each test picture; (accuracy - chance) / (accuracy before - chance)",
            values={
                f"{name}, {what}": seeds
                for name in probes
                for what, seeds in (("top-1", probes[name]["permuted.top1"]), ("left", kept[name]))
            },
        ),
        _claim(
            "A recurrent network takes its input for a sequence: read backwards it is another one.",
            "Battaglia et al. 2018, table 1",
            NO_FIGURE,
            f"share of its accuracy that is left when the last patch comes first: {_listed(backwards, ('RNN',))}",
            holds=apart(probes["RNN"]["top1"], probes["RNN"]["reversed.top1"]),
            note="to the GNN the reversed order is a symmetry of its grid, and must change nothing",
            values={
                f"{name}, {what}": seeds
                for name in probes
                for what, seeds in (("top-1", probes[name]["reversed.top1"]), ("left", backwards[name]))
            },
        ),
    ]


def _kept(results: Results, name: str, change: str) -> Seeds:
    """Share of the accuracy above chance that a change leaves, a seed each; 0 where there was none to lose."""
    chance, probes = 1 / results.classes, results.probes[name]
    pairs = zip(probes[f"{change}.top1"], probes["top1"], strict=True)
    return [(after - chance) / (before - chance) if before > chance else 0.0 for after, before in pairs]


def global_share(results: Results, name: str) -> Seeds:
    """Of the answers to contradictory pictures that name either class, those that name the arrangement's."""
    probes = results.probes[name]
    pairs = zip(probes["conflict.global"], probes["conflict.local"], strict=True)
    return [whole / max(whole + part, 1e-9) for whole, part in pairs]


def _cues(results: Results) -> list[Claim]:
    shares = {name: global_share(results, name) for name in results.probes}
    local = [1 - share for share in shares["CNN"]]
    values = {
        f"{name}, {what.removeprefix('conflict.')}": results.probes[name][what]
        for name in results.probes
        for what in ("conflict.global", "conflict.local")
    }
    note = (
        "test pictures with the arrangement of one class (Gaussian of 2 px) and the details of another, patches in "
        "random order; of the answers that name either, those that name the arrangement's"
    )
    return [
        _claim(
            "Convolutional networks decide by local texture rather than by global shape.",
            "Geirhos et al. 2019 (arXiv:1811.12231), fig. 4",
            "ResNet-50: 22 % of the decisions by shape",
            f"CNN: {spread(shares['CNN'])} by arrangement",
            holds=apart(local, shares["CNN"]),
            note=note,
            values=values,
        ),
        _claim(
            "A transformer is less biased to local texture than a convolutional network.",
            "Naseer et al. 2021, abstract",
            "given as a curve",
            f"by arrangement: {_listed(shares, ('Transformer', 'CNN'))}",
            holds=apart(shares["Transformer"], shares["CNN"]),
            note=note,
            values=values,
        ),
    ]
