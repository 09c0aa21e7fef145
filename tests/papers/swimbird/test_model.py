"""Equal to the library's Qwen3-VL where there are no thoughts; thoughts go in where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from visionsmith.data.sampler import generator
from visionsmith.errors import ConfigError, DataError
from visionsmith.losses.language import IGNORED
from visionsmith.papers.swimbird.chat import Turn, encode_chat
from visionsmith.papers.swimbird.config import SwimBirdConfig, TextConfig, VisionConfig
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.objective import SwimBirdObjective, collate_chats
from visionsmith.papers.swimbird.tasks import exercise


def chats(model: SwimBird, vocabulary: Tokenizer, kinds: tuple[str, ...], **options):
    return [
        encode_chat(
            exercise(kind, generator(3, 0, index), side=36).turns(), vocabulary, model.config, **options
        )
        for index, kind in enumerate(kinds)
    ]


def picture(value: int = 0, size: tuple[int, int] = (36, 36)) -> np.ndarray:
    return np.random.default_rng(value).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_equals_the_library_without_thoughts(model: SwimBird, vocabulary: Tokenizer) -> None:
    two = (picture(0), picture(1, (24, 48)))
    talk = [Turn("user", "Where?", (picture(2),)), Turn("assistant", "there"), Turn("user", "Why?")]
    turns = [
        [Turn("user", "What is <image> against <image>?", two), Turn("assistant", "a cat")],
        [Turn("user", "How many?"), Turn("assistant", "<answer>two</answer>")],
        [*talk, Turn("assistant", "so")],
    ]
    batch = collate_chats([encode_chat(each, vocabulary, model.config) for each in turns], pad=0)
    with torch.no_grad():
        ours = model.hidden(batch["ids"], batch["mask"], values=batch["values"], grids=batch["grids"])
        theirs = model.qwen(
            input_ids=batch["ids"],
            attention_mask=batch["mask"],
            pixel_values=batch["values"],
            image_grid_thw=batch["grids"],
            mm_token_type_ids=(batch["ids"] == model.config.image_id).int(),
        ).logits
        logits = model.head(ours)
    kept = batch["mask"].bool()
    assert torch.allclose(logits[kept], theirs[kept], atol=1e-5)
    left = collate_chats([encode_chat(each, vocabulary, model.config) for each in turns], pad=0, left=True)
    with torch.no_grad():
        moved = model.hidden(left["ids"], left["mask"], values=left["values"], grids=left["grids"])
    assert torch.allclose(moved[left["mask"].bool()], ours[kept], atol=1e-5)


def test_thoughts_stand_where_their_marks_are(model: SwimBird, vocabulary: Tokenizer) -> None:
    batch = collate_chats(chats(model, vocabulary, ("relation", "sum", "what")), pad=0)
    marks = batch["ids"] == model.config.latent_id
    thoughts = model.thoughts_of(batch["thought_values"], batch["thought_grids"])
    assert len(thoughts) == int(marks.sum()) > 0
    states, positions, _, _ = model.inputs(
        batch["ids"], batch["mask"], values=batch["values"], grids=batch["grids"], thoughts=thoughts
    )
    assert torch.equal(states[marks], thoughts)
    # A thought counts as text: its places in time, height and width are one.
    assert torch.equal(positions[1][marks], positions[2][marks])
    assert torch.equal(positions[1][marks], positions[3][marks])
    with pytest.raises(DataError, match="tokens of thoughts"):
        model.hidden(
            batch["ids"], batch["mask"], values=batch["values"], grids=batch["grids"], thoughts=thoughts[1:]
        )
    with pytest.raises(DataError, match="none was given"):
        model.hidden(batch["ids"], batch["mask"])


def test_losses_equal_a_plain_loop(model: SwimBird, vocabulary: Tokenizer) -> None:
    objective = SwimBirdObjective(model)
    batch = collate_chats(chats(model, vocabulary, ("relation", "sum", "what", "odd")), pad=0)
    found = objective(batch)
    thoughts = list(model.thoughts_of(batch["thought_values"], batch["thought_grids"]))
    with torch.no_grad():
        hidden = model.hidden(
            batch["ids"],
            batch["mask"],
            values=batch["values"],
            grids=batch["grids"],
            thoughts=torch.stack(thoughts),
        )
        logits = model.head(hidden)
    words, errors, right = [], [], 0
    for row in range(len(batch["ids"])):
        for place in range(1, batch["ids"].shape[1]):
            label = int(batch["labels"][row, place])
            if label != IGNORED:
                words.append(-logits[row, place - 1].log_softmax(dim=-1)[label])
                right += int(logits[row, place - 1].argmax()) == label
            if int(batch["ids"][row, place]) == model.config.latent_id:
                errors.append((hidden[row, place - 1] - thoughts.pop(0)).square().mean())
    assert not thoughts
    text, latent = torch.stack(words).mean(), torch.stack(errors).mean()
    assert found["text_loss"].item() == pytest.approx(text.item(), rel=1e-5)
    assert found["latent_loss"].item() == pytest.approx(latent.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((text + 0.2 * latent).item(), rel=1e-5)
    assert found["accuracy"].item() == pytest.approx(right / len(words))
    assert objective.counts(batch).tolist() == [len(words), len(errors)]
    # Targets that were made before give the same.
    ready = {name: value for name, value in batch.items() if not name.startswith("thought")}
    ready["thoughts"] = model.thoughts_of(batch["thought_values"], batch["thought_grids"])
    assert objective(ready)["loss"].item() == pytest.approx(found["loss"].item(), rel=1e-6)


def test_parts_add_up_to_the_whole(model: SwimBird, vocabulary: Tokenizer) -> None:
    objective = SwimBirdObjective(model)
    encoded = chats(model, vocabulary, ("relation", "sum", "what", "order"))
    whole = collate_chats(encoded, pad=0)
    parts = [collate_chats(encoded[:1], pad=0), collate_chats(encoded[1:], pad=0)]
    counts = objective.counts(whole)
    total = sum(objective(part, counts)["loss"].item() for part in parts)
    assert total == pytest.approx(objective(whole)["loss"].item(), rel=1e-5)
    # Without a thought there is nothing to divide by, and nothing to learn from it.
    words_only = objective(collate_chats(encoded[1:2], pad=0))
    assert words_only["latent_loss"].item() == 0


def test_the_tower_gets_no_gradient_from_the_targets(model: SwimBird, vocabulary: Tokenizer) -> None:
    batch = collate_chats(chats(model, vocabulary, ("what",)), pad=0)
    assert not model.thoughts_of(batch["thought_values"], batch["thought_grids"]).requires_grad


def test_published_size() -> None:
    with torch.device("meta"):
        model = SwimBird(SwimBirdConfig())
    # Qwen3-VL-8B: the language model with its two vocabularies, and the tower with its mergers.
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 8.6e9 < count < 8.9e9
    assert model.qwen.lm_head.weight.shape == (151_936, 4096)


def test_mistakes_in_sizes() -> None:
    with pytest.raises(ConfigError, match="fill half"):
        TextConfig(head_dim=64)
    with pytest.raises(ConfigError, match="no multiple"):
        VisionConfig(num_heads=5)
    with pytest.raises(ConfigError, match="no square"):
        VisionConfig(num_position_embeddings=10)
    with pytest.raises(ConfigError, match="blocks that are not there"):
        VisionConfig(depth=2)
    with pytest.raises(ConfigError, match="min_latent_token"):
        SwimBirdConfig(min_latent_token=9, latent_limit=8)
    with pytest.raises(ConfigError, match="outside the vocabulary"):
        SwimBirdConfig(text=TextConfig(vocab_size=1000))
