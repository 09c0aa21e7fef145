"""The supervised contrastive losses against their definition, the public code's outputs and closed forms."""

import atexit
import gc
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tests.losses.test_contrastive import WORLD, Largest
from torch import Tensor

from visionsmith.errors import ConfigError
from visionsmith.losses.supcon import distributed_supcon_loss, supcon_loss

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden" / "supcon.safetensors"


def batch(
    samples: int = 9, views: int = 2, width: int = 5, *, classes: int = 3, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(samples, views, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (samples,), generator=generator)
    return F.normalize(features, dim=-1).requires_grad_(), labels


def by_hand(features: Tensor, related: Tensor, temperature: float, contrast: str, form: str) -> Tensor:
    """Equations 2 and 3, sum by sum; `related[i, j]` says whether sample j is a positive of sample i."""
    samples, views = features.shape[:2]
    rows = [(sample, view) for view in range(views) for sample in range(samples)]
    anchors = rows if contrast == "all" else rows[:samples]
    total = torch.zeros((), dtype=features.dtype)
    for i in anchors:
        others = [a for a in rows if a != i]
        positives = [p for p in others if related[i[0], p[0]]]
        if not positives:
            continue
        score = {a: features[i] @ features[a] / temperature for a in others}
        everything = sum(score[a].exp() for a in others)
        if form == "out":
            total = total - sum((score[p].exp() / everything).log() for p in positives) / len(positives)
        else:
            total = total - (sum(score[p].exp() / everything for p in positives) / len(positives)).log()
    return total / len(anchors)


def gradient(loss: Tensor, features: Tensor) -> Tensor:
    return torch.autograd.grad(loss, features)[0]


@pytest.mark.parametrize("contrast", ["all", "one"])
@pytest.mark.parametrize("form", ["out", "in"])
@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("chunk", [1, 4, 1024])
def test_value_and_gradient_are_those_of_the_definition(
    contrast: str, form: str, views: int, chunk: int
) -> None:
    features, labels = batch(views=views)
    labels[0] = 99  # alone in its class: with one view it has no positive
    related = labels[:, None] == labels
    wanted = by_hand(features, related, 0.2, contrast, form)
    options = {"temperature": 0.2, "base_temperature": None, "contrast": contrast, "form": form}
    found = supcon_loss(features, labels, **options, chunk=chunk)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient(found, features), gradient(wanted, features), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", ["out", "in"])
def test_a_mask_need_not_be_symmetric(form: str) -> None:
    features, _ = batch()
    mask = torch.rand(9, 9, generator=torch.Generator().manual_seed(1)) < 0.3
    mask[2] = False
    wanted = by_hand(features, mask, 0.2, "all", form)
    found = supcon_loss(features, mask=mask, temperature=0.2, base_temperature=None, form=form, chunk=4)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient(found, features), gradient(wanted, features), rtol=1e-9, atol=1e-12)


def test_low_temperatures_do_not_underflow() -> None:
    # Exponents 2,000 apart: with a common shift whole rows would vanish. Wanted: the same in logarithms and float64.
    features, labels = batch()
    rows = features.transpose(0, 1).flatten(0, 1)
    scores = (rows @ rows.T / 0.001).fill_diagonal_(-math.inf)
    positive = (labels.repeat(2)[:, None] == labels.repeat(2)).fill_diagonal_(False)
    shares = scores - scores.logsumexp(1, keepdim=True)
    wanted = -(shares.where(positive, 0).sum(1) / positive.sum(1)).mean()
    rough = features.detach().float().requires_grad_()
    found = supcon_loss(rough, labels, temperature=0.001, base_temperature=None, chunk=4)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=0)
    slope = gradient(wanted, features)
    assert (gradient(found, rough) - slope).abs().max() < 1e-3 * slope.abs().max()


def test_outputs_of_the_public_code() -> None:
    golden = load_file(GOLDEN)
    features, labels = golden["io/features"], golden["io/labels"]
    checked = 0
    for name in golden:
        kind, _, rest = name.removeprefix("io/").partition("_")
        contrast, _, temperature = rest.partition("_")
        if kind not in ("supcon", "simclr") or contrast not in ("all", "one"):
            continue
        found = supcon_loss(
            features,
            labels if kind == "supcon" else None,
            temperature=float(temperature),
            base_temperature=float(temperature),
            contrast=contrast,
        )
        torch.testing.assert_close(found, golden[name], rtol=0, atol=1e-5)
        checked += 1
    assert checked == 8
    features = features.requires_grad_()
    found = supcon_loss(features, labels, temperature=0.1, base_temperature=0.07)
    torch.testing.assert_close(found, golden["io/supcon_T0.1_base0.07"], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        gradient(found, features), golden["io/supcon_T0.1_base0.07_grad"], rtol=0, atol=1e-5
    )


def test_without_labels_it_is_the_normalised_temperature_cross_entropy() -> None:
    features, _ = batch()
    rows = features.transpose(0, 1).flatten(0, 1)
    scores = (rows @ rows.T / 0.5).fill_diagonal_(-math.inf)
    partners = torch.arange(18).roll(9)
    wanted = F.cross_entropy(scores, partners)
    torch.testing.assert_close(supcon_loss(features, temperature=0.5, base_temperature=None), wanted)


def test_n_pairs_is_the_case_of_one_positive() -> None:
    # N pairs (Sohn 2016, eq. 6): log(1 + sum over wrong partners of exp(a.n - a.p)). The first views are anchors, and
    # their only positive is the second view.
    features, _ = batch(samples=6)
    first, second = features[:, 0], features[:, 1]
    wanted = torch.zeros((), dtype=torch.float64)
    for i in range(6):
        wrong = [*(second[j] for j in range(6) if j != i), *(first[j] for j in range(6) if j != i)]
        gaps = torch.stack([first[i] @ other - first[i] @ second[i] for other in wrong])
        wanted = wanted + torch.log1p(gaps.exp().sum()) / 6
    found = supcon_loss(features, temperature=1.0, base_temperature=None, contrast="one")
    torch.testing.assert_close(found, wanted)


def test_the_triplet_loss_is_its_limit_for_one_positive_and_one_negative() -> None:
    # Section 3.2.3: for unit features L = log(1 + exp((a.n - a.p) / t)), and a.n - a.p = (|a-p|^2 - |a-n|^2) / 2. As t
    # falls, t * L tends to the hinge max(0, (|a-p|^2 - |a-n|^2) / 2), the triplet loss without a margin.
    generator = torch.Generator().manual_seed(2)
    for _ in range(5):
        anchor, positive, negative = F.normalize(
            torch.randn(3, 8, generator=generator, dtype=torch.float64), dim=-1
        )
        features = torch.stack([anchor, positive, negative])[:, None]
        mask = torch.zeros(3, 3)
        mask[0, 1] = 1
        gap = ((anchor - positive).square().sum() - (anchor - negative).square().sum()) / 2
        for temperature in (1.0, 1e-3):
            # One of three anchors has a positive, so the mean is a third of its term.
            found = 3 * supcon_loss(features, mask=mask, temperature=temperature, base_temperature=None)
            torch.testing.assert_close(found, F.softplus(gap / temperature), rtol=1e-6, atol=1e-9)
        assert abs(float(temperature * found - gap.clamp(min=0))) < 1e-3


def test_collapsed_orthogonal_classes_reach_the_floor() -> None:
    # C classes of m rows on orthogonal axes: log((m - 1) e^(1/t) + (C - 1) m) - 1/t.
    classes, members, temperature = 4, 6, 0.3
    features = torch.eye(classes).repeat_interleave(members // 2, 0)[:, None].repeat(1, 2, 1)
    labels = torch.arange(classes).repeat_interleave(members // 2)
    wanted = math.log((members - 1) * math.exp(1 / temperature) + (classes - 1) * members) - 1 / temperature
    found = supcon_loss(features, labels, temperature=temperature, base_temperature=None)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_equal_features_give_the_value_that_users_report() -> None:
    # "The loss is stuck at 8.909": (t / 0.07) log(n - 1) for 512 rows at t = 0.1.
    features = F.normalize(torch.ones(256, 2, 16), dim=-1)
    assert float(supcon_loss(features, torch.arange(256) % 10, temperature=0.1)) == pytest.approx(
        8.909, abs=1e-3
    )


def test_autocast_changes_nothing() -> None:
    features, labels = batch(samples=32, width=64)
    features = features.detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [supcon_loss(features, labels, form=form, temperature=0.07) for form in ("out", "in")]
    for value, form in zip(found, ("out", "in"), strict=True):
        assert torch.equal(value, supcon_loss(features, labels, form=form, temperature=0.07))


@pytest.mark.parametrize("contrast", ["all", "one"])
def test_no_more_than_a_block_of_scores_is_held(contrast: str) -> None:
    features, labels = batch(samples=128, width=4)
    with Largest() as largest:
        supcon_loss(features, labels, contrast=contrast, chunk=16).backward()
    assert 0 < largest.elements <= max(16 * 256, 256 * 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": torch.ones(4, 8)}, "features of shape"),
        ({"features": torch.ones(1, 1, 8)}, "at least two rows"),
        ({"labels": torch.ones(3)}, "labels of shape"),
        ({"labels": torch.ones(4, 1)}, "one label a sample"),
        ({"mask": torch.ones(4, 3)}, "a mask of shape"),
        ({"labels": torch.ones(4), "mask": torch.ones(4, 4)}, "labels and a mask"),
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"base_temperature": -1.0}, "base_temperature = -1.0"),
        ({"chunk": 0}, "chunk = 0"),
    ],
)
def test_mistakes(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        supcon_loss(**({"features": torch.ones(4, 2, 8)} | arguments))


def share_of(rank: int, rendezvous: str, folder: str) -> None:
    """One process: its share of the batch; value and gradient are left in a file."""
    atexit.register(gc.collect)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORLD)
    try:
        found = {}
        for name, options in CASES.items():
            features, labels = batch(samples=8)
            share = slice(rank * 4, rank * 4 + 4)
            own = features[share].detach().requires_grad_()
            given = None if name == "simclr" else labels[share]
            loss = distributed_supcon_loss(own, given, temperature=0.2, chunk=3, **options)
            loss.backward()
            found |= {f"{name}.value": loss.detach(), f"{name}.gradient": own.grad}
        save_file(found, f"{folder}/{rank}.safetensors")
    finally:
        dist.destroy_process_group()


CASES = {
    "all": {},
    "one": {"contrast": "one"},
    "in": {"form": "in"},
    "simclr": {},
    "paper": {"base_temperature": None},
}


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    mp.spawn(share_of, args=(str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=WORLD)
    found = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(WORLD)]
    for name, options in CASES.items():
        features, labels = batch(samples=8)
        wanted = supcon_loss(features, None if name == "simclr" else labels, temperature=0.2, **options)
        for share in found:
            torch.testing.assert_close(share[f"{name}.value"], wanted.detach(), rtol=1e-12, atol=0)
        # Each process's gradient is W times its share of the whole's: the mean over processes cancels W.
        together = torch.cat([share[f"{name}.gradient"] for share in found]) / WORLD
        torch.testing.assert_close(together, gradient(wanted, features), rtol=1e-9, atol=1e-12)
