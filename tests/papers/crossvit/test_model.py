"""CrossViT against the public code's outputs, its published sizes, and the definitions of its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from tests.papers.crossvit.small import SMALL, make
from visionsmith.config import decode, encode, override
from visionsmith.errors import ConfigError, DataError
from visionsmith.papers.crossvit import CrossViT, CrossViTConfig, from_official, published
from visionsmith.papers.crossvit.config import FUSIONS
from visionsmith.papers.crossvit.layers import DropPath

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden"


def read_golden(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        settings = json.loads(stored.metadata()["config"])
    state = {key.removeprefix("state/"): value for key, value in tensors.items() if key.startswith("state/")}
    inputs = {key.removeprefix("io/"): value for key, value in tensors.items() if key.startswith("io/")}
    return state, inputs, settings


@pytest.mark.parametrize("name", ["crossvit", "crossvit_dagger"])
def test_the_public_codes_outputs(name: str) -> None:
    state, io, settings = read_golden(name)
    config = CrossViTConfig(
        image_sizes=tuple(settings["img_size"]),
        patch_sizes=tuple(settings["patch_size"]),
        widths=tuple(settings["embed_dim"]),
        heads=tuple(settings["num_heads"]),
        mlp_ratios=tuple(map(float, settings["mlp_ratio"][:2])),
        depths=tuple((small, large, 1) for small, large, _ in settings["depth"]),
        stem="convolutions" if settings["multi_conv"] else "linear",
        classes=settings["num_classes"],
    )
    model = from_official(state, config).eval()
    assert set(model.state_dict()) == set(state)
    with torch.no_grad():
        logits = model(io["pixels"])
    assert logits.std() > 0.1
    torch.testing.assert_close(logits, io["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_learns(fusion: str) -> None:
    model = make(fusion=fusion).train()
    F.cross_entropy(model(torch.randn(2, 3, 32, 32)), torch.tensor([0, 1])).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("size", [(32, 32), (40, 32), (17, 61), (8, 8)])
def test_pictures_of_any_size(fusion: str, size: tuple[int, int]) -> None:
    model = make(fusion=fusion)
    pixels = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits = model(pixels)
        small, large = model.forward_features(pixels)
        alone = model(pixels[:1])
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    height, width = size
    # The small branch sees three quarters of the sides in patches of 6 px, the large one all in patches of 8 px.
    assert small.shape == (2, 12, max(1, round(height / 8)), max(1, round(width / 8)))
    assert large.shape == (2, 24, max(1, round(height / 8)), max(1, round(width / 8)))
    torch.testing.assert_close(alone, logits[:1], rtol=1e-4, atol=1e-4)


def test_at_the_input_size_nothing_is_interpolated_but_the_smaller_branchs_picture() -> None:
    model = make(image_sizes=[24, 32])
    assert model.positions(0, (4, 4)) is model.pos_embed[0]
    pixels = torch.randn(1, 3, 32, 32)
    tokens = model._embed(pixels)
    resized = F.interpolate(pixels, (24, 24), mode="bicubic")
    wanted = F.conv2d(resized, model.patch_embed[0].proj.weight, model.patch_embed[0].proj.bias, stride=6)
    torch.testing.assert_close(tokens.small[:, 1:] - model.pos_embed[0][:, 1:], wanted.flatten(2).mT)


@pytest.mark.parametrize("grid", [(16, 12), (5, 4), (2, 3)])
def test_positions_on_another_grid_are_those_of_a_cubic_resize(grid: tuple[int, int]) -> None:
    model = make()
    learned = model.pos_embed[0].detach()
    found = model.positions(0, grid)
    assert torch.equal(found[:, 0], learned[:, 0])
    picture = learned[0, 1:].view(4, 4, 12).numpy()
    wanted = cv2.resize(picture, grid[::-1], interpolation=cv2.INTER_CUBIC)
    torch.testing.assert_close(found[0, 1:].view(*grid, 12), torch.from_numpy(wanted), rtol=0, atol=1e-4)


def test_feature_maps_are_the_patches_in_rows() -> None:
    """A change of the picture's lower right corner changes that corner of the maps most, when nothing is mixed."""
    model = make(depths=[[1, 1, 1]], fusion="none")
    for name, parameter in model.named_parameters():
        if ".attn.proj" in name:
            nn.init.zeros_(parameter)  # tokens do not see each other
    pixels = torch.randn(1, 3, 48, 32)
    changed = pixels.clone()
    changed[:, :, 40:, 24:] += 1
    for before, after in zip(model.forward_features(pixels), model.forward_features(changed), strict=True):
        difference = (before - after).abs().sum(dim=1)[0]
        assert difference[-1, -1] > 0.1
        # Bicubic resizing reaches two pixels into the neighbours, no further.
        assert difference[:-2].max() < 1e-6
        assert difference[:, :-2].max() < 1e-6


@pytest.mark.parametrize("fusion", FUSIONS)
def test_where_the_class_tokens_look(fusion: str) -> None:
    model = make(fusion=fusion)
    pixels = torch.randn(2, 3, 40, 32)
    found = model.attention_of_class_token(pixels)
    assert [maps.shape for maps in found.own] == [(2, 5, 4), (2, 5, 4)]
    assert (found.other is None) == (fusion != "cross_attention")
    for maps in (*found.own, *(found.other or ())):
        torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.ones(2))
        assert maps.min() >= 0
    # The same by hooks: the tokens that the last block and the last fusion were given.
    seen: dict[str, Tensor] = {}
    block = model.blocks[-1].blocks[1][-1]
    block.attn.register_forward_pre_hook(lambda _, inputs: seen.update(block=inputs[0]))
    if fusion == "cross_attention":
        model.blocks[-1].fusion[1].attn.register_forward_pre_hook(
            lambda _, inputs: seen.update(fusion=inputs[0])
        )
    with torch.no_grad():
        model(pixels)
    query, key, _ = block.attn.qkv(seen["block"]).view(2, 21, 3, 4, 6).permute(2, 0, 3, 1, 4)
    weights = (query[:, :, :1] @ key.mT / 6**0.5).softmax(-1).mean(1)[:, 0, 1:]
    torch.testing.assert_close(found.own[1].flatten(1), weights / weights.sum(1, keepdim=True))
    if found.other is not None:
        weights = model.blocks[-1].fusion[1].attn.weights(seen["fusion"])[:, 1:]
        torch.testing.assert_close(found.other[1].flatten(1), weights / weights.sum(1, keepdim=True))


def test_new_heads_for_other_classes() -> None:
    model = make()
    pixels = torch.randn(2, 3, 32, 32)
    before = model.forward_features(pixels)
    model.reset_classifier(3)
    assert model(pixels).shape == (2, 3)
    assert model.config.classes == 3
    for old, new in zip(before, model.forward_features(pixels), strict=True):
        assert torch.equal(old, new)
    with pytest.raises(ConfigError, match=r"classes = 0 is not positive"):
        model.reset_classifier(0)


def test_gradient_checkpointing_gives_the_same_gradient() -> None:
    model = make().train()
    pixels, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 3])
    F.cross_entropy(model(pixels), labels).backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model.gradient_checkpointing = True
    runs = []
    model.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    F.cross_entropy(model(pixels), labels).backward()
    assert len(runs) == 2
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_drop_path_leaves_out_a_share_of_the_samples_and_keeps_the_mean() -> None:
    drop = DropPath(0.25)
    x = torch.ones(4000, 3, 2)
    found = drop(x)
    per_sample = found.flatten(1)
    assert ((per_sample == per_sample[:, :1]).all(dim=1)).all()
    assert (per_sample[:, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert found.mean() == pytest.approx(1.0, abs=0.04)
    assert torch.equal(drop.eval()(x), x)


def test_drop_path_rises_with_depth_as_in_the_public_code() -> None:
    model = CrossViT(override(SMALL, {"drop_path": 0.3, "depths": [[1, 3, 1], [1, 2, 1]]}))
    found = {name: module.share for name, module in model.named_modules() if isinstance(module, DropPath)}
    wanted = torch.linspace(0, 0.3, 5).tolist()
    large = [
        found[f"blocks.{stage}.blocks.1.{place}.drop_path"]
        for stage, place in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))
    ]
    assert large == pytest.approx(wanted)
    # The small branch begins anew in each stage; fusion takes the last share of its stage.
    assert found["blocks.0.blocks.0.0.drop_path"] == 0
    assert found["blocks.1.blocks.0.0.drop_path"] == pytest.approx(wanted[3])
    assert found["blocks.0.fusion.0.drop_path"] == pytest.approx(wanted[2])
    assert found["blocks.1.fusion.1.drop_path"] == pytest.approx(wanted[4])


@pytest.mark.parametrize("patches", [(8, 16), (12, 16), (12, 8)])
def test_the_stem_of_convolutions_gives_one_token_a_patch(patches: tuple[int, int]) -> None:
    model = make(stem="convolutions", patch_sizes=list(patches), image_sizes=[4 * patches[0], 4 * patches[1]])
    small, large = model.forward_features(torch.randn(1, 3, model.config.input_size, model.config.input_size))
    assert small.shape[2:] == large.shape[2:] == (4, 4)


@pytest.mark.parametrize("std", [0.02, None])
def test_new_weights_spread_as_configured(std: float | None) -> None:
    model = CrossViT(override(SMALL, {"widths": [48, 96], "init_std": std}))
    for name in ("blocks.0.blocks.1.0.mlp.fc1", "blocks.0.blocks.1.0.mlp.fc2", "blocks.1.fusion.0.attn.wk"):
        weight = model.get_parameter(f"{name}.weight").detach()
        wanted = weight.shape[1] ** -0.5 if std is None else std
        # Cut off at +-2, which matters to neither.
        assert weight.std() == pytest.approx(wanted, rel=0.05)
        assert not model.get_parameter(f"{name}.bias").any()


def test_half_precision_stays_near() -> None:
    model = make()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        exact = model(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(pixels)
    assert (exact - rough).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 7, 40), r"a picture of 40 x 7 px is smaller than a patch of 8 px; give larger pictures"),
        ((1, 1, 32, 32), r"shape \(1, 1, 32, 32\); give b x 3 x height x width"),
        ((3, 32, 32), r"shape \(3, 32, 32\); give b x 3 x height x width"),
    ],
)
def test_pictures_that_cannot_be_taken(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_sizes": [25, 32]},
            r"image_sizes: 25 of the small branch is not a multiple of its patch_sizes 6",
        ),
        ({"widths": [12, 25]}, r"widths: 25 of the large branch is not a multiple of its heads 4"),
        ({"heads": [0, 4]}, r"heads = \(0, 4\) is not positive"),
        ({"depths": []}, r"has an empty stage"),
        ({"depths": [[1, 0, 1]]}, r"has an empty stage; give \(small, large, fusion\) of at least 1 each"),
        ({"drop_path": 1.0}, r"drop_path = 1.0 is out of range"),
        ({"init_std": 0.0}, r"init_std = 0.0 is not positive"),
        ({"classes": 0}, r"classes = 0 is not positive"),
        ({"mlp_ratios": [0.01, 1]}, r"leaves the small branch no hidden layer"),
        ({"stem": "convolutions"}, r"has no strides for 6 px; choose among \[8, 12, 16\], or stem=linear"),
        ({"fusion": "pairwise", "depths": [[1, 1, 2]]}, r"fusion = 'pairwise' has one round a stage"),
        ({"fusion": "cross"}, r"fusion = 'cross'"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(SMALL, changes)


def test_the_config_survives_yaml_and_json() -> None:
    config = override(published("15-dagger-384"), {"fusion": "pairwise", "drop_path": 0.1})
    assert decode(CrossViTConfig, encode(config)) == config


def test_a_name_that_is_not_published() -> None:
    with pytest.raises(
        ConfigError, match=r"there is no published CrossViT '15-dager'; did you mean '15-dagger'"
    ):
        published("15-dager")
