"""Weights made elsewhere: the public re-implementation's and DeepfakeBench's names, and a pretrained Xception."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.papers.f3net.conftest import CONFIG, SMALL
from visionsmith import checkpoint as checkpoints
from visionsmith.cli import main
from visionsmith.errors import CheckpointError
from visionsmith.nn.xception import Xception
from visionsmith.papers.f3net.config import F3NetConfig
from visionsmith.papers.f3net.model import F3Net
from visionsmith.papers.f3net.official import config_from_state, from_official, load_any, start_from_xception

PUBLIC = dataclasses.replace(
    CONFIG,
    form="public",
    mix=False,
    stream=dataclasses.replace(SMALL, strides=(2, 2, 2, 2)),
    decision=F3NetConfig().decision,
)


def public_names(state: Mapping[str, Tensor], wrapped: bool = True) -> dict[str, Tensor]:
    """This project's names as the public re-implementation has them, with what it keeps beside the weights."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith("filters.learned"):
            head = f"{key.partition('.')[0].upper()}_head"
            for band, mask in enumerate(value):
                found[f"{head}.filters.{band}.learnable"] = mask
                found[f"{head}.filters.{band}.base"] = torch.zeros_like(mask)
            found[f"{head}._DCT_all"] = torch.zeros(value.shape[1:])
        elif key.startswith("streams."):
            _, stream, name = key.split(".", 2)
            found[f"{stream.upper()}_xcep.{name}"] = value
        else:
            found[key] = value
    found["LFS_head.filters.0.ft_num"] = torch.tensor(10.0)
    return {f"module.{key}" if wrapped else key: value.clone() for key, value in found.items()}


def pixels() -> Tensor:
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_re_implementations_state_dict(wrapped: bool) -> None:
    model = F3Net(PUBLIC).eval()
    loaded = from_official(public_names(model.state_dict(), wrapped)).eval()
    assert dataclasses.replace(loaded.config, dropout=CONFIG.dropout) == PUBLIC
    with torch.no_grad():
        assert torch.equal(loaded(pixels()), model(pixels()))


def test_deepfakebench_has_two_classes() -> None:
    model = F3Net(dataclasses.replace(PUBLIC, branches="fad")).eval()
    state = {
        key.replace("FAD_xcep.", "backbone."): value
        for key, value in public_names(model.state_dict(), wrapped=False).items()
        if not key.startswith(("fc.", "LFS_"))
    }
    state["backbone.last_linear.1.weight"] = torch.randn(2, 16)
    state["backbone.last_linear.1.bias"] = torch.randn(2)
    state["backbone.adjust_channel.0.weight"] = torch.randn(4, 16, 1, 1)
    loaded = from_official(state).eval()
    with torch.no_grad():
        pooled = loaded.maps(pixels())[0].mean((2, 3))
        two = pooled @ state["backbone.last_linear.1.weight"].T + state["backbone.last_linear.1.bias"]
        torch.testing.assert_close(torch.sigmoid(loaded(pixels())), two.softmax(1)[:, 1])


def test_sizes_are_read_off_the_shapes() -> None:
    for branches in ("both", "fad", "lfs"):
        config = dataclasses.replace(PUBLIC, branches=branches)
        found = config_from_state(F3Net(config).state_dict())
        # LFS alone has no parameter that shows the size of the picture.
        assert found == dataclasses.replace(config, image_size=299 if branches == "lfs" else 48)


def test_a_checkpoint_round_trip(model: F3Net, checkpoint: Path) -> None:
    loaded = load_any(checkpoint).eval()
    assert loaded.config == CONFIG
    with torch.no_grad():
        assert torch.equal(loaded(pixels()), model(pixels()))


@pytest.mark.parametrize("branches", ["both", "rgb"])
def test_a_pretrained_xception_starts_every_stream(branches: str, tmp_path: Path) -> None:
    plain = Xception(3, stem=SMALL.stem, entry=SMALL.entry, middle=2, exit=SMALL.exit)
    state = {key: value for key, value in plain.state_dict().items() if "num_batches" not in key}
    state["fc.weight"], state["fc.bias"] = torch.zeros(10, 16), torch.zeros(10)
    state = {key: v.flatten(1) if key.endswith("pointwise.weight") else v for key, v in state.items()}
    save_file(state, tmp_path / "xception.safetensors")
    model = F3Net(dataclasses.replace(PUBLIC, branches=branches))
    start_from_xception(model, tmp_path / "xception.safetensors")
    gray = torch.rand(1, 1, 40, 40)
    for stream in model.streams.values():
        channels = stream.conv1.weight.shape[1]
        # On the same value in every channel, the repeated and divided kernel puts out what the first did.
        expected = torch.nn.functional.conv2d(gray.repeat(1, 3, 1, 1), plain.conv1.weight)
        found = torch.nn.functional.conv2d(gray.repeat(1, channels, 1, 1), stream.conv1.weight)
        torch.testing.assert_close(found, expected)
        assert torch.equal(stream.block2.rep[1].pointwise.weight, plain.block2.rep[1].pointwise.weight)


def test_convert_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = F3Net(PUBLIC)
    torch.save(public_names(model.state_dict()), tmp_path / "best.pkl")
    with pytest.raises(SystemExit) as stop:
        main(["convert", "official", "f3net", str(tmp_path / "best.pkl"), str(tmp_path / "converted")])
    assert stop.value.code == 0
    assert "parameters of f3net" in capsys.readouterr().out
    assert checkpoints.read(tmp_path / "converted", paper="f3net").config["form"] == "public"
    assert torch.equal(load_any(tmp_path / "converted").fc.weight, model.fc.weight)


def test_what_does_not_fit_gets_a_sentence(tmp_path: Path) -> None:
    state = public_names(F3Net(PUBLIC).state_dict(), wrapped=False)
    with pytest.raises(CheckpointError, match=r"there is no streams\.\*"):
        from_official({"weight": torch.zeros(1)})
    with pytest.raises(
        CheckpointError, match="this looks like a training file: give what it holds under 'state_dict'"
    ):
        from_official({"state_dict": state})  # type: ignore[dict-item]
    del state["fc.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(fc.bias\)"):
        from_official(state)
    save_file({"conv1.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "x.safetensors")
    with pytest.raises(
        CheckpointError, match=r"x.safetensors: the weights do not fit.*give an ImageNet Xception"
    ):
        start_from_xception(F3Net(PUBLIC), tmp_path / "x.safetensors")
