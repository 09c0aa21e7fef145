"""A writer that is killed at any moment loses nothing that it has acknowledged."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.data.records import killed_writer
from tests.data.records.killed_writer import COUNT, samples
from tests.data.records.test_writer import records_in_partial

from visionsmith.data.records import RecordStore, is_store, layout, pack, verify


class Writers:
    """The process that starts writers and kills them."""

    def __init__(self) -> None:
        command = [sys.executable, killed_writer.__file__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, folder: Path, seed: int, seconds: float) -> tuple[str, int]:
        """How a writer ended, and how many records it had acknowledged."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{folder} {seed} {seconds}\n")
        acknowledged = 0
        while (word := self._process.stdout.readline().strip()).isdigit():
            acknowledged = int(word)
        return word, acknowledged


def require_whole(folder: Path, seed: int) -> None:
    store = RecordStore(folder)
    assert list(store) == list(samples(seed))
    assert store.keys() == [sample.key for sample in samples(seed)]
    assert store.info()["image_bytes"] == sum(len(sample.image) for sample in samples(seed))
    assert verify(folder).ok


def kill_writers(tmp_path: Path, kills: int) -> None:
    rng = np.random.default_rng(0)
    with Writers() as writers:
        # The first one waits for the process to start, too.
        assert writers.run(tmp_path / "first", 0, 60.0)[0] == "finished"
        started = time.monotonic()
        assert writers.run(tmp_path / "whole", 0, 60.0)[0] == "finished"
        longest = time.monotonic() - started
        require_whole(tmp_path / "whole", 0)
        killed, seed, acknowledged, resumed, vain = 0, 1, 0, 0, 0
        while killed < kills:
            folder = tmp_path / f"store{seed}"
            how, said = writers.run(folder, seed, float(rng.uniform(0, longest)))
            assert how in ("killed", "finished"), how
            killed += how == "killed"
            # A machine that has become slower than it was when it was timed would never finish a store.
            vain = vain + 1 if how == "killed" else 0
            if vain == 8:
                longest, vain = 2 * longest, 0
            acknowledged = max(acknowledged, said)
            if is_store(folder):
                require_whole(folder, seed)
                resumed, seed, acknowledged = resumed + 1, seed + 1, 0
            elif layout.partial_path(folder).exists() and acknowledged:
                expected = list(samples(seed))
                found = records_in_partial(folder)
                assert found == expected[: len(found)]
                assert len(found) >= acknowledged
            else:
                assert not acknowledged
    folder = tmp_path / f"store{seed}"
    report = pack(samples(seed), folder, check=False)
    assert report.resumed >= acknowledged
    assert report.count == COUNT
    require_whole(folder, seed)
    assert resumed >= kills // 20, "hardly a store was finished: the kills came too early to mean anything"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["first", "whole", *(f"store{number}" for number in range(1, seed + 1))])


def test_sixty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_writers(tmp_path, 60)


@pytest.mark.slow
def test_a_thousand_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_writers(tmp_path, 1000)
