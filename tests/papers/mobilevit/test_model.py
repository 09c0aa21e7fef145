"""Sizes, unfold and fold, transformers' outputs, folding of batch norms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.papers.mobilevit.library import SMALL, library_model
from visionsmith.config import decode, encode, override
from visionsmith.errors import ConfigError, DataError
from visionsmith.papers.mobilevit import MobileViT, MobileViTConfig, fold_batch_norm, from_official, published
from visionsmith.papers.mobilevit.config import PUBLISHED
from visionsmith.papers.mobilevit.model import MobileViTBlock, fold, unfold
from visionsmith.papers.mobilevit.transformers_layout import state_from_transformers

PARAMETERS = {"XXS": 1_272_024, "XS": 2_317_848, "S": 5_578_632}
GIGA_MULTIPLY_ADDS = {"XXS": 0.41, "XS": 1.03, "S": 2.00}


@pytest.fixture(scope="module")
def pair() -> tuple[MobileViT, torch.nn.Module]:
    """The same weights here and in transformers."""
    theirs = library_model(SMALL)
    return from_official(state_from_transformers(theirs.state_dict(), SMALL), SMALL).eval(), theirs


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters(name: str) -> None:
    with torch.device("meta"):
        model = MobileViT(published(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_multiply_adds(name: str) -> None:
    with torch.device("meta"):
        model, images = MobileViT(published(name)).eval(), torch.empty(1, 3, 256, 256)
    # The counter knows attention only where it is written out as products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    assert round(counter.get_total_flops() / 2e9, 2) == GIGA_MULTIPLY_ADDS[name]


def naive_unfold(x: Tensor, patch: int) -> Tensor:
    """Pixel by pixel: sequence (image, row in patch, column in patch), patches row by row."""
    batch, width, height, long = x.shape
    out = torch.empty(batch * patch * patch, (height // patch) * (long // patch), width)
    for image in range(batch):
        for row in range(height):
            for column in range(long):
                sequence = (image * patch + row % patch) * patch + column % patch
                out[sequence, row // patch * (long // patch) + column // patch] = x[image, :, row, column]
    return out


@pytest.mark.parametrize("patch", [1, 2, 3, 4])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_unfold_gathers_pixels_of_equal_place_and_fold_puts_them_back(
    patch: int, memory: torch.memory_format
) -> None:
    for rows, columns in ((1, 1), (1, 3), (2, 2), (3, 5)):
        x = torch.randn(2, 5, rows * patch, columns * patch).contiguous(memory_format=memory)
        tokens = unfold(x, patch)
        assert torch.equal(tokens, naive_unfold(x, patch))
        assert torch.equal(fold(tokens, patch, (rows * patch, columns * patch)), x)


def test_unfold_and_fold_are_one_permutation_each(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    with torch.profiler.profile() as profile:
        fold(unfold(x, 2), 2, (6, 6))
    copies = [event for event in profile.events() if event.name == "aten::copy_"]
    assert len(copies) == 2, "one copy to sequences and one back"


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (96, 160), (48, 80), (65, 33), (37, 250), (20, 24)])
def test_outputs_of_transformers(pair, size: tuple[int, int]) -> None:
    ours, theirs = pair
    images = torch.rand(3, 3, *size)
    with torch.no_grad():
        expected = theirs(images).logits
        torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(fold_batch_norm(ours)(images), expected, atol=1e-5, rtol=1e-5)
    assert expected.std(0).min() > 1e-3, "the answers are to depend on the picture"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_outputs_of_transformers(name: str) -> None:
    config = published(name)
    theirs = library_model(config)
    ours = from_official(state_from_transformers(theirs.state_dict(), config), config).eval()
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images).logits, atol=1e-5, rtol=1e-5)


def test_gradients_of_transformers(pair) -> None:
    ours, theirs = pair
    images = torch.rand(2, 3, 64, 64)
    ours(images).square().sum().backward()
    theirs(images).logits.square().sum().backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    mapped = state_from_transformers(
        {name: expected.get(name, tensor) for name, tensor in theirs.state_dict().items()}, SMALL
    )
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, mapped[name], atol=1e-4, rtol=1e-3, msg=name)
    ours.zero_grad()


def test_folding_keeps_the_model_and_removes_every_batch_norm(pair) -> None:
    model = pair[0]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_batch_norm(model)
    assert not [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not folded.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    images = torch.rand(1, 3, 64, 64)
    kept = images.clone()
    folded(images)
    assert torch.equal(images, kept), "what works in place does not touch the input"
    assert torch.equal(fold_batch_norm(folded)(images), folded(images)), "folding twice changes nothing"


def test_attention_joins_pixels_of_equal_place_in_their_patches(pair) -> None:
    block = next(m for m in pair[0].modules() if isinstance(m, MobileViTBlock))
    x = torch.randn(1, SMALL.widths[0], 8, 8, requires_grad=True)
    fold(block.global_rep(unfold(x, 2)), 2, (8, 8))[0, :, 2, 4].sum().backward()
    touched = x.grad[0].abs().sum(0) > 0
    assert touched[::2, ::2].all()
    assert touched.sum() == 16


def test_dropout_acts_in_training_only() -> None:
    model = MobileViT(SMALL)
    images = torch.rand(4, 3, 32, 32)
    model.train()
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 64, 64),
        torch.zeros(1, 4, 64, 64),
        torch.zeros(1, 3, 0, 64),
        torch.zeros(1, 3, 8, 8).byte(),
    ],
)
def test_what_is_no_batch_of_pictures(images: Tensor) -> None:
    with pytest.raises(DataError, match="no batch of pictures"):
        MobileViT(SMALL)(images)


def test_config_round_trip_and_overrides() -> None:
    for name in PUBLISHED:
        assert decode(MobileViTConfig, encode(published(name))) == published(name)
    assert override(published("XXS"), ["classes=10"]).classes == 10
    assert [published(name).last_channels for name in PUBLISHED] == [320, 384, 640]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("heads=5", "widths: 144 is not a multiple of 5 heads"),
        ("kernel=4", "kernel = 4 is even"),
        ("dropout=1", "dropout = 1.0 is out of range"),
        ("patches=[2, 0, 2]", "patches = 0 is not positive"),
        ("channels=[1, 2]", "channels"),
        ("classes=0", "classes = 0 is not positive"),
        ("expansio=2", "did you mean 'expansion'"),
    ],
)
def test_config_mistakes(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(MobileViTConfig(), [setting])
    assert message in str(caught.value)


def test_unknown_size() -> None:
    with pytest.raises(ConfigError, match="did you mean 'XXS'"):
        published("XXXS")
