"""The contrastive loss against the double loop of its definition, closed forms and torch's cross entropy."""

import atexit
import gc
import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from visionsmith.errors import ConfigError
from visionsmith.losses.contrastive import (
    ContrastiveOutput,
    clamp_logit_scale_,
    contrastive_loss,
    distributed_contrastive_loss,
)

CHUNKS = [None, 1, 3, 7, 10, 64]


def pairs(
    count: int, width: int = 5, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = (torch.randn(count, width, generator=generator, dtype=dtype) for _ in range(2))
    scale = torch.tensor(1.7, dtype=dtype, requires_grad=True)
    return (
        F.normalize(images, dim=-1).requires_grad_(),
        F.normalize(images + texts, dim=-1).requires_grad_(),
        scale,
    )


def by_hand(images: Tensor, texts: Tensor, logit_scale: Tensor) -> ContrastiveOutput:
    """The definition, number by number."""
    count = len(images)
    score = [
        [
            math.exp(logit_scale.item()) * sum(a * b for a, b in zip(i.tolist(), t.tolist(), strict=True))
            for t in texts
        ]
        for i in images
    ]
    loss = right_images = right_texts = 0.0
    for k in range(count):
        row, column = score[k], [score[j][k] for j in range(count)]
        for line in (row, column):
            loss += (math.log(sum(math.exp(value) for value in line)) - score[k][k]) / (2 * count)
        right_images += all(row[j] < row[k] for j in range(count) if j != k) / count
        right_texts += all(column[j] < column[k] for j in range(count) if j != k) / count
    return ContrastiveOutput(*map(torch.tensor, (loss, right_images, right_texts)))


def usual(images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """The loss as it is usually written."""
    scores = logit_scale.exp() * images @ texts.T
    labels = torch.arange(len(images))
    return (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2


@pytest.mark.parametrize("chunk", CHUNKS)
def test_value_and_accuracies_are_those_of_the_definition(chunk: int | None) -> None:
    inputs = pairs(10)
    expected = by_hand(*inputs)
    output = contrastive_loss(*inputs, chunk=chunk)
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)
    assert 0 < expected.image_accuracy < 1
    assert output.image_accuracy.item() == pytest.approx(expected.image_accuracy.item())
    assert output.text_accuracy.item() == pytest.approx(expected.text_accuracy.item())
    assert not output.image_accuracy.requires_grad
    assert not output.text_accuracy.requires_grad


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_gradients_are_those_of_cross_entropy(
    chunk: int | None, dtype: torch.dtype, tolerance: float
) -> None:
    inputs = pairs(23, 16, dtype=dtype)
    loss, expected = contrastive_loss(*inputs, chunk=chunk).loss, usual(*inputs)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    gradients = zip(
        torch.autograd.grad(3 * loss, inputs), torch.autograd.grad(3 * expected, inputs), strict=True
    )
    for gradient, wanted in gradients:
        torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("chunk", [None, 2, 4])
def test_gradient_is_the_numerical_one(chunk: int | None) -> None:
    assert torch.autograd.gradcheck(lambda *inputs: contrastive_loss(*inputs, chunk=chunk).loss, pairs(5, 3))


@pytest.mark.parametrize("chunk", [None, 4])
def test_orthonormal_pairs_have_a_closed_form(chunk: int | None) -> None:
    features = torch.eye(9, dtype=torch.float64)
    output = contrastive_loss(features, features, torch.tensor(2.0, dtype=torch.float64), chunk=chunk)
    scale = math.exp(2.0)
    assert output.loss.item() == pytest.approx(math.log(math.exp(scale) + 8) - scale, abs=1e-12)
    assert output.image_accuracy == output.text_accuracy == 1


@pytest.mark.parametrize("chunk", [None, 4])
def test_equal_features_say_nothing(chunk: int | None) -> None:
    features = F.normalize(torch.ones(9, 4), dim=-1)
    output = contrastive_loss(features, features, torch.tensor(4.0), chunk=chunk)
    assert output.loss.item() == pytest.approx(math.log(9), abs=1e-5)
    assert output.image_accuracy == output.text_accuracy == 0, "a tie is a miss"


def test_the_hottest_temperature_stays_finite() -> None:
    images = F.normalize(torch.randn(6, 4), dim=-1)
    texts = -images
    for chunk in (None, 4):
        inputs = [tensor.clone().requires_grad_() for tensor in (images, texts, torch.tensor(math.log(100)))]
        loss = contrastive_loss(*inputs, chunk=chunk).loss
        gradients = torch.autograd.grad(loss, inputs)
        torch.testing.assert_close(loss, usual(*inputs))
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_frozen_tower_gets_no_gradient() -> None:
    images, texts, scale = pairs(6)
    contrastive_loss(images.detach(), texts, scale, chunk=4).loss.backward()
    wanted = torch.autograd.grad(usual(images, texts, scale), texts)[0]
    torch.testing.assert_close(texts.grad, wanted)


def test_autocast_does_not_touch_the_scores() -> None:
    images, texts, _ = pairs(40, 32, dtype=torch.float32)
    inputs = (images, texts, torch.tensor(math.log(100), requires_grad=True))
    wanted, wanted_gradients = usual(*inputs), torch.autograd.grad(usual(*inputs), inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for chunk in (None, 7):
            loss = contrastive_loss(*inputs, chunk=chunk).loss
            torch.testing.assert_close(loss, wanted)
            torch.testing.assert_close(
                torch.autograd.grad(loss, inputs), wanted_gradients, rtol=1e-4, atol=1e-5
            )
        assert not torch.allclose(usual(*inputs), wanted, rtol=1e-5), "autocast was not on"


def test_half_precision_features_are_scored_in_single() -> None:
    images, texts, scale = (tensor.detach().bfloat16() for tensor in pairs(12))
    loss = contrastive_loss(images.requires_grad_(), texts, scale).loss
    torch.testing.assert_close(loss, usual(images.float(), texts.float(), scale.float()))
    loss.backward()
    assert images.grad is not None
    assert images.grad.dtype == torch.bfloat16


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation returned, in elements."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.elements = max(
                    self.elements, leaf.numel(), leaf.untyped_storage().nbytes() // leaf.itemsize
                )
        return result


def largest_tensor(count: int, chunk: int | None) -> int:
    images, texts, scale = pairs(count, 16, dtype=torch.float32)
    with Largest() as largest:
        contrastive_loss(images, texts, scale, chunk=chunk).loss.backward()
    return largest.elements


def test_memory_of_the_blocks_is_linear_in_the_batch() -> None:
    assert largest_tensor(512, None) == 512 * 512, "the measurement sees the whole matrix"
    assert [largest_tensor(count, 32) for count in (256, 512, 1024)] == [32 * 256, 32 * 512, 32 * 1024]


def test_refuses_a_chunk_of_no_rows() -> None:
    with pytest.raises(ConfigError, match="chunk = 0"):
        contrastive_loss(*pairs(4), chunk=0)


def test_clamp_is_in_place_and_keeps_what_is_below() -> None:
    scale = nn.Parameter(torch.tensor(5.0))
    clamp_logit_scale_(scale)
    assert scale.item() == pytest.approx(math.log(100))
    assert scale.requires_grad
    clamp_logit_scale_(scale, maximum=1.0)
    assert scale.item() == 1.0
    clamp_logit_scale_(scale)
    assert scale.item() == 1.0


def test_one_process_is_the_plain_loss() -> None:
    inputs = pairs(6)
    for got, wanted in zip(distributed_contrastive_loss(*inputs), contrastive_loss(*inputs), strict=True):
        assert torch.equal(got, wanted)


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image_tower = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        self.text_tower = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            F.normalize(self.image_tower(images), dim=-1),
            F.normalize(self.text_tower(texts), dim=-1),
            self.logit_scale * 1,
        )


WORLD = 2


def train_share(rank: int, rendezvous: str, folder: str) -> None:
    """One process: its share of the batch through DDP; the outcome is left in a file."""
    # DistributedDataParallel keeps the threads of the group, which must not outlive the interpreter.
    atexit.register(gc.collect)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORLD)
    try:
        images, texts = whole_batch()
        share = slice(rank * len(images) // WORLD, (rank + 1) * len(images) // WORLD)
        for chunk in (None, 2):
            model = nn.parallel.DistributedDataParallel(TwoTowers())
            with Largest() as largest:
                output = distributed_contrastive_loss(*model(images[share], texts[share]), chunk=chunk)
                output.loss.backward()
            gradients = [parameter.grad for parameter in model.module.parameters()]
            found = [*output, *gradients, torch.tensor(largest.elements)]
            save_file(
                {f"{place:02}": tensor.detach() for place, tensor in enumerate(found)},
                f"{folder}/{rank}-{chunk}.safetensors",
            )
    finally:
        dist.destroy_process_group()


def whole_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(32, 6, generator=generator), torch.randn(32, 5, generator=generator)


def test_two_processes_train_as_one(tmp_path) -> None:  # type: ignore[no-untyped-def]
    mp.spawn(train_share, args=(str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=WORLD)
    model = TwoTowers()
    alone = contrastive_loss(*model(*whole_batch()))
    alone.loss.backward()
    wanted = [*alone, *(parameter.grad for parameter in model.parameters())]
    for rank in range(WORLD):
        for chunk in (None, 2):
            stored = load_file(tmp_path / f"{rank}-{chunk}.safetensors")
            *found, largest = (stored[name] for name in sorted(stored))
            torch.testing.assert_close(found, [tensor.detach() for tensor in wanted], rtol=0, atol=1e-6)
            assert largest <= 16 * 32 if chunk is None else largest < 16 * 32, "only a process's own rows"
