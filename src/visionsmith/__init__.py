"""visionsmith: executable paper reviews.

Published vision-language and image-generation systems in one environment: train, evaluate, run on your
own input, check the paper's claim, load the official weights.

    import visionsmith as vs

    clip = vs.load("clip")
    clip.classify("photo.jpg", ["a cat", "a dog"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visionsmith._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from visionsmith.papers.paper import Paper

__all__ = ["__version__", "load", "papers"]


def papers() -> list[Paper]:
    """Every system of the project, those not built yet included; reads the papers' data files only."""
    from visionsmith.papers.paper import all_papers

    return all_papers()


def load(name: str, source: str | Path | None = None, **options: Any) -> Any:
    """Load a system, ready to use.

    Args:
        name: the paper's folder name, e.g. "clip".
        source: a checkpoint folder, a transformers / diffusers folder, or a hub id (looked up in the local
            cache; pass `download=True` to allow the network). Without it: the checkpoint that ships with
            the project.
        options: what the paper's own loader takes.

    Returns:
        The paper's user-facing object, e.g. `papers.clip.run.Clip`.
    """
    from visionsmith.papers.paper import get_paper

    return get_paper(name).module("run").load(source, **options)
