"""Batches in turn: each of one data set, the same on all processes, resumed from the step alone."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from visionsmith.data.loader import loader
from visionsmith.data.multiscale import MultiScale, MultiScaleBatches
from visionsmith.data.rounds import RoundBatches, RoundDataset
from visionsmith.data.sampler import RankBatches, ShuffledBatches, VaryingPlan, batch_rows
from visionsmith.errors import ConfigError

RECORDS, ROWS = (20, 12, 32), (4, 6, 8)


def parts() -> list[ShuffledBatches]:
    """Five, two and four batches an epoch, of four, six and eight rows."""
    return [
        ShuffledBatches(range(100 * place, 100 * place + records), rows, seed=place)
        for place, (records, rows) in enumerate(zip(RECORDS, ROWS, strict=True))
    ]


def plan(**settings) -> RoundBatches:
    return RoundBatches(parts(), seed=5, **(settings or {"cycle": (2, 0, 2, 1)}))


def take(made: RoundBatches, count: int, **settings) -> list[list[tuple[int, ...]]]:
    return list(islice(RankBatches(made, **settings), count))


def test_a_cycle_comes_over_and_over_and_each_batch_is_of_one_part() -> None:
    batches = take(plan(), 41)
    assert isinstance(plan(), VaryingPlan)
    for step, batch in enumerate(batches):
        part = (2, 0, 2, 1)[step % 4]
        assert {key[3] for key in batch} == {part}
        assert {key[1] // 100 for key in batch} == {part}
        assert len(batch) == ROWS[part]
    assert [len(batch) for batch in batches] == list(islice(batch_rows(plan()), 41))


@pytest.mark.parametrize("settings", [{"cycle": (2, 0, 2, 1)}, {"weights": (1.0, 2.0, 0.5)}])
def test_each_part_keeps_its_own_epochs(settings: dict) -> None:
    """A naive loop: whenever a part has its turn, its next own batch comes."""
    made = plan(**settings)
    counts = [0, 0, 0]
    for batch in take(made, 3 * len(made) + 5):
        part = batch[0][3]
        own = parts()[part]
        epoch, place = divmod(counts[part], len(own))
        assert [key[1] for key in batch] == own.epoch(epoch)[place].tolist()
        assert {key[2] for key in batch} == {epoch}
        counts[part] += 1
    assert min(counts) > 0


def test_processes_and_parts_share_each_batch() -> None:
    whole = take(plan(), 30)
    shares = [take(plan(), 60, rank=rank, world=2, parts=1) for rank in range(2)]
    for step, batch in enumerate(whole):
        assert [*shares[0][step], *shares[1][step]] == batch
    halves = take(plan(), 60, parts=2)
    assert [halves[2 * step] + halves[2 * step + 1] for step in range(30)] == whole


@pytest.mark.parametrize("settings", [{"cycle": (2, 0, 2, 1)}, {"weights": (1.0, 2.0, 0.5)}])
@pytest.mark.parametrize("start", [1, 7, 20, 33, 64])
def test_a_run_goes_on_from_its_step_alone(settings: dict, start: int) -> None:
    assert take(plan(**settings), 12, start_step=start) == take(plan(**settings), start + 12)[start:]


def test_weights_are_shares_in_the_long_run() -> None:
    made = RoundBatches(parts(), seed=1, weights=(1, 0, 3))
    drawn = Counter(part for epoch in range(200) for part in made.turns(epoch).tolist())
    assert set(drawn) == {0, 2}
    total, expected = drawn.total(), 0.75
    # Five deviations of a binomial.
    assert abs(drawn[2] / total - expected) < 5 * (expected * (1 - expected) / total) ** 0.5
    assert (made.turns(0) != made.turns(1)).any()
    assert (RoundBatches(parts(), seed=2, weights=(1, 0, 3)).turns(0) != made.turns(0)).any()


class Numbers(Dataset):
    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, key):
        assert len(key) == 2
        return self.name, *key


def test_a_sample_is_the_parts_own_at_its_own_epoch() -> None:
    dataset = RoundDataset([Numbers(name) for name in "abc"])
    made = plan()

    def collate(samples):
        assert len({sample[0] for sample in samples}) == 1
        return {"keys": torch.tensor([sample[1:] for sample in samples])}

    for batch, keys in zip(
        islice(loader(dataset, RankBatches(made), collate), 30), take(made, 30), strict=True
    ):
        assert batch["keys"].tolist() == [[own_epoch, index] for _, index, own_epoch, _ in keys]


def test_no_record_twice_in_an_epoch_of_its_part() -> None:
    seen: dict[tuple[int, int], list[int]] = {}
    for batch in take(plan(), 64):
        for _, index, epoch, part in batch:
            seen.setdefault((epoch, part), []).append(index)
    assert len(seen) > 9
    assert all(len(np.unique(indices)) == len(indices) for indices in seen.values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RoundBatches([], cycle=(0,)), "there are no data sets to take turns"),
        (lambda: RoundBatches(parts()), "either a cycle or weights"),
        (lambda: plan(cycle=(0,), weights=(1, 1, 1)), "either a cycle or weights"),
        (lambda: plan(cycle=()), "the cycle has no turns"),
        (lambda: plan(cycle=(0, 3)), "the cycle names part 3 of 3; choose 0 to 2"),
        (lambda: plan(weights=(1, 1)), "2 weights are given for 3 data sets"),
        (lambda: plan(weights=(0, 0, 0)), "the weights 0, 0, 0 cannot be drawn by"),
        (lambda: plan(weights=(1, -1, 1)), "the weights 1, -1, 1 cannot be drawn by"),
        (lambda: plan(weights=(1, float("nan"), 1)), "cannot be drawn by"),
        (lambda: RankBatches(plan(), world=4), "batch_size = 6 is not a multiple of 4 processes"),
        (
            lambda: RoundBatches([MultiScaleBatches(range(500), 4, 0, scales=MultiScale())], cycle=(0,)),
            "a plan of varying batches cannot take turns",
        ),
    ],
)
def test_mistakes(make, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)
