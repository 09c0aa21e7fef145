"""The losses against naive sums, and steps in micro-batches that equal the whole one."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from visionsmith.losses.language import IGNORED
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.objective import FlavaObjective, masked_sums
from visionsmith.papers.flava.recipes import LossWeights
from visionsmith.train.step import Stepper, backward
from visionsmith.train.task import BatchCoupled


def pairs(rows: int = 8) -> dict[str, Tensor]:
    torch.manual_seed(2)
    words = torch.randint(5, 50, (rows, 9))
    labels = torch.randint(5, 50, (rows, 2))
    labels[::3, 1] = IGNORED
    return {
        "images": torch.randint(0, 256, (rows, 32, 32, 3), dtype=torch.uint8),
        "patch_places": torch.stack([torch.randperm(16)[:5] for _ in range(rows)]),
        "patch_labels": torch.randint(0, 30, (rows, 5)),
        "words": words,
        "masked_words": words.scatter(1, torch.full((rows, 1), 3), 4),
        "word_places": torch.tensor([[3, 2]] * rows),
        "word_labels": labels,
        "matched": (torch.arange(rows) % 4 != 1).long(),
    }


def of_kind(kind: str) -> dict[str, Tensor]:
    whole = pairs()
    if kind == "pair":
        return whole
    names = ("images", "patch_places", "patch_labels")
    return {
        name: whole[name]
        for name in (names if kind == "image" else ("masked_words", "word_places", "word_labels"))
    }


def test_sums_of_a_naive_loop() -> None:
    head = torch.nn.Linear(6, 11)
    states, labels = torch.randn(4, 3, 6), torch.randint(0, 11, (4, 3))
    labels[1, 2] = labels[3, 0] = IGNORED
    found = masked_sums(head, states, labels)
    for row in range(4):
        loss = right = counted = 0.0
        for place in range(3):
            if labels[row, place] == IGNORED:
                continue
            logits = head(states[row, place])
            loss += float(F.cross_entropy(logits, labels[row, place]).detach())
            right += float(logits.argmax() == labels[row, place])
            counted += 1
        assert found[row].tolist() == pytest.approx([loss, right, counted], abs=1e-5)


def gradients(model: FLAVA, parts: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model.zero_grad()
    stepper = Stepper(FlavaObjective(model, LossWeights(itm=0.5)))
    losses = backward(Accelerator(cpu=True), stepper, parts)
    return losses, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["image", "text", "pair"])
def test_micro_batches_have_the_gradient_of_the_whole(model: FLAVA, kind: str) -> None:
    """Although the rows hold unequal numbers of words, and the contrastive loss couples them."""
    assert isinstance(FlavaObjective(model, LossWeights()), BatchCoupled)
    whole = of_kind(kind)
    parts = [
        {n: v[rows] for n, v in whole.items()}
        for rows in (slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8))
    ]
    expected_losses, expected = gradients(model, [whole])
    losses, found = gradients(model, parts)
    assert losses.keys() == expected_losses.keys()
    for name in losses:
        assert float(losses[name]) == pytest.approx(float(expected_losses[name]), abs=1e-5), name
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.allclose(found[name], expected[name], atol=1e-5, rtol=1e-4), name


@pytest.mark.parametrize(
    ("weights", "computed"),
    [
        (LossWeights(contrastive=0), {"mmm_image", "mmm_text", "itm"}),
        (LossWeights(mmm_image=0, mmm_text=0, itm=0), {"contrastive"}),
        (LossWeights(mmm_text=0), {"mmm_image", "itm", "contrastive"}),
    ],
)
def test_a_loss_of_no_weight_is_not_computed(model: FLAVA, weights: LossWeights, computed: set[str]) -> None:
    calls = []
    model.flava.image_model.encoder.layer[0].register_forward_hook(
        lambda module, given, found: calls.append(len(given[0]))
    )
    model.flava.multimodal_model.encoder.layer[0].register_forward_hook(
        lambda module, given, found: calls.append(-len(given[0]))
    )
    with torch.no_grad():
        losses = FlavaObjective(model, weights)(pairs())
    names = {name for name in losses if name in ("mmm_image", "mmm_text", "itm", "contrastive")}
    assert names == computed
    assert float(losses["loss"]) == pytest.approx(sum(float(losses[name]) for name in names), abs=1e-5)
    # Rows that went through the image encoder and, negative, through the multimodal one.
    both = weights.contrastive > 0 and weights.fuses
    assert calls == [16 if both else 8, *([-8] if weights.fuses else [])]


@pytest.mark.parametrize("kind", ["image", "text", "pair"])
@pytest.mark.parametrize(
    "weights", [LossWeights(), LossWeights(contrastive=0), LossWeights(mmm_image=0, mmm_text=0, itm=0)]
)
def test_every_parameter_has_a_gradient(model: FLAVA, kind: str, weights: LossWeights) -> None:
    FlavaObjective(model, weights)(of_kind(kind))["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_pictures_alone_run_once_and_masked(model: FLAVA) -> None:
    rows = []
    model.flava.image_model.encoder.layer[0].register_forward_hook(
        lambda module, given, found: rows.append(len(given[0]))
    )
    losses = FlavaObjective(model, LossWeights())(of_kind("image"))
    assert rows == [8]
    assert set(losses) == {"loss", "mim", "mim_accuracy"}


def test_a_batch_without_a_matching_pair_is_finite(model: FLAVA) -> None:
    batch = pairs() | {"matched": torch.zeros(8, dtype=torch.int64)}
    losses = FlavaObjective(model, LossWeights())(batch)
    assert losses["mmm_text"].item() == 0
    losses["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
