"""Sizes, names and counts of the public code; its networks against functional twins written out here."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from visionsmith.cli.checkpoints import app
from visionsmith.config import decode, encode, override
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.nn.resnet import ResNet
from visionsmith.papers.supcon import (
    ResNetConfig,
    SupConConfig,
    SupConResNet,
    from_official,
    load_any,
    published,
)
from visionsmith.papers.supcon.config import PUBLISHED

PARAMETERS = {
    "resnet18": (11_168_832, 328_320),
    "resnet34": (21_276_992, 328_320),
    "resnet50": (23_500_352, 4_458_624),
    "resnet101": (42_492_480, 4_458_624),
}
"""Encoder and MLP head."""


def small(**settings) -> SupConConfig:
    values = {"encoder": {"widths": [4, 6], "layers": [1, 2]}, "embed_dim": 5, **settings}
    return decode(SupConConfig, values)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_parameters(name: str) -> None:
    with torch.device("meta"):
        model = SupConResNet(SupConConfig(encoder=published(name)))
    assert (count(model.encoder), count(model.head)) == PARAMETERS[name]
    assert (
        model.encoder.features
        == model.config.encoder.features
        == (512 if "8" in name or "4" in name else 2048)
    )


def test_names_and_shapes_are_those_of_the_public_code() -> None:
    with torch.device("meta"):
        model = SupConResNet(SupConConfig(encoder=published("resnet50"), classes=("a", "b")))
    state = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    wanted = {
        "encoder.conv1.weight": (64, 3, 3, 3),
        "encoder.bn1.running_mean": (64,),
        "encoder.layer1.0.shortcut.0.weight": (256, 64, 1, 1),
        "encoder.layer1.0.shortcut.1.num_batches_tracked": (),
        "encoder.layer4.2.conv3.weight": (2048, 512, 1, 1),
        "head.0.weight": (2048, 2048),
        "head.2.bias": (128,),
        "fc.weight": (2, 2048),
    }
    assert {name: state[name] for name in wanted} == wanted
    assert "encoder.layer1.1.shortcut.0.weight" not in state
    # 53 convolutions with their norms (one weight and five values), two layers in the head, one classifier.
    assert len(state) == 53 * 6 + 4 + 2


def twin(state: dict[str, Tensor], x: Tensor, *, block: str, layers: tuple[int, ...], stem: str) -> Tensor:
    """The network in evaluation mode, from its state dict alone."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)

    if stem == "large":
        x = F.max_pool2d(norm("bn1", conv("conv1", x, 2, 3)).relu(), 3, 2, 1)
    else:
        x = norm("bn1", conv("conv1", x, 1, 1)).relu()
    for stage, blocks in enumerate(layers):
        for place in range(blocks):
            name, stride = f"layer{stage + 1}.{place}", 2 if stage and not place else 1
            if block == "basic":
                y = norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride, 1)).relu()
                y = norm(f"{name}.bn2", conv(f"{name}.conv2", y, 1, 1))
            else:
                y = norm(f"{name}.bn1", conv(f"{name}.conv1", x)).relu()
                y = norm(f"{name}.bn2", conv(f"{name}.conv2", y, stride, 1)).relu()
                y = norm(f"{name}.bn3", conv(f"{name}.conv3", y))
            if f"{name}.shortcut.0.weight" in state:
                x = norm(f"{name}.shortcut.1", conv(f"{name}.shortcut.0", x, stride))
            x = (x + y).relu()
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("stem", ["small", "large"])
@pytest.mark.parametrize("layers", [(1,), (2, 1), (1, 1, 2, 1)])
def test_outputs_are_those_of_the_network_written_out(block: str, stem: str, layers: tuple[int, ...]) -> None:
    network = ResNet(block, (4, 6, 8, 10)[: len(layers)], layers, stem=stem)
    images = torch.randn(3, 3, 40, 33)
    network(images)  # running statistics other than 0 and 1
    network.eval()
    wanted = twin(network.state_dict(), images, block=block, layers=layers, stem=stem)
    torch.testing.assert_close(network(images), wanted, rtol=1e-5, atol=1e-5)
    assert wanted.shape == (3, network.features)


def test_initial_weights() -> None:
    network = ResNet("bottleneck", (32, 64), (2, 2), zero_init=True)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4 and parameter.numel() > 2000:
            fan_out = parameter.shape[0] * parameter.shape[2] * parameter.shape[3]
            assert abs(parameter.std() / (2 / fan_out) ** 0.5 - 1) < 0.08, name
        elif name.endswith("bn3.weight"):
            assert not parameter.any(), name
        elif parameter.ndim == 1:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight")))), name


def test_outputs_and_gradients() -> None:
    model = SupConResNet(small(classes=["a", "b", "c"]))
    images = torch.randn(6, 3, 32, 32)
    projected, embedded = model.project(images), model.embed(images)
    assert projected.shape == (6, 5)
    assert embedded.shape == (6, model.config.encoder.features)
    for rows in (projected, embedded):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(6))
    (projected.sum() + model(images).square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_frozen_encoder_stays_as_it_is() -> None:
    model = SupConResNet(small(classes=["a", "b", "c"]))
    model.freeze_encoder()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        "fc.weight",
        "fc.bias",
    }


@pytest.mark.parametrize("head", ["mlp", "linear", None])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_state_dict_says_its_sizes(head: str | None, block: str) -> None:
    config = small(
        head=head,
        embed_dim=128 if head is None else 5,
        classes=["0", "1"],
        encoder={"block": block, "widths": [4, 6], "layers": [1, 2]},
    )
    model = SupConResNet(config)
    again = from_official(model.state_dict())
    assert again.config == config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    half = from_official(
        {name: v.half() if v.is_floating_point() else v for name, v in model.state_dict().items()}
    )
    assert {v.dtype for v in half.parameters()} == {torch.float32}


def test_names_of_data_parallel_and_torchvision() -> None:
    model = SupConResNet(small(head=None, classes=["0", "1"], encoder={"widths": [4, 6], "layers": [1, 2]}))
    state = model.state_dict()
    parallel = {name.replace("encoder.", "encoder.module."): value for name, value in state.items()}
    torchvision = {
        name.removeprefix("encoder.").replace("shortcut", "downsample"): value
        for name, value in state.items()
    }
    whole = {f"module.{name}": value for name, value in torchvision.items()}
    images = torch.randn(2, 3, 32, 32)
    for form in (parallel, torchvision, whole):
        torch.testing.assert_close(from_official(form).eval()(images), model.eval()(images), rtol=0, atol=0)


def test_the_stem_of_imagenet_is_recognised() -> None:
    large = SupConResNet(small(image_size=224, encoder={"widths": [4, 6], "layers": [1, 2], "stem": "large"}))
    found = from_official(large.state_dict()).config
    assert (found.encoder.stem, found.image_size, found.mean[0]) == ("large", 224, 0.485)
    with pytest.raises(CheckpointError, match="7x7 stem of ImageNet"):
        from_official(large.state_dict(), small())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}, "a classifier alone"),
        ({"encoder_q.conv1.weight": torch.ones(1)}, "state of MoCo"),
        ({"visual.proj": torch.ones(1)}, "not those of a ResNet: there is no encoder.conv1.weight"),
        ({"encoder.conv1.weight": torch.ones(4, 3, 3, 3)}, r"there is no encoder.layer0.0.conv1.\*"),
        ({"epoch": 3}, "more than tensors"),
    ],
)
def test_weights_that_do_not_fit_are_told(state: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_official(state)


def test_a_lacking_weight_is_named() -> None:
    state = SupConResNet(small()).state_dict()
    del state["encoder.layer2.0.shortcut.1.running_var"]
    with pytest.raises(CheckpointError, match=r"1 missing \(encoder.layer2.0.shortcut.1.running_var\)"):
        from_official(state)


def test_convert_official(tmp_path: Path) -> None:
    model = SupConResNet(small(embed_dim=5))
    file, folder = tmp_path / "last.pth", tmp_path / "converted"
    parallel = {name.replace("encoder.", "encoder.module."): v for name, v in model.state_dict().items()}
    options = argparse.Namespace(learning_rate=0.5, lr_decay_epochs=[700, 800])
    torch.save({"opt": options, "model": parallel, "optimizer": {"state": {}}, "epoch": 3}, file)
    done = CliRunner().invoke(app, ["official", "supcon", str(file), str(folder)])
    assert done.exit_code == 0, done.output
    again = load_any(folder)
    assert again.config == model.config
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval().project(images), model.eval().project(images))
    with pytest.raises(CheckpointError, match="is a pickle"):
        load_any(file)
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    assert torch.equal(load_any(tmp_path / "bare.safetensors").eval().embed(images), model.embed(images))


def test_configs_go_through_plain_values() -> None:
    config = SupConConfig(encoder=published("resnet18"), classes=("a", "b"), head=None)
    assert decode(SupConConfig, json.loads(json.dumps(encode(config)))) == config


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("encoder.widths=[4, 8]", "2 stages and encoder.layers 4"),
        ("encoder.layers=[]", "not a list of stages"),
        ("embed_dim=0", "embed_dim = 0 is not positive"),
        ("image_size=4", "below the encoder's stride of 8 px"),
        ("encoder.stem=patch", "encoder.stem"),
        ("std=[0, 1, 1]", "is not positive"),
        ("classes=[a, a]", "two classes have one name"),
        ("heads=mlp", "did you mean 'head'"),
    ],
)
def test_wrong_configs_are_told(setting: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        override(SupConConfig(), [setting])


def test_a_wrong_name_is_told() -> None:
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        published("resnet-50")
    assert ResNetConfig() == published("resnet50")
