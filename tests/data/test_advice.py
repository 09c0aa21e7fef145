"""Loading advice: planted cases with known answers, closed forms, and torch itself as the oracle."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from visionsmith.data.advice import advise
from visionsmith.data.advice.batches import batch_norm_error, dropped, last_batch, neighbours
from visionsmith.data.advice.classes import Pictures, balance, read_pictures
from visionsmith.data.cache import cache_folder
from visionsmith.data.records import RecordStore, pack
from visionsmith.data.sample import Sample
from visionsmith.data.sampler import ShuffledBatches
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import encode_png
from visionsmith.losses.contrastive import contrastive_loss


def noise(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def make_store(path: Path, samples: list[Sample]) -> RecordStore:
    pack(samples, path)
    return RecordStore(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordStore:
    """Forty small pictures that all differ."""
    samples = [Sample(f"{number:02}", encode_png(noise(24, number))) for number in range(40)]
    return make_store(tmp_path_factory.mktemp("advice") / "small.records", samples)


def classes(*counts: int) -> Pictures:
    """Pictures sorted by class."""
    codes = np.repeat(np.arange(len(counts)), counts)
    return Pictures(
        list(range(len(codes))), 0, "label", [f"class {code}" for code in range(len(counts))], codes
    )


# --- the last batch ---


@pytest.mark.parametrize(
    ("records", "batch"), [(100, 32), (97, 32), (96, 32), (33, 32), (32, 32), (257, 256)]
)
def test_the_last_batch_is_what_torch_yields_last(records: int, batch: int) -> None:
    sizes = [len(rows) for rows in DataLoader(range(records), batch_size=batch)]
    found = last_batch(records, batch)
    assert found.full == sizes.count(batch)
    assert found.size == (sizes[-1] if sizes[-1] < batch else 0)
    assert (found.weight is None) == (found.size == 0)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batch_norm_says_what_torch_says(size: int) -> None:
    layer = torch.nn.BatchNorm1d(1)
    if size > 1:
        layer(torch.randn(size, 1))
        assert batch_norm_error(size) is None
        return
    with pytest.raises(ValueError, match="more than 1 value per channel") as raised:
        layer(torch.randn(size, 1))
    assert batch_norm_error(size) == str(raised.value)
    assert last_batch(33, 32).error == str(raised.value)
    # What the sentence about maps says: one picture is enough where a map has several pixels.
    torch.nn.BatchNorm2d(1)(torch.randn(1, 1, 2, 2))


def test_weight_and_noise_of_a_small_batch() -> None:
    found = last_batch(16 * 5 + 4, 16)
    assert (found.size, found.weight, found.noise) == (4, 4.0, 2.0)
    gradients = []
    for size in (4, 16):
        values = torch.ones(size, requires_grad=True)
        values.mean().backward()
        gradients.append(float(values.grad[0]))
    assert gradients[0] / gradients[1] == found.weight
    draws = np.random.default_rng(0).standard_normal((20_000, 16))
    assert draws[:, :4].mean(axis=1).std() / draws.mean(axis=1).std() == pytest.approx(found.noise, rel=0.03)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_contrastive_loss_at_chance_is_the_projects_own(size: int) -> None:
    features = torch.nn.functional.normalize(torch.ones(size, 8), dim=1).requires_grad_()
    loss = contrastive_loss(features, features.detach(), torch.tensor(2.0)).loss
    loss.backward()
    assert float(loss.detach()) == pytest.approx(last_batch(64 + size, 64).loss_at_chance, abs=1e-6)
    if size == 1:
        assert features.grad.abs().max() == 0, "one pair teaches nothing"


def test_neighbours_are_the_best_of_all_within_a_quarter() -> None:
    for records, batch in ((3953, 256), (1000, 37), (100, 100), (258, 256), (7, 1)):
        better = [
            size
            for size in range(1, records + 1)
            if abs(size - batch) <= batch / 4 and records % size < records % batch
        ]
        found = neighbours(records, batch)
        assert len(found) == min(3, len(better))
        assert [rest for _, rest in found] == sorted(records % size for size in better)[:3]
        assert all(size in better and records % size == rest for size, rest in found)
    assert neighbours(258, 256)[0] == (258, 0)


# --- what dropping it loses ---


def test_sorted_data_lose_the_last_class() -> None:
    pictures = classes(10, 10, 5)
    plan = ShuffledBatches(range(25), 10, 0)
    found = dropped(plan, pictures, epochs=1)
    kept = {int(row) for rows in DataLoader(range(25), batch_size=10, drop_last=True) for row in rows}
    lost = Counter(int(pictures.codes[row]) for row in set(range(25)) - kept)
    assert {entry["class"]: entry["at_the_end"] for entry in found.by_class} == {
        f"class {code}": lost[code] for code in range(3)
    }
    assert found.by_class[0] == {"class": "class 2", "pictures": 5, "expected": 1.0, "at_the_end": 5}
    assert (found.samples, found.share) == (5, 0.2)


def test_expected_losses_are_those_of_many_epochs() -> None:
    pictures = classes(10, 10, 5)
    plan = ShuffledBatches(range(25), 10, 0)
    lost: Counter[int] = Counter()
    for epoch in range(2000):
        lost.update(pictures.codes[sorted(set(range(25)) - set(plan.epoch(epoch).ravel()))].tolist())
    for entry in dropped(plan, pictures, 1).by_class:
        code = pictures.names.index(entry["class"])
        assert lost[code] / 2000 == pytest.approx(entry["expected"], rel=0.06)


def test_samples_that_no_epoch_has_seen() -> None:
    plan = ShuffledBatches(range(500), 300, 0)
    pictures = Pictures(list(range(500)), 0, None, [], None)
    for epochs in (1, 2, 3):
        unseen = set(range(500)).difference(*(plan.epoch(epoch).ravel().tolist() for epoch in range(epochs)))
        found = dropped(plan, pictures, epochs)
        assert found.never_measured == len(unseen)
        assert found.never_expected == pytest.approx(500 * 0.4**epochs)
        assert abs(found.never_measured - found.never_expected) <= 0.3 * found.never_expected
        assert found.by_class == []


# --- classes ---


def test_balance_is_what_a_naive_count_gives() -> None:
    pictures = classes(60, 30, 7, 2, 1)
    plan = ShuffledBatches(range(100), 16, 3)
    found = balance(plan, pictures, epochs=4)
    batches = [[pictures.codes[row] for row in batch] for epoch in range(4) for batch in plan.epoch(epoch)]
    missing = [1 - len(set(batch)) / 5 for batch in batches]
    assert found.batches == len(batches) == 24
    assert found.missing_measured == pytest.approx(sum(missing) / len(missing))
    chances = [Fraction(math.comb(100 - n, 16), math.comb(100, 16)) for n in (60, 30, 7, 2, 1)]
    assert found.missing_expected == pytest.approx(float(sum(chances) / 5), rel=1e-9)
    for entry, code in ((found.largest, 0), (found.smallest, 4)):
        counts = [batch.count(code) for batch in batches]
        assert (entry.fewest, entry.most) == (min(counts), max(counts))
        assert entry.mean == pytest.approx(sum(counts) / len(counts))
    assert (found.largest.expected, found.smallest.expected, found.ratio) == (9.6, 0.16, 60)


def test_balance_of_a_whole_epoch_in_one_batch_misses_nothing() -> None:
    found = balance(ShuffledBatches(range(6), 6, 0), classes(3, 2, 1), 1)
    assert (found.missing_expected, found.missing_measured) == (0.0, 0.0)
    assert balance(ShuffledBatches(range(6), 3, 0), Pictures(list(range(6)), 0, None, [], None), 1) is None


def test_where_classes_come_from(tmp_path: Path) -> None:
    image = encode_png(noise(4))
    read = partial(read_pictures, label=None, name="data")

    def made(name: str, samples: list[Sample]) -> RecordStore:
        return make_store(tmp_path / name, samples)

    by_field = made(
        "field", [Sample("a/0", image, meta={"label": 3}), Sample("b/1", image, meta={"label": "x"})]
    )
    found = read(by_field)
    assert (found.class_from, found.names, found.codes.tolist()) == ("label", ["3", "x"], [0, 1])
    partly = made(
        "partly",
        [Sample("a/0", image, meta={"label": 3}), Sample("a/1", image), Sample("b/2", image), Sample("c/3")],
    )
    found = read(partly)
    assert (found.class_from, found.names, found.codes.tolist()) == (
        "folder of the key",
        ["a", "b"],
        [0, 0, 1],
    )
    assert (found.indices, found.without) == ([0, 1, 2], 1)
    found = read(partly, label="label")
    assert (found.names, found.codes.tolist()) == (["3", "(none)"], [0, 1, 1])
    assert read(made("none", [Sample("0", image), Sample("1", image)])).class_from is None
    with pytest.raises(DataError, match="no picture has the field 'lable'; did you mean 'label'"):
        read(by_field, label="lable")
    with pytest.raises(DataError, match="the records have no metadata"):
        read(RecordStore(tmp_path / "none"), label="kind")
    with pytest.raises(DataError, match="data: has no picture"):
        read(made("empty", [Sample("0", caption="text")]))


# --- all of it ---


def test_a_folder_is_packed_for_the_time_of_the_measurement(tmp_path: Path) -> None:
    for number in range(9):
        folder = tmp_path / "pets" / ("cat" if number < 6 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encode_png(noise(16, number)))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = advise(tmp_path / "pets", batch_size=4, workers=0, size=8, seconds=0.05)
    assert (found.packed, found.pictures, found.left_out) == (True, 9, 1)
    assert not list(cache_folder().glob("advise-*"))
    assert found.last.size == 1
    assert "Expected more than 1 value per channel" in found.last.error
    assert [(entry["class"], entry["at_the_end"]) for entry in found.dropped.by_class] == [
        ("dog", 1),
        ("cat", 0),
    ]
    assert found.balance.class_from == "folder of the key"
    assert found.recommended_batch_size == 3, "one ninth would be left out of an epoch; 3 leaves nothing"
    assert found.step_milliseconds == pytest.approx(4e3 / found.loading.speeds[0].samples_per_second)
    (tmp_path / "broken").mkdir()
    (folder / "broken.png").rename(tmp_path / "broken" / "0.png")
    with pytest.raises(DataError, match=r"broken: none of the 1 samples can be stored"):
        advise(tmp_path / "broken", workers=0)
    assert not list(cache_folder().glob("advise-*"))


def test_the_settings_are_those_of_training(tmp_path: Path) -> None:
    from visionsmith.config import override
    from visionsmith.papers.clip.recipes import tiny

    image = encode_png(noise(8))
    made = make_store(tmp_path / "store", [Sample(str(number), image) for number in range(8)])
    found = advise(made.path, batch_size=8, workers=0, size=8, seconds=0.05)
    recipe = override(tiny(), found.settings)
    assert (recipe.train.workers, recipe.train.batch_size) == (0, 8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"workers": -1}, "workers = -1 is out of range; choose 0 or more"),
        ({"batch_size": 0}, "batch_size = 0 is out of range"),
        (
            {"batch_size": 41},
            "batch_size = 41 is larger than the data set of 40 records; set batch_size to at most 40",
        ),
        ({"size": 0}, "size = 0 is out of range"),
        ({"epochs": 0}, "epochs = 0 is out of range"),
        ({"seconds": 0.0}, "seconds = 0.0 is out of range"),
        ({"seconds": math.nan}, "seconds = nan is out of range"),
    ],
)
def test_numbers_out_of_range(store: RecordStore, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        advise(store.path, **{"batch_size": 8, "workers": 0, "size": 8, "seconds": 0.05, **changes})
