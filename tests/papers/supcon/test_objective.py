"""The contrastive objective: right positives, exact accumulation, views and wrong labels from their keys alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from tests.papers.supcon.conftest import mini, picture
from visionsmith.data.labelled import Item
from visionsmith.data.sampler import generator
from visionsmith.papers.supcon import ContrastiveObjective, SupConResNet
from visionsmith.papers.supcon.recipes import AugmentConfig
from visionsmith.papers.supcon.views import CropAndFlip, Views, ViewsApart, wrong_labels
from visionsmith.train.step import Stepper, backward
from visionsmith.train.task import BatchCoupled


def model() -> SupConResNet:
    torch.manual_seed(3)
    return SupConResNet(mini().model)


def batch(samples: int = 8, views: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (samples, views, 16, 16, 3), dtype=torch.uint8, generator=generator)
    return {"images": images, "labels": torch.tensor([0, 1, 2, 0, 1, 2, 2, 7])[:samples]}


def by_hand(network: SupConResNet, given: dict[str, Tensor], objective: str, temperature: float) -> Tensor:
    """The loss from single pictures: the encoder in evaluation mode sees one at a time, the sums are loops."""
    config = network.config
    rows, owners = [], []
    for sample, shown in enumerate(given["images"]):
        for view in shown:
            pixels = (view / 255 - torch.tensor(config.mean)) / torch.tensor(config.std)
            rows.append(F.normalize(network.head(network.encoder(pixels.permute(2, 0, 1)[None])), dim=1)[0])
            owners.append(sample)
    labels = [int(given["labels"][owner]) for owner in owners]
    total = torch.zeros(())
    for i in range(len(rows)):
        others = [a for a in range(len(rows)) if a != i]
        key = owners if objective == "simclr" else labels
        positives = [p for p in others if key[p] == key[i]]
        everything = torch.stack([rows[i] @ rows[a] / temperature for a in others]).logsumexp(0)
        scores = torch.stack([rows[i] @ rows[p] / temperature for p in positives])
        if objective == "supcon_in":
            total = total + everything - scores.logsumexp(0) + np.log(len(positives))
        else:
            total = total + everything - scores.mean()
    return total / len(rows)


@pytest.mark.parametrize("objective", ["supcon", "supcon_in", "simclr"])
def test_the_loss_is_that_of_single_pictures(objective: str) -> None:
    network = model().eval()
    tested = ContrastiveObjective(
        network,
        use_labels=objective != "simclr",
        form="in" if objective == "supcon_in" else "out",
        temperature=0.2,
        base_temperature=None,
    ).eval()
    found = tested(batch())
    torch.testing.assert_close(found["loss"], by_hand(network, batch(), objective, 0.2), rtol=1e-5, atol=1e-6)
    with_factor = ContrastiveObjective(
        network, use_labels=objective != "simclr", form=tested.form, temperature=0.2, base_temperature=0.07
    )
    torch.testing.assert_close(with_factor.eval()(batch())["loss"], found["loss"] / 0.07 * 0.2)


def test_alignment_is_the_cosine_of_a_samples_views() -> None:
    tested = ContrastiveObjective(model())
    projected = F.normalize(torch.randn(5, 3, 4), dim=-1)
    pairs = [(0, 1), (0, 2), (1, 2)]
    wanted = torch.stack([(projected[:, a] * projected[:, b]).sum(-1).mean() for a, b in pairs]).mean()
    found = tested.loss(projected, torch.arange(5.0))["alignment"]
    torch.testing.assert_close(found, wanted)
    assert "alignment" not in tested.loss(projected[:, :1], torch.zeros(5))


@pytest.mark.parametrize("use_labels", [True, False])
def test_accumulation_gives_the_gradient_of_the_whole_batch(use_labels: bool) -> None:
    # In evaluation mode, since batch norm sees micro-batches: the coupling through the loss is what is tested.
    accelerator = Accelerator(cpu=True)
    whole = batch()
    gradients = []
    for parts in (
        [whole],
        [{name: value[s] for name, value in whole.items()} for s in (slice(0, 4), slice(4, 8))],
    ):
        tested = ContrastiveObjective(model(), use_labels=use_labels).eval()
        assert isinstance(tested, BatchCoupled)
        stepper = accelerator.prepare(Stepper(tested))
        losses = backward(accelerator, stepper, parts)
        gradients.append({name: p.grad for name, p in tested.named_parameters()} | {"loss": losses["loss"]})
    first, second = gradients
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_views_come_from_their_key_and_differ() -> None:
    view = Views(16, AugmentConfig(views=3))
    image = picture("red", 0, 40)
    first, again, other = (view(image, generator(0, epoch, 5)) for epoch in (1, 1, 2))
    assert first.shape == (3, 16, 16, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])
    assert CropAndFlip(16, AugmentConfig())(image, generator(0, 1, 5)).shape == (16, 16, 3)


def test_crop_and_flip_leaves_colours_alone() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[...] = (200, 30, 90)
    rng = generator(0, 0, 0)
    assert np.array_equal(CropAndFlip(8, AugmentConfig())(image, rng), image[:8, :8])
    strong = Views(8, AugmentConfig(views=40, jitter=1.0, gray=0.5))(image, rng)
    assert (strong[:, 0, 0, 0] == strong[:, 0, 0, 1]).mean() == pytest.approx(0.5, abs=0.25)  # gray ones


def test_views_apart_keep_their_labels() -> None:
    items = [
        Item(np.full((2, 4, 4, 3), 10 * n + np.arange(2)[:, None, None, None], np.uint8), n, (0, n))
        for n in range(3)
    ]
    found = ViewsApart()(items)
    assert found["images"][:, 0, 0, 0].tolist() == [0, 1, 10, 11, 20, 21]
    assert found["labels"].tolist() == [0, 0, 1, 1, 2, 2]


def test_wrong_labels() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 4000)
    train = range(3000)
    found = wrong_labels(labels, train, 0.3, 5, seed=1)
    wrong = found != labels
    assert wrong[3000:].sum() == 0
    assert wrong[:3000].mean() == pytest.approx(0.3, abs=0.03)
    # Evenly over the other classes.
    shift = np.bincount((found - labels)[wrong] % 5, minlength=5)
    assert shift[0] == 0
    assert shift[1:] / wrong.sum() == pytest.approx(np.full(4, 0.25), abs=0.06)
    # More noise keeps the errors of less: a record's draw is its own.
    assert ((found != labels) <= (wrong_labels(labels, train, 0.6, 5, seed=1) != labels)).all()
    assert np.array_equal(found[:50], wrong_labels(labels[:50], range(50), 0.3, 5, seed=1))
    assert np.array_equal(wrong_labels(labels, train, 0.0, 5, seed=1), labels)
    assert not np.array_equal(found, wrong_labels(labels, train, 0.3, 5, seed=2))
