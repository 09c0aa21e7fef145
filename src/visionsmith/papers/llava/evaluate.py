"""Measuring LLaVA: exact answers by family of questions, beside what can be had without looking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionsmith.errors import ConfigError

__all__ = ["evaluate"]

COUNT = 200
"""Questions of a family."""
TRAINING = 2000
"""Questions of a family whose most frequent answer is the baseline's."""


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a LLaVA on the built-in world.

    Args:
        checkpoint: its folder; None for the one that ships.
        data: there is no other data: answers of a user's model are measured by `science_qa` and `judge`.
        progress: whether to show a bar.

    Returns:
        Plain values: "exact" by family for "seen" pairs of kind and colour, for "new" ones that training has never
        shown, "blind" (the same model without the picture) and "majority" (the most frequent answer); "tower", what a
        linear map reads from its patches; "model". Shares from 0 to 1.
    """
    import torch

    from visionsmith.data.progress import DelayedBar
    from visionsmith.data.world import FAMILIES, PAIR_FAMILIES
    from visionsmith.papers.llava.probing import tower_scores
    from visionsmith.papers.llava.run import load
    from visionsmith.papers.llava.score import known_questions, new_questions, seen_scores

    if data is not None:
        raise ConfigError(
            "evaluate asks about the built-in world and takes no --data",
            do="judge answers about other pictures with visionsmith.papers.llava.judge or science_qa",
        )
    assistant = load(checkpoint)
    llava, layout = assistant.model, assistant.layout
    shares: dict[str, dict[str, float]] = {"seen": {}, "new": {}, "blind": {}, "majority": {}}
    with torch.no_grad(), DelayedBar("evaluate", len(FAMILIES), show=progress) as bar:
        for family in FAMILIES:
            asked, new = known_questions(family, COUNT), new_questions(family, COUNT)
            shares["seen"] |= seen_scores(llava, layout, {family: asked})
            shares["new"] |= seen_scores(llava, layout, {family: new})
            shares["blind"] |= seen_scores(llava, layout, {family: asked}, blind=True)
            shares["majority"][family] = _majority(family, [question.answer for question in asked])
            bar.advance()
        tower = tower_scores(
            llava.vision, llava.config.vision.image_size, select_layer=llava.config.select_layer
        )
    one_picture = [family for family in FAMILIES if family not in PAIR_FAMILIES]
    return {
        "exact": {
            name: {
                "mean_of_one_picture": sum(found[family] for family in one_picture) / len(one_picture),
                **found,
            }
            for name, found in shares.items()
        },
        "tower": tower,
        "model": {
            "checkpoint": str(checkpoint) if checkpoint else "shipped",
            "parameters": sum(parameter.numel() for parameter in llava.parameters()),
            "questions_of_a_family": COUNT,
        },
    }


def _majority(family: str, answers: list[str]) -> float:
    """Share of answers that are the family's most frequent one among questions as training has them."""
    from visionsmith.data.sampler import generator
    from visionsmith.data.world import SEEN, ask

    known = Counter(ask(family, generator(0, 0, index), SEEN).answer for index in range(TRAINING))
    return answers.count(known.most_common(1)[0][0]) / len(answers)
