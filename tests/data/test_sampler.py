"""Order and content are functions of (seed, epoch, index): the same at any number of workers and processes."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from visionsmith.data.loader import loader
from visionsmith.data.sampler import GroupedBatches, OrderedBatches, RankBatches, ShuffledBatches, generator
from visionsmith.errors import ConfigError


class Draws(Dataset):
    """A sample that is its key and a random number of its own stream."""

    def __getitem__(self, key):
        epoch, index = key
        return epoch, index, generator(7, epoch, index).random()


def collate(samples):
    return {"rows": torch.tensor(samples, dtype=torch.float64)}


def rows(workers: int, batches: int = 12, **options) -> torch.Tensor:
    made = loader(Draws(), RankBatches(ShuffledBatches(range(50), 8, 1), **options), collate, workers=workers)
    return torch.cat([batch["rows"] for batch in islice(made, batches)])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_workers_change_neither_order_nor_content() -> None:
    alone = rows(0)
    assert len(alone) == 96
    for workers in (1, 2):
        assert torch.equal(rows(workers), alone), f"{workers} workers"


@pytest.mark.parametrize(("world", "parts"), [(2, 1), (4, 1), (2, 2), (1, 4)])
def test_processes_and_parts_cut_the_same_batches(world: int, parts: int) -> None:
    whole = rows(0, batches=12).reshape(12, 8, 3)
    own = [
        rows(0, batches=12 * parts, rank=rank, world=world, parts=parts).reshape(12, -1, 3)
        for rank in range(world)
    ]
    assert torch.equal(torch.cat(own, dim=1), whole)


def test_starting_at_a_step_skips_exactly_what_was_used() -> None:
    whole = rows(0, batches=15).reshape(15, 8, 3)
    for start in (1, 5, 6, 7, 13):  # an epoch has six batches
        assert torch.equal(rows(0, batches=2, start_step=start).reshape(2, 8, 3), whole[start : start + 2]), (
            start
        )


def test_every_sample_has_its_own_random_stream() -> None:
    found = rows(0, batches=18)
    assert len(found[:, 2].unique()) == len(found)


def test_an_epoch_has_every_record_once() -> None:
    plan = ShuffledBatches(range(100, 124), 8, seed=0)
    first, second = plan.epoch(0), plan.epoch(1)
    assert sorted(first.ravel()) == sorted(second.ravel()) == list(range(100, 124))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, ShuffledBatches(range(100, 124), 8, seed=0).epoch(0))
    assert not np.array_equal(first, ShuffledBatches(range(100, 124), 8, seed=1).epoch(0))


def test_grouped_batches_hold_groups_and_no_record_twice() -> None:
    groups = [list(range(start, start + 10)) for start in range(0, 200, 10)] + [
        [index] for index in range(200, 300)
    ]
    plan = GroupedBatches(groups, 40, seed=0, share=0.5, take=5)
    found = plan.epoch(3)
    assert found.shape == (7, 40)
    assert np.array_equal(found, GroupedBatches(groups, 40, seed=0, share=0.5, take=5).epoch(3))
    for batch in found:
        assert len(set(batch)) == 40
        tail = batch[20:] // 10  # drawn by groups of five
        assert len(set(tail)) <= 6
    plain = ShuffledBatches(range(300), 40, seed=0).epoch(3)[0][20:] // 10
    assert len(set(plain)) > 8, "the check above could not fail otherwise"


def test_grouped_batches_fill_up_when_groups_run_out() -> None:
    plan = GroupedBatches([[0, 1], [2], [3], [4], [5]], 5, seed=0, share=0.8)
    for batch in plan.epoch(0):
        assert len(set(batch)) == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShuffledBatches(range(5), 8, 0), "batch_size = 8 is larger than the data set of 5 records"),
        (lambda: ShuffledBatches(range(5), 0, 0), "batch_size = 0 is not positive"),
        (
            lambda: RankBatches(ShuffledBatches(range(50), 10, 0), world=4),
            "batch_size = 10 is not a multiple of 4",
        ),
        (lambda: GroupedBatches([[1, 2]], 2, 0, share=1.0), "share of grouped rows = 1.0 is out of range"),
    ],
)
def test_mistakes(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_data_made_on_the_way_come_in_order_and_anew() -> None:
    plan = OrderedBatches(11, 4)
    assert len(plan) == 2
    keys = [key for batch in islice(RankBatches(plan), 4) for key in batch]
    assert keys == [(epoch, index) for epoch in (0, 1) for index in range(8)]
    with pytest.raises(ConfigError, match="larger than the data set"):
        OrderedBatches(3, 4)
