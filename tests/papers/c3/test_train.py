"""The tiny recipe, smaller still: it learns, resumes to the bit, and is measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.papers.c3.common import WORDS, mini
from visionsmith import checkpoint
from visionsmith.data.texts import open_texts
from visionsmith.papers.c3.evaluate import evaluate
from visionsmith.papers.c3.train import make_task, train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sentences of known words, in an order that nothing foretells."""
    data = tmp_path / "texts"
    data.mkdir()
    generator = torch.Generator().manual_seed(0)
    for number in range(24):
        places = torch.randint(len(WORDS), (60,), generator=generator).tolist()
        (data / f"{number:02}.txt").write_text(" ".join(WORDS[place] for place in places))
    return data


def test_a_run_stopped_and_resumed_has_the_same_bits(folder: Path, tmp_path: Path) -> None:
    recipe = mini()
    whole = train(recipe, data=folder, output=tmp_path / "whole", progress=False)
    part = tmp_path / "part"
    shutil.copytree(tmp_path / "whole", part)
    shutil.rmtree(part / "model")
    shutil.rmtree(part / "checkpoints" / "step-00000004")
    again = train(recipe, data=folder, output=part, resume=True, progress=False)
    one, other = (checkpoint.read(path, paper="c3").tensors() for path in (whole, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    card = json.loads((whole / "card.json").read_text())
    assert card["data"]["tokens"] > 0
    assert len(card["data"]["sha256"]) == 64
    assert set(card["measured"]) >= {"characters", "word_precision", "ratio", "tokens"}


def test_learns_and_is_measured(folder: Path, tmp_path: Path) -> None:
    """Most tokens of texts it has not seen come back, and few without their latents."""
    settings = {"train.steps": 100, "train.batch_size": 16, "train.optim.lr": 2e-2, "train.save_every": 100}
    recipe = mini(**settings, **{"mix.asked": 0.0, "mix.told": 0.0, "mix.random": 0.0, "mix.short": 0.0})
    model = train(recipe, data=folder, output=tmp_path / "run", progress=False)
    found = evaluate(checkpoint=model, data=folder, progress=False)
    assert found["text"]["ratio"] == 4
    assert found["text"]["tokens"] > 0.6
    assert found["text"]["characters"] > found["baseline"]["unread"]["characters"] + 0.4
    assert len(found["text"]["by_position"]) == 8
    assert 0 <= found["baseline"]["trigram"]["tokens"] < 1
    json.dumps(found)


def test_starts_from_weights_and_takes_less_memory(folder: Path, tmp_path: Path) -> None:
    first = train(mini(), data=folder, output=tmp_path / "first", progress=False)
    recipe = mini(words="null", initial=str(first), checkpointing="true", loss_chunk="7")
    texts = open_texts(folder)
    task = make_task(recipe, texts)
    from visionsmith.papers.c3.official import load_any

    given = load_any(first)
    for (name, value), other in zip(
        task.objective.model.state_dict().items(), given.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    plain = make_task(mini(words="null", initial=str(first)), texts)
    batch = task.collate([task.dataset[0, index, 0, part] for index in range(2) for part in range(2)])
    losses = []
    for one in (task, plain):
        one.objective.train()
        loss = one.objective(batch)["loss"]
        loss.backward()
        losses.append(loss)
    torch.testing.assert_close(losses[0], losses[1])
    pairs = zip(task.objective.named_parameters(), plain.objective.parameters(), strict=True)
    for (name, one), other in pairs:
        torch.testing.assert_close(one.grad, other.grad, msg=name)
