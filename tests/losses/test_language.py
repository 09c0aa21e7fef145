"""The cross-entropy at supervised positions equals the plain one over all positions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from visionsmith.losses.language import IGNORED, next_token_sums, supervised


def problem() -> tuple[torch.Tensor, torch.Tensor, nn.Linear]:
    torch.manual_seed(0)
    hidden = torch.randn(3, 9, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 20, (3, 9))
    labels[torch.rand(3, 9) < 0.5] = IGNORED
    labels[:, 0] = 4  # nothing predicts the first token
    return hidden, labels, nn.Linear(8, 20, dtype=torch.float64)


@pytest.mark.parametrize("chunk", [None, 1, 4, 1000])
def test_equals_the_plain_loss(chunk: int | None) -> None:
    hidden, labels, head = problem()
    logits = head(hidden)
    plain = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    plain.backward()
    expected = [hidden.grad.clone(), head.weight.grad.clone(), head.bias.grad.clone()]
    hidden.grad = head.weight.grad = head.bias.grad = None
    loss, right = next_token_sums(hidden, labels, head, chunk=chunk)
    loss.backward()
    assert torch.allclose(loss, plain)
    for found, known in zip([hidden.grad, head.weight.grad, head.bias.grad], expected, strict=True):
        assert torch.allclose(found, known)
    guesses = logits[:, :-1].argmax(dim=-1)
    assert int(right) == int((guesses == labels[:, 1:])[labels[:, 1:] != IGNORED].sum())
    assert int(supervised(labels)) == int((labels[:, 1:] != IGNORED).sum())


def test_logits_are_formed_at_supervised_positions_only() -> None:
    hidden, labels, head = problem()
    rows = []

    def watched(states: torch.Tensor) -> torch.Tensor:
        rows.append(len(states))
        return head(states)

    next_token_sums(hidden, labels, watched, chunk=5)
    assert sum(rows) == int(supervised(labels))
    assert max(rows) <= 5


def test_nothing_to_learn_is_a_loss_of_zero_with_a_gradient() -> None:
    hidden, labels, head = problem()
    loss, right = next_token_sums(hidden, torch.full_like(labels, IGNORED), head)
    loss.backward()
    assert loss.item() == right.item() == 0
    assert float(hidden.grad.abs().sum()) == 0
