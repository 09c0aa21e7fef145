"""One operation over many picture files, on several threads.

The decoders, the encoders and OpenCV let other threads run while they work, so that threads are enough.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import cv2

from visionsmith.errors import ConfigError, DataError, OutputError, VisionsmithError
from visionsmith.image.header import FORMATS

__all__ = ["Found", "Job", "Outcome", "default_workers", "find_pictures", "plan", "run_jobs"]

T = TypeVar("T")
R = TypeVar("R")

_ENDINGS = frozenset(ending for endings in FORMATS.values() for ending in endings)
_WAITING_PER_WORKER = 4


@dataclass(frozen=True)
class Found:
    """A picture file that was named, or found in a folder."""

    path: Path
    relative: Path
    """Where its result goes below an output folder."""


@dataclass(frozen=True)
class Job:
    """A file to read and a file to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What came of many jobs, in their order."""

    done: list[tuple[T, R]] = field(default_factory=list)
    failed: list[tuple[T, VisionsmithError]] = field(default_factory=list)


def find_pictures(inputs: Sequence[str | Path]) -> list[Found]:
    """The picture files that some names mean, in order, each once.

    Args:
        inputs: files, whatever their ending; folders, searched with all below them for endings of pictures, hidden
            names and links to folders passed over; patterns as "photos/**/*.jpg".

    Raises:
        DataError: a name means nothing.
    """
    found: dict[Path, Found] = {}
    for name in inputs:
        for one in _meant(str(name)):
            found.setdefault(one.path, one)
    return list(found.values())


def plan(inputs: Sequence[str | Path], output: str | Path, *, ending: str | None = None) -> list[Job]:
    """What to read and where to write it; nothing is touched.

    Args:
        inputs: as `find_pictures` takes them.
        output: a file for one input file; else a folder, in which the structure below an input folder is kept. A
            name without the ending of a picture, or with a slash at the end, is a folder.
        ending: of the results (".png", or "" for none); without it, that of each input.

    Raises:
        DataError: an input means nothing.
        OutputError: one output file for several pictures, or two pictures with the same result.
    """
    found = find_pictures(inputs)
    path = Path(output)
    is_folder = path.is_dir() or str(output).endswith(("/", os.sep)) or not path.suffix
    if not is_folder and len(inputs) == 1 and Path(inputs[0]).is_file():
        if ending and path.suffix.lower() not in _endings_of(ending):
            raise OutputError(
                f"does not end in {ending}, which was asked for",
                where=output,
                do=f"call it {path.stem}{ending}",
            )
        return [Job(found[0].path, path)]
    if not is_folder and path.suffix.lower() in _ENDINGS:
        raise OutputError(
            "is one file, and there may be several pictures", where=output, do="give the name of a folder"
        )
    # Results of an earlier call are not pictures to work on, where they lie below the input.
    inside = path.resolve()
    named = {Path(name).resolve() for name in inputs}
    jobs: dict[Path, Job] = {}
    for one in found:
        source = one.path.resolve()
        if inside not in named and source not in named and inside in source.parents:
            continue
        target = path / (one.relative if ending is None else one.relative.with_suffix(ending))
        if target in jobs:
            raise OutputError(
                f"both {jobs[target].source} and {one.path} would be written there",
                where=target,
                do="give the folder that both are in, or call once for each",
            )
        jobs[target] = Job(one.path, target)
    if not jobs:
        raise DataError(
            "all pictures lie in the folder for results", where=output, do="choose another folder for them"
        )
    return list(jobs.values())


def run_jobs(
    jobs: Sequence[T],
    work: Callable[[T], R],
    *,
    workers: int | None = None,
    on_done: Callable[[], object] | None = None,
) -> Outcome[T, R]:
    """Do all jobs; what fails is kept for the end, and the others are done.

    Args:
        jobs: what to do.
        work: does one, on any thread.
        workers: threads; without it, `default_workers`.
        on_done: called on the caller's thread after each job.

    Raises:
        ConfigError: a setting is wrong whatever the picture; no further job is begun.
    """
    results: dict[int, R] = {}
    errors: dict[int, VisionsmithError] = {}
    places: dict[Future[R], int] = {}
    waiting = iter(enumerate(jobs))
    count = min(workers or default_workers(), max(1, len(jobs)))
    with _opencv_threads(count), ThreadPoolExecutor(count) as pool:
        try:
            while True:
                # A few at a time, so that an interruption leaves no long queue.
                for place, job in islice(waiting, count * _WAITING_PER_WORKER - len(places)):
                    places[pool.submit(work, job)] = place
                if not places:
                    break
                for future in wait(places, return_when=FIRST_COMPLETED).done:
                    place = places.pop(future)
                    try:
                        results[place] = future.result()
                    except ConfigError:
                        raise
                    except VisionsmithError as error:
                        errors[place] = error
                    if on_done is not None:
                        on_done()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Outcome(
        [(jobs[place], results[place]) for place in sorted(results)],
        [(jobs[place], errors[place]) for place in sorted(errors)],
    )


def default_workers() -> int:
    """As many threads as this process has processors."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _opencv_threads(workers: int) -> Iterator[None]:
    """One thread for each call of OpenCV while several calls run at once."""
    before = cv2.getNumThreads()
    if workers > 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _endings_of(ending: str) -> tuple[str, ...]:
    """All endings of the format that has this one."""
    return next((endings for endings in FORMATS.values() if ending in endings), (ending,))


def _meant(name: str) -> Iterator[Found]:
    path = Path(name)
    if path.is_dir():
        files = list(_below(path))
        yield from (Found(file, file.relative_to(path)) for file in files)
        if not files:
            raise DataError("holds no pictures", where=path, do=f"give files that end in {_listed()}")
    elif path.exists() or not glob.has_magic(name):
        if not path.exists():
            raise DataError("no such file or folder", where=path, do="look at its name")
        yield Found(path, Path(path.name))
    else:
        yield from _matching(name)


def _below(folder: Path) -> Iterator[Path]:
    """Picture files of a folder and of all below, in order."""

    def refuse(error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot be read ({reason})", where=error.filename, do="check its permissions")

    for inner, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in _ENDINGS:
                yield Path(inner) / name


def _matching(pattern: str) -> Iterator[Found]:
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    try:
        # pathlib's "**" enters no links, so that one that leads back does no harm.
        files = sorted(root.glob("/".join(parts[fixed:])))
    except ValueError as error:
        raise DataError("is no pattern", where=pattern, do="write ** between slashes only") from error
    relatives = [
        file.relative_to(root) for file in files if file.suffix.lower() in _ENDINGS and file.is_file()
    ]
    shown = [one for one in relatives if not any(part.startswith(".") for part in one.parts)]
    if not shown:
        raise DataError("no picture has such a name", where=pattern, do="quote the pattern, and look at it")
    for one in shown:
        yield Found(root / one, one)


def _listed() -> str:
    return ", ".join(sorted(_ENDINGS))
