"""Xception: published count, and a block's skip against the strided convolution that it stands for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from visionsmith.nn.xception import Xception


def test_the_published_count() -> None:
    with torch.device("meta"):
        model = Xception()
        assert model(torch.empty(2, 3, 299, 299)).shape == (2, 2048, 10, 10)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters + 2048 * 1000 + 1000 == 22_855_952
    assert model.block_count == 12


@pytest.mark.parametrize("side", [9, 10])
def test_a_block_is_its_convolutions_beside_a_strided_skip(side: int) -> None:
    block = Xception(3, stem=(4, 6), entry=(8,), middle=1, exit=(4, 4, 4), strides=(2, 1)).block1.eval()
    x = torch.randn(2, 6, side, side)
    weights = dict(block.named_parameters())
    straight = F.conv2d(x, weights["skip.weight"], stride=2)
    y = x
    for number in (0, 3):  # without a first ReLU: convolution and normalisation, ReLU, the same again
        y = F.relu(y) if number else y
        y = F.conv2d(y, weights[f"rep.{number}.conv1.weight"], padding=1, groups=y.shape[1])
        y = F.conv2d(y, weights[f"rep.{number}.pointwise.weight"]) / (1 + 1e-5) ** 0.5
    expected = F.max_pool2d(y, 3, 2, 1) + straight / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_narrow_networks_learn_with_channels_last() -> None:
    """A strided 1 x 1 convolution of torch 2.13 with so few channels corrupts memory here, and ends the process."""
    model = Xception(6, stem=(4, 5), entry=(6, 7, 8), middle=1, exit=(9, 10, 11), first_stride=1)
    model.to(memory_format=torch.channels_last)
    for _ in range(3):
        model(torch.rand(4, 6, 40, 40)).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters()
    )


def test_the_input_of_a_block_is_left_as_it_is() -> None:
    model = Xception(3, stem=(4, 6), entry=(8, 8), middle=1, exit=(4, 4, 4), strides=(2, 2, 1)).eval()
    x = torch.randn(1, 8, 6, 6)
    before = x.clone()
    model.blocks(x, 2, 3)
    assert torch.equal(x, before)
