"""Where writers of instructions work: one job after the other, in threads, or on Ray Data.

What is made is the same in the same order; a writer that asks an endpoint mostly waits, so that threads are enough on
one machine, and Ray is for the machines of a cluster.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from visionsmith.errors import ConfigError, VisionsmithError
from visionsmith.papers.endpoint import Endpoint, Used
from visionsmith.papers.llava.facts import Facts

__all__ = ["Job", "Made", "Spread", "Writer", "in_threads", "in_turn", "on_ray"]

Job = tuple[Facts, str]
"""The facts of a picture, and a type of instructions."""
Made = tuple[str, list[tuple[str, str]] | None]
"""What came, as text, and the turns in it; None where there are none to be found."""
Writer = Callable[[Facts, str], Made]
"""Facts and a type -> what is made of them."""
Spread = Callable[[Writer, Sequence[Job]], Iterator[Made]]
"""A writer and its jobs -> what it made of each, in their order."""


def in_turn(write: Writer, jobs: Sequence[Job]) -> Iterator[Made]:
    """One job after the other."""
    for facts, kind in jobs:
        yield write(facts, kind)


def in_threads(workers: int) -> Spread:
    """Up to so many jobs at a time; after one that failed, no new one begins.

    Raises:
        ConfigError: there is no worker.
    """
    _require_workers(workers)

    def spread(write: Writer, jobs: Sequence[Job]) -> Iterator[Made]:
        pool = ThreadPoolExecutor(workers)
        try:
            yield from pool.map(lambda job: write(*job), jobs)
        finally:
            pool.shutdown(cancel_futures=True)

    return spread


def on_ray(workers: int, *, endpoint: Endpoint | None = None) -> Spread:
    """As many processes of Ray Data, on this machine or, where RAY_ADDRESS names one, on a cluster.

    Args:
        workers: processes.
        endpoint: that the writer asks; what the processes use of it is added to its count. Its cache, if it has one,
            must be a folder that all machines see.

    Raises:
        ConfigError: ray is not installed, or there is no worker.
    """
    _require_workers(workers)
    # No statistics of use: nothing leaves the machine unless somebody asks.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its C++ part warns on the terminal of what Ray Data itself does with the arguments of a worker.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        # By name, since its types are not there where it is not installed.
        ray: Any = importlib.import_module("ray")
        data: Any = importlib.import_module("ray.data")
    except ImportError as error:
        raise ConfigError(
            "Ray Data is not installed",
            do='install it with pip install "visionsmith[ray]", or leave out --ray',
        ) from error

    def spread(write: Writer, jobs: Sequence[Job]) -> Iterator[Made]:
        started = not ray.is_initialized()
        if started:
            # On one machine more workers than cores are right, for writers that wait.
            local = (
                {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers + 1, "include_dashboard": False}
            )
            ray.init(log_to_driver=False, logging_level="error", **local)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        try:
            # A writer sees no picture.
            items = [{"job": (replace(facts, image=b""), kind)} for facts, kind in jobs]
            rows = data.from_items(items, override_num_blocks=min(len(jobs), 4 * workers))
            # One argument for both, so that the writer's endpoint is the one that counts.
            given = ((write, endpoint),)
            pool = data.ActorPoolStrategy(size=workers)
            made = rows.map(_RayWriter, fn_constructor_args=given, compute=pool)
            for row in made.iter_rows():
                found = json.loads(row["found"])
                if endpoint is not None:
                    endpoint.add(Used(**found["used"]))
                if found["failed"] is not None:
                    raise VisionsmithError(**found["failed"])
                turns = found["turns"]
                yield found["text"], turns and [(question, answer) for question, answer in turns]
        finally:
            if started:
                ray.shutdown()

    return spread


class _RayWriter:
    """A writer in a process of Ray. What it finds goes back as JSON, and so does an error that a user can mend."""

    def __init__(self, given: tuple[Writer, Endpoint | None]) -> None:
        self.write, self.endpoint = given

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        before = self._used()
        text, turns, failed = "", None, None
        try:
            text, turns = self.write(*row["job"])
        except VisionsmithError as error:
            where = None if error.where is None else str(error.where)
            failed = {"what": error.what, "where": where, "do": error.do}
        used = {name: value - before[name] for name, value in self._used().items()}
        return {"found": json.dumps({"text": text, "turns": turns, "failed": failed, "used": used})}

    def _used(self) -> dict[str, Any]:
        return {} if self.endpoint is None else asdict(self.endpoint.used)


def _require_workers(workers: int) -> None:
    if workers < 1:
        raise ConfigError(f"workers = {workers} is out of range", do="choose at least 1")
