"""A light process that starts writers and kills them at given moments; no torch, so that a writer starts at once.

A line on standard input is `FOLDER SEED SECONDS`: a writer packs the records of SEED into FOLDER, and is killed after
SECONDS unless it has ended. Standard output: how many records are safe on disk, as the writer says after each
commit, a number a line, and at the end `killed` or `finished`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from visionsmith.data.records import pack
from visionsmith.data.sample import Sample

COUNT = 48


def sample(seed: int, number: int) -> Sample:
    rng = np.random.default_rng((seed, number))
    image = rng.bytes(int(rng.integers(100, 6000)))
    return Sample(f"{seed}/{number:04d}", image, f"caption {number}", {"n": number})


def samples(seed: int) -> Iterator[Sample]:
    return (sample(seed, number) for number in range(COUNT))


def say(word: object) -> None:
    os.write(1, f"{word}\n".encode())


def write(folder: Path, seed: int) -> None:
    pack(samples(seed), folder, check=False, commit_every=4, on_commit=say)


def start_and_kill(folder: Path, seed: int, seconds: float) -> str:
    child = os.fork()
    if not child:
        try:
            write(folder, seed)
        except BaseException as error:
            say(f"failed: {error!r}")
        os._exit(0)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return "finished"
        time.sleep(max(0.0, min(0.002, until - time.monotonic())))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return "killed" if os.WIFSIGNALED(status) else "finished"


def main() -> None:
    assert "torch" not in sys.modules, "a writer needs no torch"
    for line in sys.stdin:
        folder, seed, seconds = line.split()
        say(start_and_kill(Path(folder), int(seed), float(seconds)))


if __name__ == "__main__":
    main()
