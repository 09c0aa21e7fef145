"""The paper's two stages as one task: captions for the projector, then conversations for projector and language model.

A batch belongs to the stage of its step. In the first stage nothing before the projector learns, so what the tower sees
is computed once and kept (`features.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import set_seed
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.sampler import Key, ShuffledBatches
from visionsmith.data.sources import open_or_pack
from visionsmith.data.world import SCENE_FAMILIES
from visionsmith.papers.llava.assistant import Assistant, layout_of
from visionsmith.papers.llava.features import SeenDataset, seen_store
from visionsmith.papers.llava.lora import add_lora, merged
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.llava.objective import AnswerObjective
from visionsmith.papers.llava.recipes import LlavaRecipe
from visionsmith.papers.llava.samples import ConversationCollate, ConversationDataset, Conversations, Sample
from visionsmith.papers.llava.score import known_questions, seen_scores
from visionsmith.papers.llava.sources import WorldCaptions, WorldConversations, open_stored
from visionsmith.papers.llava.start import starting_point
from visionsmith.train.task import Export, Task

__all__ = ["StageDataset", "StagePlan", "make_task"]

ASKED = 40
"""Questions of a family that a training is measured with."""


class StagePlan:
    """The batches of several stages after one another: a `BatchPlan` of a single epoch.

    A row is a number from which `StageDataset` tells the stage, its epoch and the record.
    """

    def __init__(self, records: Sequence[int], steps: Sequence[int], batch_size: int, seed: int) -> None:
        """Make the plan.

        Args:
            records: samples of each stage's data.
            steps: of each stage.
            batch_size: rows of a global batch.
            seed: of the order.
        """
        self.records, self.steps, self.batch_size = list(records), list(steps), batch_size
        self.plans = [
            ShuffledBatches(range(count), batch_size, seed + place) for place, count in enumerate(records)
        ]

    def __len__(self) -> int:
        return sum(self.steps)

    def epoch(self, epoch: int) -> np.ndarray:
        """See `BatchPlan.epoch`; there is one."""
        rows, offset = [], 0
        for plan, steps, count in zip(self.plans, self.steps, self.records, strict=True):
            epochs = -(-steps // len(plan))
            own = [plan.epoch(number) + number * count for number in range(epochs)]
            rows.append(np.concatenate(own)[:steps] + offset)
            offset += epochs * count
        return np.concatenate(rows)

    def place(self, row: int) -> tuple[int, Key]:
        """The stage of a row, and the key of its sample there."""
        for stage, (plan, steps, count) in enumerate(zip(self.plans, self.steps, self.records, strict=True)):
            held = -(-steps // len(plan)) * count
            if row < held:
                return stage, divmod(row, count)
            row -= held
        raise AssertionError(f"row {row} lies behind the last stage")


class StageDataset(Dataset[Sample]):
    """The data of several stages behind the rows of a `StagePlan`."""

    def __init__(self, plan: StagePlan, parts: Sequence[Dataset[Sample]]) -> None:
        self.plan, self.parts = plan, list(parts)

    def __getitem__(self, key: Key) -> Sample:
        stage, own = self.plan.place(key[1])
        sample: Sample = self.parts[stage][own]
        return sample


def make_task(
    recipe: LlavaRecipe, *, data: Path | None, folder: Path | None = None, progress: bool = False
) -> Task:
    """Model, objective and data of a recipe whose parts are made.

    Args:
        recipe: model and settings.
        data: the user's; None for the built-in world.
        folder: where packed data and kept features go.
        progress: whether to show bars.
    """
    set_seed(recipe.train.seed)
    llava, tokenizer = starting_point(recipe)
    user = Assistant(llava, tokenizer)
    if recipe.lora is not None:
        add_lora(llava, recipe.lora)
    parts, about = _data(recipe, llava, tokenizer, data, folder, progress)
    stages = recipe.train.schedule
    plan = StagePlan(
        [len(part) for part in parts],
        [stage.steps for stage in stages],
        recipe.train.batch_size,
        recipe.train.seed,
    )
    questions = {family: known_questions(family, ASKED) for family in SCENE_FAMILIES}

    def export(state: dict[str, Tensor]) -> Export:
        own = {name.removeprefix("llava."): value for name, value in state.items()}
        return user.export(merged(own, recipe.lora.alpha / recipe.lora.rank) if recipe.lora else own)

    def measure() -> dict[str, float]:
        shares = seen_scores(llava, user.layout, questions)
        return {"exact": sum(shares.values()) / len(shares), **shares}

    return Task(
        paper="llava",
        objective=AnswerObjective(llava, chunk=recipe.loss_chunk),
        dataset=StageDataset(plan, parts),
        plan=plan,
        collate=ConversationCollate(llava.config.end_token),
        export=export,
        about=about,
        # The built-in questions are about the built-in world.
        evaluate=measure if data is None else None,
    )


def _data(
    recipe: LlavaRecipe,
    llava: Llava,
    tokenizer: Tokenizer,
    data: Path | None,
    folder: Path | None,
    progress: bool,
) -> tuple[list[ConversationDataset | SeenDataset], dict[str, Any]]:
    """The data of each stage, and what the card says of them."""
    side, seed = llava.config.vision.image_size, recipe.train.seed
    store = None
    if data is not None:
        store = open_or_pack(
            data, folder / "records" if folder else data.with_suffix(".records"), progress=progress
        )
    parts: list[ConversationDataset | SeenDataset] = []
    about: dict[str, Any] = {"source": "scene world", "held_out": "twenty pairs of kind and colour"}
    for stage in recipe.train.schedule:
        aligns = stage.name == "align"
        layout = layout_of(llava.config, tokenizer, template=None if stage.name == "instruct" else "plain")
        source: Conversations
        if store is not None:
            source, left_out = open_stored(store, layout, side, seed, progress=progress)
            about = {**store.info().get("attributes", {}), "records": len(source), "left_out": len(left_out)}
            if left_out and progress:
                key, reason = left_out[0]
                sys.stderr.write(
                    f"{stage.name}: {len(left_out):,} records are left out; the first, '{key}': {reason}\n"
                )
        elif stage.name == "instruct":
            source = WorldConversations(recipe.mix, side, seed)
        else:
            source = WorldCaptions(recipe.pictures if aligns else None, side, seed + 1)
        if aligns and recipe.keep_features and folder is not None:
            mark = f"-{store.info()['sha256'][:8]}" if store is not None else ""
            seen = seen_store(llava, source, folder / "features", mark=mark, progress=progress)
            parts.append(SeenDataset(source, layout, seen))
        else:
            parts.append(ConversationDataset(source, layout))
    return parts, about
