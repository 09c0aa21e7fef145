"""Measuring: edits that were kept from training, beside what they should be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["evaluate"]

COUNT = 20
"""Edits of each kind."""
STEPS = 16
GUIDANCE = 1.5
FEW = 3
"""Of each kind, for the early filter, which costs several times as much."""
CANDIDATES, EARLY = 4, 4
"""Of the early filter, and the steps after which it looks."""


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Edit and compare.

    Args:
        checkpoint: of the project; None for the one that ships.
        data: edits of a user's, see `sources.open_edits`; None for the built-in ones.
        progress: whether to show bars.

    Returns:
        "edited", "source" (nothing is changed: a baseline), "filler" (the same model without its adapter) and "ceiling"
        (the true pictures after a trip through the autoencoder): figures of all edits and of each kind, see
        `measure.EditJudge.scores`. "early": figures of a few edits without the filter, with it and CLIP as the judge,
        and with a judge that knows the truth. "experts": share of tokens by kind of edit. "settings": of the sampler.
    """
    import torch

    from visionsmith.papers.icedit.editor import EarlyFilter
    from visionsmith.papers.icedit.judges import ClipJudge, NearestJudge
    from visionsmith.papers.icedit.measure import EditJudge, made, of_each_kind, usage_by_kind
    from visionsmith.papers.icedit.model import to_latents, to_pictures
    from visionsmith.papers.icedit.run import load
    from visionsmith.papers.icedit.sources import open_edits

    editor = load(checkpoint)
    world = open_edits(data, size=editor.parts.size, progress=progress)
    judge, pairs = EditJudge(world), of_each_kind(world, COUNT)
    settings: dict[str, Any] = {"steps": STEPS, "guidance": GUIDANCE}
    truth = world.pictures[[pair.target for pair in pairs]]
    edits = made(editor, world, pairs, progress=progress, **settings)
    found: dict[str, Any] = {
        "edits": len(pairs),
        "edited": judge.by_kind(edits, pairs),
        "source": judge.by_kind(world.pictures[[pair.source for pair in pairs]], pairs),
        "ceiling": judge.by_kind(
            to_pictures(editor.parts.vae, to_latents(editor.parts.vae, torch.from_numpy(truth))), pairs
        ),
    }
    few = of_each_kind(world, FEW)
    early = {"candidates": CANDIDATES, "steps": EARLY}
    filters = {
        "clip": [EarlyFilter(ClipJudge(world.captions[pair.target]), **early) for pair in few],
        "truth": [EarlyFilter(NearestJudge(world.pictures[pair.target]), **early) for pair in few],
    }
    found["early"] = {
        "edits": len(few),
        "evaluations": {"none": STEPS, "filter": filters["clip"][0].evaluations(STEPS)},
        "none": judge.scores(made(editor, world, few, progress=progress, **settings), few),
        **{
            name: judge.scores(made(editor, world, few, early=each, progress=progress, **settings), few)
            for name, each in filters.items()
        },
    }
    found["experts"] = usage_by_kind(editor, world, few, **settings)
    if editor.attached is not None:
        editor.attached.scale = 0.0
        found["filler"] = judge.by_kind(made(editor, world, pairs, progress=progress, **settings), pairs)
        editor.attached.scale = 1.0
    found["settings"] = {**settings, "candidates": CANDIDATES, "early_steps": EARLY}
    return found
