"""How near pictures painted for held-out picture prompts are to the prompts and to their captions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["evaluate"]

COUNT = 128
"""Prompts."""
STEPS = 20
GUIDANCE = 3.0
SCALES = (0.0, 0.5, 1.0)


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Paint for pictures that were kept from training, and judge.

    Args:
        checkpoint: of the project, or a published safetensors file; None for the one that ships.
        data: captioned pictures; None for the built-in ones.
        progress: whether to show a bar.

    Returns:
        "picture" and "picture and text": by scale, the figures of `measure.scores`; scale 0 is the base alone.
        "another picture": of another prompt in place of a painted one, a baseline that paints nothing. "the picture
        itself": the most that can be reached. "prompts" and "settings".
    """
    import numpy as np

    from visionsmith.papers.ip_adapter.measure import prompt_features, scores
    from visionsmith.papers.ip_adapter.run import load
    from visionsmith.papers.latent_diffusion import Judge, evenly, open_world

    prompter = load(checkpoint)
    size = prompter.painter.size
    world = open_world(data, size=size, progress=progress)
    judge, asked = Judge(world, size), evenly(world.held_out, COUNT)
    features, real = prompt_features(prompter, judge, asked), judge.real(asked)
    captions = [world.store[index].caption for index in asked]
    scales = SCALES if prompter.adapter.config.form == "decoupled" else (0.0, 1.0)
    found: dict[str, Any] = {"prompts": len(asked)}
    for kind, texts in (("picture", None), ("picture and text", captions)):
        found[kind] = {
            str(scale): scores(
                judge,
                prompter.paint_each(
                    features, texts=texts, scale=scale, steps=STEPS, guidance=GUIDANCE, progress=progress
                ),
                asked,
            )
            for scale in scales
        }
    # Rolled by a random number, so that every prompt gets another one's picture.
    turn = int(np.random.default_rng(0).integers(1, max(2, len(asked))))
    found["another picture"] = scores(judge, np.roll(real, turn, axis=0), asked)
    found["the picture itself"] = scores(judge, real, asked)
    found["settings"] = {"steps": STEPS, "guidance": GUIDANCE}
    return found
