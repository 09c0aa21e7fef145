"""Batches at several sizes: the published table, lock-step, resuming from the step alone, any data set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from tests.data.multiscale_launch import PICTURES, toy_task
from tests.train.toys import toy_config
from visionsmith import checkpoint
from visionsmith.data.loader import loader
from visionsmith.data.multiscale import MultiScale, MultiScaleBatches, SizedDataset
from visionsmith.data.sampler import RankBatches, ShuffledBatches, VaryingPlan, batch_rows, generator
from visionsmith.errors import ConfigError
from visionsmith.train.loop import fit
from visionsmith.train.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
SCALES = MultiScale(size=64, lowest=32, highest=96, count=3, multiple=16, divisor=4)


def plan(
    records: int = 500, batch_size: int = 16, seed: int = 3, scales: MultiScale = SCALES
) -> MultiScaleBatches:
    return MultiScaleBatches(range(records), batch_size, seed, scales=scales)


def take(made: MultiScaleBatches, count: int, **options) -> list[list[tuple[int, ...]]]:
    return list(islice(RankBatches(made, **options), count))


def test_published_sizes_and_batches() -> None:
    # Computed by the published code for 256 px and 128 pictures a process.
    assert MultiScale().rows(128) == {160: 327, 192: 227, 256: 128, 288: 101, 320: 81}
    eight = MultiScale(divisor=8).rows(1024)
    assert eight == {size: 8 * rows for size, rows in MultiScale().rows(128).items()}


def test_a_batch_has_about_the_pixels_of_the_base_batch() -> None:
    for scales in (MultiScale(), MultiScale(size=224, lowest=96, highest=512, count=9), SCALES):
        for size, rows in scales.rows(256).items():
            assert size % scales.multiple == 0
            assert 256 * scales.size**2 - scales.divisor * size**2 < rows * size**2 <= 256 * scales.size**2


def test_an_epoch_has_every_record_and_a_batch_none_twice() -> None:
    made = plan()
    for epoch in range(5):
        lengths, marks, rows = made.lengths(epoch), made.marks(epoch), made.epoch(epoch)
        assert len(lengths) == len(marks)
        assert sum(lengths) == len(rows)
        assert set(rows) == set(range(500))
        assert len(rows) - 500 < lengths[-1], "a batch too many"
        by_size = SCALES.rows(16)
        for batch, length, (size,) in zip(
            np.split(rows, np.cumsum(lengths)[:-1]), lengths, marks, strict=True
        ):
            assert len(batch) == length == by_size[size]
            assert len(set(batch)) == length
    assert len({len(made.lengths(epoch)) for epoch in range(20)}) > 1, (
        "epochs differ in their number of batches"
    )


def test_sizes_are_drawn_alike_and_apart_from_the_order() -> None:
    drawn = Counter(size for epoch in range(400) for (size,) in plan().marks(epoch))
    expected = sum(drawn.values()) / 3
    assert (
        sum((count - expected) ** 2 / expected for count in drawn.values()) < 13.8
    )  # chi-squared, p = 0.001
    assert plan(seed=1).marks(0) != plan(seed=2).marks(0)
    assert plan().marks(0) != plan().marks(1)


def test_processes_and_parts_cut_the_same_batches() -> None:
    whole = take(plan(), 60)
    for world, parts in ((2, 1), (4, 1), (2, 2), (1, 4)):
        own = [take(plan(), 60 * parts, rank=rank, world=world, parts=parts) for rank in range(world)]
        for number, batch in enumerate(whole):
            mine = [[len(micro) for micro in ours[number * parts : (number + 1) * parts]] for ours in own]
            assert mine == [[len(batch) // world // parts] * parts] * world
            pieces = [
                key for ours in own for micro in ours[number * parts : (number + 1) * parts] for key in micro
            ]
            assert pieces == batch
            assert len({size for _, _, size in pieces}) == 1


def test_starting_at_a_step_skips_exactly_what_was_used() -> None:
    made = plan()
    first = len(made.lengths(0))
    whole = take(made, 90)
    assert whole[first - 1][0][0] == 0
    assert whole[first][0][0] == 1
    for start in (1, first - 1, first, first + 1, 50, 80):
        assert take(plan(), 3, start_step=start) == whole[start : start + 3]
        assert list(islice(batch_rows(plan(), start), 40)) == [
            len(batch) for batch in take(plan(), 40, start_step=start)
        ]


def test_plans_of_one_size_count_their_rows() -> None:
    fixed = ShuffledBatches(range(50), 8, 0)
    assert not isinstance(fixed, VaryingPlan)
    assert isinstance(plan(), VaryingPlan)
    assert list(islice(batch_rows(fixed, 5), 9)) == [8] * 9


class Squares(Dataset):
    """A sample is a picture of its index, plus a random number of its own stream."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, key):
        epoch, index = key
        return np.full((self.size, self.size), index), generator(7, epoch, index).random()


def collate(samples):
    pictures, draws = zip(*samples, strict=True)
    return {
        "pictures": torch.from_numpy(np.stack(pictures)),
        "draws": torch.tensor(draws, dtype=torch.float64),
    }


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_any_data_set_at_several_sizes_and_any_number_of_workers() -> None:
    dataset = SizedDataset(Squares, SCALES.sizes)
    keys = take(plan(), 12)
    alone = list(islice(loader(dataset, RankBatches(plan()), collate), 12))
    spread = list(islice(loader(dataset, RankBatches(plan()), collate, workers=2), 12))
    assert len({batch["pictures"].shape for batch in alone}) == 3
    for batch, other, own in zip(alone, spread, keys, strict=True):
        assert batch["pictures"].shape == (len(own), own[0][2], own[0][2])
        assert batch["pictures"][:, 0, 0].tolist() == [index for _, index, _ in own]
        # A sample's stream does not know the size: the same crop is drawn at every size.
        assert batch["draws"].tolist() == [generator(7, epoch, index).random() for epoch, index, _ in own]
        assert torch.equal(batch["pictures"], other["pictures"])
        assert torch.equal(batch["draws"], other["draws"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: plan(records=50),
            "makes batches of 64 at 32 px, more than the 50 records; set batch_size to at most 12",
        ),
        (lambda: plan(batch_size=0), "batch_size = 0 is not a multiple of the scales' divisor 4"),
        (lambda: plan(batch_size=18), "batch_size = 18 is not a multiple of the scales' divisor 4"),
        (lambda: RankBatches(plan(), world=3), "batch_size = 64 is not a multiple of 3 processes"),
        (
            lambda: RankBatches(plan(), world=2, parts=4),
            "2 processes x 4 micro-batches; choose a multiple of 8",
        ),
        (lambda: MultiScale(lowest=16), "lowest = 16 to highest = 320 px holds no side for multiple = 32"),
        (lambda: MultiScale(lowest=320, highest=160), "lowest = 320"),
        (lambda: MultiScale(count=0), "count = 0 is not positive"),
    ],
)
def test_mistakes(make, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)


def train(folder: Path, **changes) -> RunFolder:
    config = toy_config(**changes)
    run = RunFolder(folder)
    run.start(paper="toy", data=None, recipe=config, resume=True)
    fit(toy_task(), config, run, progress=False)
    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "model").tensors()


def assert_close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float) -> None:
    assert left.keys() == right.keys()
    worst = max(float((left[name] - right[name]).abs().max()) for name in left)
    assert worst <= tolerance, f"weights differ by {worst}"


def torchrun(folder: Path, **train_settings) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "tests.data.multiscale_launch", str(folder), json.dumps(train_settings)),
    ]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_resumes_to_the_bit_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    made = toy_task().plan
    assert 9 % len(made.lengths(0)), "step 9 is to lie inside an epoch"
    train(tmp_path / "whole")
    train(tmp_path / "again", keep=9)
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-00000012")
    shutil.rmtree(tmp_path / "again" / "model")
    train(tmp_path / "again", keep=9)
    assert_close(weights(tmp_path / "whole"), weights(tmp_path / "again"), 0.0)


def test_accumulation_and_two_processes_equal_one(tmp_path: Path) -> None:
    train(tmp_path / "one")
    train(tmp_path / "parts", accumulate=2)
    assert_close(weights(tmp_path / "one"), weights(tmp_path / "parts"), 1e-6)
    torchrun(tmp_path / "two", accumulate=2)
    assert_close(weights(tmp_path / "one"), weights(tmp_path / "two"), 1e-6)


def test_the_log_counts_real_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from visionsmith.train import loop

    counted = []
    before = loop._Window.speed
    monkeypatch.setattr(
        loop._Window, "speed", lambda window: (counted.append(window.samples), before(window))[1]
    )
    train(tmp_path / "run", log_every=1)
    rows = list(islice(batch_rows(toy_task().plan), 12))
    assert counted == rows
    assert len(set(rows)) > 1
    assert sum(rows) != 12 * toy_config().batch_size
    assert max(rows) <= len(PICTURES)
