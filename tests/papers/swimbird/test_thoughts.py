"""Kept thoughts are what the tower sees, give the same losses, and belong to one tower and one list."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from visionsmith.errors import DataError
from visionsmith.image.io import write_image
from visionsmith.papers.swimbird.chat import encode_chat
from visionsmith.papers.swimbird.dialogues import Dialogue, DialogueChats, read_dialogues
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.objective import SwimBirdObjective, collate_chats
from visionsmith.papers.swimbird.thoughts import keep_thoughts


@pytest.fixture
def dialogues(tmp_path: Path) -> list[Dialogue]:
    chance = np.random.default_rng(0)
    for name, size in (("a", (36, 36)), ("b", (12, 40)), ("c", (30, 13))):
        write_image(tmp_path / f"{name}.png", chance.integers(0, 255, (*size, 3), dtype=np.uint8))
    two = [
        {"from": "human", "value": "<image> What?"},
        {"from": "gpt", "value": "<reason><thought>so<thought></reason><answer>it</answer>"},
        {"from": "human", "value": "And?"},
        {"from": "gpt", "value": "<reason><thought></reason><answer>that</answer>"},
    ]
    none = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "<answer>it</answer>"}]
    items = [
        {"conversations": two, "image": "a.png", "reasoning_image": ["b.png", "c.png", "b.png"]},
        {"conversations": none},
    ]
    (tmp_path / "list.json").write_text(json.dumps(items), encoding="utf-8")
    return read_dialogues(tmp_path / "list.json")


def test_losses_are_those_of_the_pictures(
    model: SwimBird, vocabulary: Tokenizer, dialogues: list[Dialogue], tmp_path: Path
) -> None:
    kept = keep_thoughts(model, dialogues, tmp_path)
    objective = SwimBirdObjective(model)
    losses = []
    for source in (None, kept):
        chats = DialogueChats(dialogues, model.config, vocabulary, system="", kept=source)
        encoded = [chats[(0, 0)], chats[(0, 1)]]
        batch = collate_chats(encoded, pad=model.config.end_id)
        assert ("thought_values" in batch) == (source is None)
        with torch.no_grad():
            losses.append(objective(batch))
    assert float(losses[0]["latent_loss"]) > 0.01
    for name in losses[0]:
        assert float(losses[0][name]) == pytest.approx(float(losses[1][name]), rel=2e-3), name
    counts = [len(each) for each in kept[0]]
    assert counts[0] == counts[2] != 0
    assert kept[1] == []


def test_a_store_is_made_once_for_a_tower_and_a_list(
    model: SwimBird, vocabulary: Tokenizer, dialogues: list[Dialogue], tmp_path: Path
) -> None:
    keep_thoughts(model, dialogues, tmp_path / "kept")
    (first,) = (tmp_path / "kept").glob("*.records")
    keep_thoughts(model, dialogues, tmp_path / "kept")
    assert list((tmp_path / "kept").glob("*.records")) == [first]
    time.sleep(0.01)
    write_image(tmp_path / "b.png", np.zeros((12, 40, 3), np.uint8))
    keep_thoughts(model, dialogues, tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.records"))) == 2


def test_places_without_a_kept_thought_are_refused(
    model: SwimBird, vocabulary: Tokenizer, dialogues: list[Dialogue]
) -> None:
    turns = dialogues[0].read(thoughts=False)
    with pytest.raises(DataError, match="places for 0 pictures"):
        encode_chat(turns, vocabulary, model.config, system="", known=[])
