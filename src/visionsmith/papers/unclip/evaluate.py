"""Measuring: the prior's embeddings by a metric card, and what the decoder paints of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.errors import ConfigError

if TYPE_CHECKING:
    from visionsmith.papers.latent_diffusion import World
    from visionsmith.papers.unclip.unclip import Unclip

__all__ = ["evaluate"]

TEXTS = 300
"""Held-out texts of the metric card."""
PAINTED = 150
"""Pictures of each kind."""
STEPS = 20


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a checkpoint on captions that were kept from training.

    Args:
        checkpoint: of the project; None for the one that ships.
        data: captioned pictures; None for the built-in ones.
        progress: whether to show bars.

    Returns:
        "embeddings": the metric card (see `card.metric_card`) of the "text" embedding taken for a picture's, and of the
        prior's with "one sample" and "two samples". "pictures", where there is a decoder: figures (see the `Judge` of
        latent_diffusion) of what it paints of the "true" embedding, of the "prior" embedding, of the "text" embedding,
        and of the first of them with the text beside it, "prior and text".

    Raises:
        ConfigError: it is a published system.
    """
    from visionsmith.papers.latent_diffusion import evenly, open_world
    from visionsmith.papers.unclip.card import metric_card
    from visionsmith.papers.unclip.features import embeddings_of
    from visionsmith.papers.unclip.run import load
    from visionsmith.papers.unclip.unclip import Unclip

    unclip = load(checkpoint)
    if not isinstance(unclip, Unclip):
        raise ConfigError(
            "is a published system, whose embeddings are not those that pictures are measured by here",
            where=checkpoint,
            do="give a checkpoint of the project",
        )
    world = open_world(data, size=unclip.clip.model.config.vision.image_size, progress=progress)
    embeddings = embeddings_of(unclip.clip, world.store, progress=progress)
    asked = evenly(world.held_out, TEXTS)
    texts = [world.store[index].caption for index in asked]
    truth = [world.truth(index) for index in asked]
    made = {
        "text": unclip.clip.encode_texts(texts),
        "one sample": unclip.imagine(texts, samples=1, progress=progress),
        "two samples": unclip.imagine(texts, samples=2, progress=progress),
    }
    found: dict[str, Any] = {
        "embeddings": {
            kind: metric_card(each, embeddings[asked], embeddings, truth) for kind, each in made.items()
        },
        "settings": {"texts": len(asked), "candidates": len(world.store)},
    }
    if unclip.decoder is not None:
        found["pictures"] = _pictures(
            unclip, world, made, dict(zip(asked, range(len(asked)), strict=True)), progress
        )
        found["settings"] |= {"pictures": min(PAINTED, len(asked)), "steps": STEPS}
    return found


def _pictures(
    unclip: Unclip, world: World, made: Mapping[str, Any], place: Mapping[int, int], progress: bool
) -> dict[str, Any]:
    from visionsmith.papers.latent_diffusion import Judge, evenly

    judge = Judge(world, unclip.size)
    asked = evenly(list(place), PAINTED)
    rows = [place[index] for index in asked]
    texts = [world.store[index].caption for index in asked]
    kinds = {
        "true": (unclip.see(judge.real(asked)), None),
        "prior": (made["two samples"][rows], None),
        "text": (made["text"][rows], None),
        "prior and text": (made["two samples"][rows], texts),
    }
    return {
        kind: judge.scores(unclip.paint(each, texts=said, steps=STEPS, progress=progress), asked)
        for kind, (each, said) in kinds.items()
    }
