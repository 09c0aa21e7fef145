"""The layers beside plain loops, the router's gradient, and the balance loss beside its closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from visionsmith.papers.icedit.config import Router
from visionsmith.papers.icedit.experts import ExpertLowRank, LowRank, Routing

INPUTS, OUTPUTS, RANK, ALPHA, EXPERTS = 24, 40, 3, 6.0, 4


def layer(router: Router, experts: int = EXPERTS) -> ExpertLowRank:
    torch.manual_seed(0)
    made = ExpertLowRank(INPUTS, OUTPUTS, RANK, ALPHA, experts=experts, router=router)
    torch.nn.init.normal_(made.lora_B.weight)
    return made


def tokens(*sizes: int) -> Tensor:
    return torch.randn(*(sizes or (2, 17)), INPUTS, generator=torch.Generator().manual_seed(1))


def loop(layer: ExpertLowRank, x: Tensor) -> Tensor:
    """Each token through its expert, one after the other."""
    rows = []
    for token in x.flatten(0, -2):
        logits = layer.lora_route.weight @ token
        expert = int(logits.argmax())
        if layer.router == "switch":
            gate = logits.exp()[expert] / logits.exp().sum()
        else:
            gate = torch.softmax(logits[expert : expert + 1], dim=0)[0]
        down = layer.lora_A.weight[expert * RANK : (expert + 1) * RANK]
        up = layer.lora_B.weight[:, expert * RANK : (expert + 1) * RANK]
        rows.append(gate * (ALPHA / RANK) * (up @ (down @ token)))
    return torch.stack(rows).view(*x.shape[:-1], OUTPUTS)


@pytest.mark.parametrize("router", ["switch", "published"])
@pytest.mark.parametrize("experts", [2, 4, 6])
def test_fused_is_the_loop_with_its_gradients(router: Router, experts: int) -> None:
    made, x = layer(router, experts), tokens().requires_grad_()
    found, routing = made(x)
    wanted = loop(made, x)
    assert len(routing.chosen.unique()) == experts, "every expert is tried"
    torch.testing.assert_close(found, wanted)
    pull = torch.randn_like(found)
    # The loop's router has zero as gradient where the layer's has none.
    weights = [x, made.lora_A.weight, made.lora_B.weight, made.lora_route.weight]
    ours = torch.autograd.grad((found * pull).sum(), weights, allow_unused=True)
    theirs = torch.autograd.grad((wanted * pull).sum(), weights, allow_unused=True)
    for here, there in zip(ours, theirs, strict=True):
        if here is None:
            torch.testing.assert_close(there, torch.zeros_like(there), rtol=0, atol=0)
        else:
            torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_the_published_router_does_not_learn() -> None:
    made = layer("published")
    update, routing = made(tokens())
    (update.square().sum() + made.lora_A.weight.sum()).backward()
    assert made.lora_route.weight.grad is None
    assert not routing.balance().requires_grad
    gates = torch.softmax(made.lora_route(tokens()).topk(1, dim=-1).values, dim=-1)
    assert bool((gates == 1).all())
    (zero,) = torch.autograd.grad(gates.sum(), made.lora_route.weight)
    assert float(zero.abs().max()) == 0


def test_the_switch_router_learns() -> None:
    made = layer("switch")
    made(tokens())[0].square().sum().backward()
    assert made.lora_route.weight.grad is not None
    assert float(made.lora_route.weight.grad.abs().min()) > 0


def test_a_router_that_learns_finds_the_expert_of_a_token() -> None:
    """Tokens of two kinds, experts that only answer one kind: only a learning router brings the loss down."""
    losses: dict[Router, float] = {}
    for router in ("switch", "published"):
        torch.manual_seed(3)
        made = ExpertLowRank(4, 2, 1, 1.0, experts=2, router=router)
        with torch.no_grad():
            made.lora_A.weight.copy_(torch.tensor([[1.0, 1.0, 0, 0], [1.0, 1.0, 0, 0]]))
            made.lora_B.weight.copy_(torch.eye(2))
            # Both kinds begin at the first expert.
            made.lora_route.weight.copy_(torch.tensor([[0.1, 0.1, 0, 0], [0, 0, 0, 0]]))
        x = torch.eye(4)[:2].repeat(8, 1)
        wanted = torch.eye(2).repeat(8, 1)
        optimiser = torch.optim.Adam([made.lora_route.weight], lr=0.1)
        for _ in range(60):
            update, routing = made(x)
            loss = (update - wanted).square().mean()
            if router == "switch":
                (loss + 0.01 * routing.balance()).backward()
                optimiser.step()
                optimiser.zero_grad()
        losses[router] = float(loss.detach())
    assert losses["published"] == 0.5
    assert losses["switch"] < 0.05


def test_balance_in_closed_form() -> None:
    one_hot = torch.eye(EXPERTS)[torch.zeros(10, dtype=torch.int64)]
    assert float(Routing(one_hot.argmax(-1), one_hot).balance()) == pytest.approx(EXPERTS)
    spread = torch.eye(EXPERTS).repeat(3, 1)
    assert float(Routing(spread.argmax(-1), spread).balance()) == pytest.approx(1)
    even = torch.full((8, EXPERTS), 1 / EXPERTS)
    assert float(Routing(even.argmax(-1), even).balance()) == pytest.approx(1), "whoever is chosen"
    made = layer("switch")
    _, routing = made(tokens())
    wanted = 0.0
    for expert in range(EXPERTS):
        share = float((routing.chosen == expert).float().mean())
        wanted += EXPERTS * share * float(routing.probabilities[..., expert].mean().detach())
    assert float(routing.balance().detach()) == pytest.approx(wanted)


def test_the_balance_loss_evens_out_the_tokens() -> None:
    made, x = layer("switch"), tokens(4, 64)
    with torch.no_grad():
        made.lora_route.weight[1:] -= 0.3 * x.mean(dim=(0, 1)).sign()
    optimiser = torch.optim.Adam([made.lora_route.weight], lr=0.02)
    before = made.route(x).counts().sum(0)
    for _ in range(40):
        optimiser.zero_grad()
        made.route(x).balance().backward()
        optimiser.step()
    after = made.route(x).counts().sum(0)
    assert after.max() < 0.8 * before.max()


def test_counts_by_sample() -> None:
    _, routing = layer("switch")(tokens(3, 5, 7))
    wanted = [torch.bincount(sample.flatten(), minlength=EXPERTS) for sample in routing.chosen]
    assert torch.equal(routing.counts(), torch.stack(wanted))


def test_plain_update() -> None:
    torch.manual_seed(0)
    made = LowRank(INPUTS, OUTPUTS, RANK, ALPHA)
    x = tokens()
    assert not made(x).any()
    torch.nn.init.normal_(made.lora_B.weight)
    matrix = made.lora_B.weight @ made.lora_A.weight
    torch.testing.assert_close(made(x), ALPHA / RANK * (x @ matrix.T), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made(x, 0.25), 0.25 * made(x))


@pytest.mark.parametrize("router", ["switch", "published"])
def test_a_factor_multiplies(router: Router) -> None:
    made, x = layer(router), tokens()
    torch.testing.assert_close(made(x, 0.25)[0], 0.25 * made(x)[0])


def test_beginnings() -> None:
    torch.manual_seed(0)
    made = ExpertLowRank(400, 50, 8, 8.0, experts=4, router="switch")
    bound = 1 / math.sqrt(400)
    for expert in made.lora_A.weight.detach().chunk(4):
        assert float(expert.abs().max()) <= bound
        assert float(expert.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not made.lora_B.weight.any()
    assert made.lora_route.bias is None
    assert float(made.lora_route.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
