"""How loading is measured: stages and speeds of known lengths, and data sets that are broken on purpose."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Dataset, get_worker_info

from tests.data.test_advice import make_store, noise
from visionsmith.data.advice import machine
from visionsmith.data.advice.loading import Loading, measure_loading, steps
from visionsmith.data.advice.pictures import PictureDataset, collate
from visionsmith.data.advice.same import compare
from visionsmith.data.advice.speed import Speed, fewest_workers, measure_speed
from visionsmith.data.advice.stages import ColdReads, Stages, measure_cold_reads, measure_stages
from visionsmith.data.records import RecordStore, pack
from visionsmith.data.sample import Sample
from visionsmith.data.sampler import ShuffledBatches, generator
from visionsmith.errors import DataError
from visionsmith.image.io import encode_jpeg, encode_png


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordStore:
    """Forty small pictures that all differ."""
    samples = [Sample(f"{number:02}", encode_png(noise(24, number))) for number in range(40)]
    return make_store(tmp_path_factory.mktemp("advice") / "small.records", samples)


# --- order and content ---


class ByWorker(PictureDataset):
    """Broken: content depends on the worker."""

    def augment(self, image: np.ndarray, key: tuple[int, int]) -> Any:
        index, picture, draw = super().augment(image, key)
        worker = get_worker_info()
        return index, picture + np.uint8(worker.id if worker else 0), draw


class KeptGenerator(PictureDataset):
    """Broken: one generator, of which every worker gets a copy."""

    def __init__(self, store: RecordStore) -> None:
        super().__init__(store, 8)
        self.rng = np.random.default_rng(0)

    def augment(self, image: np.ndarray, key: tuple[int, int]) -> Any:
        return key[1], image[:8, :8], float(self.rng.random())


class GlobalState(PictureDataset):
    """Broken: numpy's global state, which torch seeds in every worker."""

    def augment(self, image: np.ndarray, key: tuple[int, int]) -> Any:
        return key[1], image[:8, :8], float(np.random.random())  # noqa: NPY002


def test_the_projects_pipeline_is_the_same_at_any_number_of_workers(store: RecordStore) -> None:
    plan = ShuffledBatches(range(len(store)), 4, 0)
    for workers in (1, 2, 3):
        found = compare(PictureDataset(store, 8), plan, collate, workers=workers, batches=6)
        assert (found.workers, found.samples, found.differing, found.streams) == (workers, 24, [], 24)


def test_content_that_depends_on_the_worker_is_found(store: RecordStore) -> None:
    plan = ShuffledBatches(range(len(store)), 4, 0)
    found = compare(ByWorker(store, 8), plan, collate, workers=2, batches=4)
    assert found.differing == [4, 5, 6, 7, 12, 13, 14, 15], "every second batch is worker 1's"


def test_copied_random_states_are_found(store: RecordStore) -> None:
    plan = ShuffledBatches(range(len(store)), 4, 0)
    kept = compare(KeptGenerator(store), plan, collate, workers=2, batches=4)
    assert kept.streams == 8, "both workers draw the same eight numbers"
    # torch gives each worker its own seed of numpy's global state, so that draws differ between workers, but they
    # are others than without workers.
    shared = compare(GlobalState(store, 8), plan, collate, workers=2, batches=4)
    assert shared.streams == 16
    assert len(shared.differing) == 16


# --- speed ---


class Sleeper(Dataset):
    """A sample takes 20 ms in which no core is used."""

    def __getitem__(self, key: tuple[int, int]) -> Any:
        time.sleep(0.02)
        return key[1], np.zeros((2, 2, 3), np.uint8), generator(0, *key).random()


def test_speed_of_samples_that_take_a_known_time() -> None:
    alone = measure_speed(Sleeper(), range(40), workers=0, rows=2, seconds=0.5)
    assert 25 < alone.samples_per_second <= 50
    assert alone.start_seconds >= 0.04
    shared = measure_speed(Sleeper(), range(40), workers=3, rows=2, seconds=0.8)
    # Batches that were ready beforehand, or waited for the start, would make it more, or less.
    assert 1.5 * alone.samples_per_second < shared.samples_per_second < 190


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [((100, 50, 104), 0), ((100, 150, 157, 151), 1), ((100, 150, 158), 2), ((1, 2, 4, 8), 3), ((7,), 0)],
)
def test_fewest_workers_within_five_percent(rates: tuple[int, ...], chosen: int) -> None:
    speeds = [Speed(workers, float(rate), 0.1) for workers, rate in enumerate(rates)]
    assert fewest_workers(speeds).workers == chosen


class Slow(PictureDataset):
    """One stage takes 5 ms more."""

    def __init__(self, store: RecordStore, stage: str) -> None:
        super().__init__(store, 8)
        quick = getattr(self, stage)

        def slow(*arguments: Any) -> Any:
            time.sleep(0.005)
            return quick(*arguments)

        setattr(self, stage, slow)


@pytest.mark.parametrize("stage", ["read", "decode", "augment"])
def test_the_slow_stage_is_found(store: RecordStore, stage: str) -> None:
    found = measure_stages(Slow(store, stage), range(16), 4, 0.2)
    assert found.slowest == stage
    assert getattr(found, stage) >= 5
    assert found.samples % 4 == 0
    assert found.transfer == found.send + found.receive + (found.to_gpu or 0)


def test_large_pictures_take_their_time_to_decode(tmp_path: Path) -> None:
    image = encode_jpeg(noise(1200))
    large = make_store(tmp_path / "large", [Sample(str(number), image) for number in range(8)])
    found = measure_stages(PictureDataset(large, 16), range(8), 4, 0.1)
    assert found.slowest == "decode"
    assert found.decode > found.read + found.augment


def test_cold_reads_say_whether_the_disk_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [Sample(str(number), noise(200, number).tobytes()) for number in range(20)]
    pack(samples, tmp_path / "raw", check=False)
    raw = RecordStore(tmp_path / "raw")
    assert sum(len(sample.image) for sample in raw) == 20 * 120_000  # now it is in memory
    cold = measure_cold_reads(raw, range(20), 5.0)
    assert cold.samples == 20
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: None)
    kept = measure_cold_reads(raw, range(20), 5.0)
    if kept.from_disk is None:
        pytest.skip("the system does not tell what was read from the disk")
    assert kept.from_disk == 0
    assert not kept.is_cold
    monkeypatch.delattr(os, "posix_fadvise")
    assert measure_cold_reads(raw, range(20), 5.0) is None
    if not cold.is_cold:
        pytest.skip("this file system keeps files in memory")
    assert 0.9 < cold.from_disk < 2


def test_a_damaged_picture_is_one_sentence_whoever_meets_it(tmp_path: Path) -> None:
    samples = [Sample(str(number), encode_png(noise(16, number))) for number in range(4)]
    pack([*samples, Sample("cut", samples[0].image[:-9])], tmp_path / "cut", check=False)
    dataset = PictureDataset(RecordStore(tmp_path / "cut"), 8)
    for workers in (0, 1):
        with pytest.raises(DataError) as raised:
            measure_speed(dataset, range(5), workers=workers, rows=1, seconds=1.0)
        assert "cut[4]: is a damaged PNG" in str(raised.value)
        assert "Traceback" not in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1


# --- what limits ---

QUICK = Stages(10, read=0.1, decode=2.0, augment=0.5, collate=0.1, send=0.1, receive=0.1, to_gpu=None)
PLAIN = Loading(
    cores=8,
    others=0.0,
    rows=8,
    speeds=[Speed(workers, rate, 0.1) for workers, rate in enumerate((350.0, 340.0, 680.0, 1000.0, 1300.0))],
    stages=QUICK,
    cold=ColdReads(10, 1.0, 1.0),
    fits_in_memory=True,
    prefetch=4,
    batch_bytes=1000,
    shared_memory_free=10**9,
    sameness=None,
)
LEVEL = [Speed(workers, rate, 0.1) for workers, rate in enumerate((350.0, 340.0, 680.0, 681.0, 682.0))]


@pytest.mark.parametrize(
    ("changes", "workers", "limit"),
    [
        ({}, 4, "decode"),
        ({"stages": replace(QUICK, augment=3.0)}, 4, "augment"),
        ({"cores": 4}, 4, "cores"),
        ({"others": 4.1}, 4, "cores"),
        ({"cores": 1, "speeds": PLAIN.speeds[:1]}, 0, "cores"),
        ({"stages": replace(QUICK, receive=0.6)}, 4, "transfer"),
        ({"stages": replace(QUICK, to_gpu=0.5)}, 4, "transfer"),
        (
            {"stages": replace(QUICK, receive=3.0), "speeds": [Speed(0, 350.0, 0.1), Speed(1, 330.0, 0.1)]},
            0,
            "transfer",
        ),
        ({"stages": replace(QUICK, receive=3.0), "speeds": PLAIN.speeds[:1]}, 0, "decode"),
        ({"stages": replace(QUICK, send=3.0), "speeds": LEVEL}, 2, "transfer"),
        ({"speeds": LEVEL}, 2, "unknown"),
        ({"shared_memory_free": 9000}, 2, "unknown"),
        ({"cold": ColdReads(10, 9.0, 1.0)}, 4, "decode"),
        ({"cold": ColdReads(10, 9.0, 1.0), "fits_in_memory": False}, 4, "disk"),
        ({"cold": ColdReads(10, 1.0, 1.0), "fits_in_memory": False}, 4, "decode"),
        ({"cold": ColdReads(10, 9.0, 0.0), "fits_in_memory": False}, 4, "decode"),
        ({"cold": None, "fits_in_memory": False}, 4, "decode"),
    ],
)
def test_what_limits(changes: dict[str, Any], workers: int, limit: str) -> None:
    loading = replace(PLAIN, **changes)
    assert (loading.speed.workers, loading.limit) == (workers, limit)


def test_a_quota_of_cores_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16))
    for text, cores in (("250000 100000\n", 3), ("max 100000\n", 16), ("9900000 100000\n", 16)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
        assert machine.usable_cores() == cores


def test_other_work_is_what_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    clock = {"wall": 100.0, "own": 7.0, "busy": 50 * ticks}
    monkeypatch.setattr(machine, "_TIMES", tmp_path / "stat")
    monkeypatch.setattr(machine.time, "monotonic", lambda: clock["wall"])
    monkeypatch.setattr(os, "times", lambda: (clock["own"], 0.0, 0.0, 0.0, 0.0))

    def tick(**changes: float) -> None:
        clock.update(changes)
        (tmp_path / "stat").write_text(
            f"cpu {int(clock['busy'])} 0 0 {10**9} {10**6} 0 0 0 {10**9} 0\ncpu0 1\n"
        )

    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    tick()
    others = machine.OtherWork()
    tick(wall=110.0, own=12.0, busy=70 * ticks)  # 20 s of work in 10 s, 5 of them ours
    assert others.cores() == pytest.approx(1.5)
    for usable, taken in ((3, 0.5), (2, 0.0)):  # the others may have run on the cores that are not ours
        monkeypatch.setattr(machine, "usable_cores", lambda usable=usable: usable)
        assert others.cores() == pytest.approx(taken)
    (tmp_path / "stat").unlink()
    assert others.cores() is None


# --- one store ---


def test_steps_are_counted_and_the_store_is_measured(store: RecordStore) -> None:
    done = []
    found = measure_loading(
        store, range(40), batch_size=16, workers=1, size=8, seconds=0.1, on_step=lambda: done.append(1)
    )
    assert len(done) == steps(1)
    assert [speed.workers for speed in found.speeds] == [0, 1]
    assert 1 <= found.rows <= 16
    assert found.batch_bytes == 16 * 8 * 8 * 3
    assert found.shared_memory(2) == 2 * 4 * found.batch_bytes
    assert found.sameness.differing == []


def test_shared_memory_that_is_small_is_not_overrun(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visionsmith.data.advice.loading.free_shared_memory", lambda: 10_000)
    found = measure_loading(store, range(40), batch_size=40, workers=1, size=8, seconds=0.1, on_step=int)
    assert found.rows * 8 * 8 * 3 * 4 <= 10_000 / 2
    assert found.speed.workers == 0, "a batch of 40 would take four times 7,680 bytes"
