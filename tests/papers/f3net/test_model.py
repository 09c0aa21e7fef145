"""The network: the MixBlock's reference vectors, published counts, every size, evidence that adds up, gradients."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.papers.f3net.conftest import CONFIG, SMALL
from visionsmith.config import decode, encode
from visionsmith.errors import ConfigError
from visionsmith.nn.xception import Xception
from visionsmith.papers.f3net.config import F3NetConfig, XceptionConfig
from visionsmith.papers.f3net.mix import MixBlock
from visionsmith.papers.f3net.model import F3Net
from visionsmith.papers.paper import get_paper

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden" / "f3net_mixblock.safetensors"


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_mixblock_is_the_public_codes() -> None:
    golden = load_file(GOLDEN)
    block = MixBlock(8).eval()
    block.load_state_dict(
        {
            key.removeprefix("state/").lower(): value
            for key, value in golden.items()
            if key.startswith("state/")
        }
    )
    fad, lfs = block(golden["io/fad"], golden["io/lfs"])
    torch.testing.assert_close(fad, golden["io/fad_out"], rtol=0, atol=1e-5)
    torch.testing.assert_close(lfs, golden["io/lfs_out"], rtol=0, atol=1e-5)


def test_mixblock_begins_as_an_identity() -> None:
    block = MixBlock(4).eval()
    fad, lfs = torch.randn(2, 2, 4, 6, 6)
    # The gate is closed: what passes is the convolution's bias.
    mixed = block(fad, lfs)
    for before, after, bias in zip(
        (fad, lfs), mixed, (block.fad_conv.bias, block.lfs_conv.bias), strict=True
    ):
        scale = 1 / (1 + 1e-5) ** 0.5
        torch.testing.assert_close(after - before, (bias * scale)[None, :, None, None].expand_as(after))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("F3-Net", {}),
        ("without MixBlock", {"mix": False}),
        ("FAD", {"branches": "fad"}),
        ("LFS", {"branches": "lfs"}),
        ("Xception", {"branches": "rgb"}),
    ],
)
def test_counts_are_those_of_the_card(name: str, settings: dict[str, object]) -> None:
    with torch.device("meta"):
        model = F3Net(dataclasses.replace(F3NetConfig(), **settings))
    assert count(model) == get_paper("f3net").parameters[name]
    assert sum(buffer.numel() for key, buffer in model.state_dict().items() if "cosine" in key) == 0


def test_parts_have_the_published_counts() -> None:
    with torch.device("meta"):
        model = F3Net(F3NetConfig())
        xception = Xception()
    assert model.fad is not None
    assert model.lfs is not None
    assert count(model.fad) == 357_604
    assert count(model.lfs) == 600
    assert count(xception) + 2048 * 1000 + 1000 == 22_855_952
    assert model.fc.weight.shape == (1, 4096)


def test_maps_have_the_published_shapes() -> None:
    narrow = XceptionConfig(stem=(2, 2), entry=(2, 2, 2), middle=8, exit=(2, 2, 2))
    model = F3Net(F3NetConfig(stream=narrow)).eval()
    assert (model.middle, model.end) == (7, 12)
    sides = {}
    for name, channels, first in (("fad", 12, 299), ("lfs", 6, 149)):
        stream = model.streams[name]
        x = stream.stem(torch.zeros(1, channels, first, first))
        found = [x.shape[-1]]
        for number in range(1, 13):
            x = stream.blocks(x, number, number)
            found.append(x.shape[-1])
        sides[name] = [found[0], found[1], found[2], found[7], found[12]]
    assert sides == {"fad": [147, 74, 37, 19, 10], "lfs": [145, 73, 37, 19, 10]}


@pytest.mark.parametrize("size", [32, 47, 48, 50, 64, 72, 75, 88, 96])
def test_any_size_runs_and_learns(size: int) -> None:
    model = F3Net(
        dataclasses.replace(CONFIG, image_size=size, stream=dataclasses.replace(SMALL, strides=(2, 2, 2, 2)))
    )
    pixels = torch.rand(2, 3, size, size) * 2 - 1
    model(pixels).square().sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_streams_that_cannot_meet_get_a_sentence() -> None:
    odd = XceptionConfig(stem=(2, 2), entry=(2,), middle=1, exit=(2, 2, 2), strides=(1, 1))
    with pytest.raises(ConfigError, match=r"image_size = 48 px .* choose 49 px, or set mix=false"):
        F3Net(F3NetConfig(image_size=48, stream=odd))
    F3Net(F3NetConfig(image_size=48, stream=odd, mix=False))(torch.zeros(2, 3, 48, 48))


@pytest.mark.parametrize("branches", ["both", "fad", "lfs", "rgb"])
def test_evidence_adds_up_to_the_logit(branches: str) -> None:
    model = F3Net(dataclasses.replace(CONFIG, branches=branches)).eval()
    pixels = torch.rand(3, 3, 48, 48) * 2 - 1
    with torch.no_grad():
        evidence = model.evidence(pixels)
        torch.testing.assert_close(evidence.mean((1, 2)) + model.fc.bias, model(pixels), rtol=1e-4, atol=1e-5)
    assert evidence.shape[1] == evidence.shape[2] > 1


def test_fixed_filters_have_nothing_to_learn() -> None:
    model = F3Net(dataclasses.replace(CONFIG, learnable=False))
    assert not [name for name, _ in model.named_parameters() if name.startswith(("fad.", "lfs."))]


def test_a_picture_does_not_depend_on_its_batch(model: F3Net) -> None:
    pixels = torch.rand(5, 3, 48, 48) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(model(pixels)[2:3], model(pixels[2:3]), rtol=1e-4, atol=1e-5)


def test_config_round_trip_and_refusals() -> None:
    assert decode(F3NetConfig, encode(CONFIG)) == CONFIG
    for settings, message in (
        ({"image_size": 16}, "choose at least 32 px"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"stream": {"strides": [2, 2]}}, "give 4: one an entry block"),
        ({"stream": {"middle": 0}}, "stream.middle = 0"),
        ({"branches": "rgbx"}, "branches"),
        ({"decision": {"threshold": 2.0}}, "decision.threshold"),
    ):
        with pytest.raises(ConfigError, match=message):
            decode(F3NetConfig, settings)
