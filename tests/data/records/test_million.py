"""A store of a million records is built and read within one gigabyte of memory.

python -m pytest -m slow tests/data/records/test_million.py -s      prints what was measured
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = 1_000_000
GIGABYTE = 1e9

BUILD = """
import json, resource, sys, time
import cv2, numpy as np
from visionsmith.data.records import pack
from visionsmith.data.sample import Sample

def samples(count):
    for number in range(count):
        image = np.full((4, 4, 3), (number % 251, number // 251 % 251, number // 63001), np.uint8)
        picture = cv2.imencode(".png", image)[1].tobytes()
        yield Sample(f"shelf{number % 1000:03d}/{number:07d}", picture, f"caption {number}", {"n": number})

start = time.monotonic()
report = pack(samples(int(sys.argv[2])), sys.argv[1], check=False, commit_every=4096)
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"count": report.count, "seconds": time.monotonic() - start, "peak": peak}))
"""

READ = """
import json, multiprocessing, resource, sys, time
import numpy as np
from visionsmith.data.records import RecordStore
from visionsmith.image.io import decode

def read(arguments):
    path, worker = arguments
    store = RecordStore(path)
    order = np.random.default_rng(worker).permutation(len(store))[worker::2]
    start = time.monotonic()
    for number in order.tolist():
        sample = store[number]
        assert sample.meta["n"] == number and sample.caption == f"caption {number}"
        if number % 100 == 0:
            assert tuple(decode(sample.image)[3, 3]) == (number // 63001, number // 251 % 251, number % 251)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"reads": len(order), "seconds": time.monotonic() - start, "peak": 1024 * usage.ru_maxrss}

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(json.dumps(pool.map(read, [(sys.argv[1], 0), (sys.argv[1], 1)], chunksize=1)))
"""

INSPECT = """
import json, resource, sys, time
from visionsmith.data.records import RecordStore
from visionsmith.data.survey import survey

start = time.monotonic()
found = survey(RecordStore(sys.argv[1]))
groups = found.duplicates.same_pixels
assert (found.count, len(found.broken), found.odd["one colour"]) == (len(found.sound), 0, found.count)
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"count": found.count, "groups": len(groups), "seconds": time.monotonic() - start, "peak": peak}))
"""


def run(code: str, *arguments: object) -> object:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_million_records_in_a_gigabyte(tmp_path: Path) -> None:
    store = tmp_path / "million.records"
    built = run(BUILD, store, COUNT)
    size = (store / "data.mdb").stat().st_size
    readers = run(READ, store)
    looked = run(INSPECT, store)
    print(f"\nsize {size:,} bytes\nbuild {built}\nread {readers}\ninspect {looked}")
    assert built["count"] == looked["count"] == COUNT
    assert sum(reader["reads"] for reader in readers) == COUNT
    assert built["peak"] < GIGABYTE
    assert all(reader["peak"] < GIGABYTE for reader in readers)
    assert looked["peak"] < GIGABYTE
    # Every picture has a colour of its own.
    assert looked["groups"] == 0
