"""Muon: its updates are orthogonal and of AdamW's size, the rest is AdamW's, and a run goes on with the same bits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from visionsmith.train.muon import MuonAdamW, inner_matrices, orthogonal
from visionsmith.train.optim import make_optimizer
from visionsmith.train.recipe import OptimConfig


class Words(nn.Module):
    """An embedding whose table is the head's too, an inner layer, and a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.inner = nn.Linear(6, 8)
        self.back = nn.Linear(8, 6, bias=False)
        self.tied = nn.Linear(6, 11, bias=False)
        self.tied.weight = self.table.weight
        self.head = nn.Linear(6, 4)
        self.convolution = nn.Conv2d(1, 6, 2)


@pytest.mark.parametrize("shape", [(2, 24, 24), (1, 16, 40), (3, 40, 16)])
def test_singular_values_become_about_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape) * 1e-3
    values = torch.linalg.svdvals(orthogonal(matrices))
    # Of a square one the least may stay below.
    assert float(values.quantile(0.05)) > 0.6
    assert float(values.max()) < 1.3
    # The directions stay: each is U S V^T of the same U and V.
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ orthogonal(matrices) @ v.mT
    off = turned - torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1))
    assert float(off.abs().max()) < 1e-4


def test_only_inner_matrices_are_muons() -> None:
    model = Words()
    assert inner_matrices(model, ("head*",)) == {id(model.inner.weight), id(model.back.weight)}


def test_convolutions_are_matrices_of_outputs_by_inputs_and_places() -> None:
    model = Words()
    assert id(model.convolution.weight) in inner_matrices(model, ("head*",), convolutions=True)
    layer = nn.Conv2d(3, 8, 2, bias=False)
    config = OptimConfig(optimizer="muon", muon_convolutions=True, lr=0.1, momentum=0.0, weight_decay=0.0)
    before, gradient = layer.weight.detach().clone(), torch.randn_like(layer.weight)
    layer.weight.grad = gradient.clone()
    make_optimizer(layer, config).step()
    update = orthogonal(gradient.flatten(1)[None])[0].reshape(8, 3, 2, 2)
    assert torch.allclose(layer.weight, before - 0.1 * 0.2 * math.sqrt(12) * update, atol=1e-6)


def test_updates_follow_the_equation() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 4, bias=False)
    optimizer = make_optimizer(
        model, OptimConfig(optimizer="muon", lr=0.1, momentum=0.9, weight_decay=0.5, adamw_for=())
    )
    weight, moment = model.weight.detach().clone(), torch.zeros(4, 6)
    for step in range(3):
        gradient = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        model.weight.grad = gradient.clone()
        optimizer.step()
        moment = 0.9 * moment + 0.1 * gradient
        update = orthogonal((0.1 * gradient + 0.9 * moment)[None])[0]
        weight = weight * (1 - 0.1 * 0.5) - 0.1 * 0.2 * math.sqrt(6) * update
    assert torch.allclose(model.weight, weight, atol=1e-6)
    # Their size is AdamW's: 0.2 of the rate, for a matrix of any shape.
    assert float(update.square().mean().sqrt()) * 0.2 * math.sqrt(6) == pytest.approx(0.2, rel=0.25)


def test_products_in_bfloat16_are_near() -> None:
    def update(half: bool) -> torch.Tensor:
        layer = nn.Linear(24, 16, bias=False)
        nn.init.zeros_(layer.weight)
        layer.weight.grad = torch.randn(16, 24, generator=torch.Generator().manual_seed(1))
        config = OptimConfig(optimizer="muon", lr=1.0, weight_decay=0.0, adamw_for=())
        make_optimizer(layer, config, half=half).step()
        return layer.weight.detach()

    full, halved = update(False), update(True)
    assert not torch.equal(full, halved)
    assert float((full - halved).norm() / full.norm()) < 0.05


def test_the_rest_is_adamw() -> None:
    def trained(optimizer: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = Words()
        config = OptimConfig(optimizer=optimizer, lr=0.01, weight_decay=0.1, adamw_for=("*",))  # type: ignore[arg-type]
        made = make_optimizer(model, config)
        for step in range(4):
            torch.manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            made.step()
        return {name: value.detach() for name, value in model.named_parameters()}

    ours, torchs = trained("muon"), trained("adamw")
    assert all(torch.allclose(ours[name], torchs[name], atol=1e-6) for name in torchs)


def test_a_parameter_without_gradient_stays() -> None:
    model = Words()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = make_optimizer(model, OptimConfig(optimizer="muon", lr=0.1, weight_decay=0.1))
    model.inner.weight.grad = torch.ones_like(model.inner.weight)
    optimizer.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"inner.weight"}
    assert isinstance(optimizer, MuonAdamW)
