"""Advice on loading as a folder: a page, its two plots, and everything as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionsmith.data.advice import Advice
from visionsmith.durable import write_whole
from visionsmith.errors import OutputError
from visionsmith.report.advice_words import recommendation, sentences, title
from visionsmith.report.page import Page
from visionsmith.report.plots import bars

__all__ = [
    "PAGE",
    "require_free",
    "speed_plot",
    "speed_rows",
    "stage_plot",
    "stage_rows",
    "values",
    "write_advice",
]

PAGE = "advice.html"
_JSON, _SPEED, _STAGES = "advice.json", "workers.png", "stages.png"


def values(advice: Advice) -> dict[str, Any]:
    """Everything that was measured and said, for JSON."""
    return {**advice.plain(), "sentences": sentences(advice)}


def speed_rows(advice: Advice) -> tuple[Sequence[str], list[tuple[int, float, float]]]:
    """Columns and rows of the table of speeds."""
    columns = ("workers", "samples a second", "first batch, s")
    rows = [
        (speed.workers, float(f"{speed.samples_per_second:.3g}"), round(speed.start_seconds, 2))
        for speed in advice.loading.speeds
    ]
    return columns, rows


def stage_rows(advice: Advice) -> tuple[Sequence[str], list[tuple[str, float]]]:
    """Columns and rows of the table of stages."""
    stages = advice.loading.stages
    rows = [*stages.in_worker.items(), ("receive", stages.receive)]
    if stages.to_gpu is not None:
        rows.append(("to the GPU", stages.to_gpu))
    return ("stage", "ms a sample"), [(name, round(value, 4)) for name, value in rows]


def speed_plot(advice: Advice) -> bytes:
    """Samples a second by number of workers, PNG."""
    rates = {str(speed.workers): speed.samples_per_second for speed in advice.loading.speeds}
    # No measurement of a speed is good to a fourth digit.
    speeds = {workers: float(f"{rate:.3g}") for workers, rate in rates.items()}
    return bars(speeds, y="samples a second, by number of loader workers", title=title(advice))


def stage_plot(advice: Advice) -> bytes:
    """Where the time of a sample goes, PNG."""
    return bars(dict(stage_rows(advice)[1]), y="milliseconds a sample, in one process", title=title(advice))


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds advice already, or that cannot be one.

    Raises:
        OutputError: see above.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("is a file", where=folder, do="choose a folder")
    there = next((name for name in (PAGE, _JSON, _SPEED, _STAGES) if (folder / name).exists()), None)
    if there is not None and not overwrite:
        raise OutputError(
            f"holds {there} already", where=folder, do="choose another folder, or allow it with --overwrite"
        )


def write_advice(advice: Advice, folder: Path) -> None:
    """Write the page, the plots and the JSON.

    Raises:
        OutputError: the place cannot be written.
    """
    speed, stages = speed_plot(advice), stage_plot(advice)
    write_whole(folder / _SPEED, speed)
    write_whole(folder / _STAGES, stages)
    text = json.dumps(values(advice), indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / _JSON, text.encode("utf-8", errors="replace"))
    _page(advice, sentences(advice), speed, stages).write(folder / PAGE)


def _page(advice: Advice, said: Mapping[str, Sequence[str]], speed: bytes, stages: bytes) -> Page:
    page = Page("Loading advice", title(advice))
    page.section(recommendation(advice), "As settings of `visionsmith train`:")
    page.code(" ".join(advice.settings))
    for heading, lines in said.items():
        page.section(heading, "\n\n".join(lines))
        if heading == "Speed":
            rate = f"{advice.loading.speed.samples_per_second:,.0f} a second at the recommended number"
            page.figure(
                speed, "Samples a second by number of loader workers.", f"Bars of samples a second; {rate}"
            )
            slowest = advice.loading.stages.slowest
            page.figure(
                stages, "Where the time of a sample goes.", f"Bars of stages; {slowest} is the largest"
            )
            page.table(*speed_rows(advice))
            page.table(*stage_rows(advice))
    classes = advice.dropped.by_class[:20]
    if advice.dropped.samples and classes:
        page.section("What dropping the last batch loses, by class")
        page.table(
            ("class", "pictures", "lost an epoch, shuffled", "always lost, unshuffled"),
            [tuple(entry.values()) for entry in classes],
            "Those that lose the largest share without shuffling; twenty at most.",
        )
    return page
