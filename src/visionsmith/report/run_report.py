"""The report of a training: what its run folder holds, as plots and one page.

    RUN/
      config.yaml        the resolved settings                                   read
      environment.json   python, platform, versions, git, command, seed, ...     read
      log.jsonl          a JSON object a line: `step`, `time` in seconds since   read
                         the start, and training values or `evaluate: {...}`
      samples.png        what the model makes or sees, if the paper draws any    read
      plots/*.png        loss, learning rate, throughput, metrics, ...           written
      report.html        everything on one page                                  written

A run may have been killed and resumed: a line that was cut is left out, and where a step comes again, the
later line counts and what had been logged beyond that step is forgotten, since the weights were too.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionsmith.durable import write_whole
from visionsmith.errors import DataError
from visionsmith.report.page import Page
from visionsmith.report.plots import curves
from visionsmith.report.tables import count, percent, short

__all__ = ["RunLog", "read_log", "write_run_report"]

Series = dict[str, tuple[list[float], list[float]]]

_MAX_LINES = 6
_NAMES = {
    "lr": "learning rate",
    "samples_per_second": "samples per second",
    "data_share": "share of the time spent waiting for data",
    "grad_norm": "gradient norm",
}


@dataclass
class RunLog:
    """What a log says, by step, with the lines of abandoned attempts gone."""

    training: dict[int, dict[str, float]] = field(default_factory=dict)
    evaluation: dict[int, dict[str, float]] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    """Seconds since the start, of the lines with training values."""
    damaged: int = 0
    """Lines, or pieces of lines, that are no JSON object with a step."""

    def forget(self, step: int) -> None:
        """Drop what was logged at `step` and beyond: the run was resumed from before it."""
        self.training = {known: values for known, values in self.training.items() if known < step}
        self.evaluation = {known: values for known, values in self.evaluation.items() if known < step}
        self.times = {known: seconds for known, seconds in self.times.items() if known < step}

    def seconds(self) -> float:
        """Time in training over all starts of the run, seconds."""
        total, before = 0.0, 0.0
        for _, time in sorted(self.times.items()):
            # A resumed run may begin its clock anew.
            total += time - before if time >= before else time
            before = time
        return total

    def last_step(self) -> int | None:
        """The last step logged, or None for an empty log."""
        return max((*self.training, *self.evaluation), default=None)


def write_run_report(run: Path) -> Path:
    """Write `RUN/plots/*.png` and `RUN/report.html`.

    Args:
        run: the folder of a run, finished or not.

    Returns:
        The path of the page.

    Raises:
        DataError: there is no such folder, it is not a run, or a file of it cannot be read.
        OutputError: the plots or the page cannot be written.
    """
    run = Path(run)
    if not run.is_dir():
        raise DataError("no such folder", where=run, do="give the folder of a training run")
    texts = {name: _read(run / name) for name in ("config.yaml", "environment.json", "log.jsonl")}
    if all(text is None for text in texts.values()):
        raise DataError("is not a training run", where=run, do="give a folder that holds a log.jsonl")
    remarks = [f"`{name}` is missing." for name, text in texts.items() if text is None]
    log = _parse_log(texts["log.jsonl"] or "")
    if log.damaged:
        subject = "1 line was" if log.damaged == 1 else f"{log.damaged} lines were"
        remarks.append(f"{subject} left out of `log.jsonl`, cut as a killed run leaves them.")
    environment = _parse_environment(texts["environment.json"], remarks)
    samples = _read_samples(run / "samples.png", remarks)
    page = Page(f"{_paper(texts['config.yaml'])}training run {run.resolve().name}", _command(environment))
    page.table(["Run", "Value"], _summary(log))
    for remark in remarks:
        page.note(remark)
    if log.training:
        page.section("Training", "A faint line is what was logged; the strong line over it is a local fit.")
        _draw(page, run, _training_plots(log.training))
    if log.evaluation:
        page.section("Evaluation")
        page.table(*_metric_table(log.evaluation), caption="Metrics of the evaluations during training.")
        if len(log.evaluation) > 1:
            _draw(page, run, _metric_plots(log.evaluation))
    if samples:
        page.section("Samples")
        page.figure(samples, "Samples of the run (`samples.png`).", "samples of the run")
    if texts["config.yaml"]:
        page.section("Settings", "The resolved settings, from `config.yaml`.")
        page.code(texts["config.yaml"])
    if environment:
        page.section("Environment")
        page.table(["What", "Value"], _environment_rows(environment))
    page.write(run / "report.html")
    return run / "report.html"


def read_log(file: Path) -> RunLog:
    """Read a `log.jsonl`, whole or cut, of one attempt or of several.

    Raises:
        DataError: the file cannot be read.
    """
    text = _read(Path(file))
    if text is None:
        raise DataError("no such file", where=file, do="give the log.jsonl of a run")
    return _parse_log(text)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=file) from error


def _parse_log(text: str) -> RunLog:
    log, newest = RunLog(), -1
    for line in text.split("\n"):
        if not line.strip():
            continue
        entry, whole = _parse_line(line)
        log.damaged += not whole
        if entry is None:
            continue
        step, time, evaluation = entry.pop("step"), entry.pop("time", None), entry.pop("evaluate", None)
        if training := dict(_numbers(entry)):
            if step <= newest:
                log.forget(step)
            newest = step
            log.training[step] = training
            if isinstance(time, int | float):
                log.times[step] = float(time)
        if isinstance(evaluation, dict):
            log.evaluation[step] = dict(_numbers(evaluation))
    return log


def _parse_line(line: str) -> tuple[dict[str, Any] | None, bool]:
    """The object of a line, and whether the line is whole.

    A run that was killed while it wrote leaves half a line, and the resumed one goes on behind it on the
    same line: the object that ends the line is then found from its opening brace.
    """
    for start in (match.start() for match in re.finditer(r"\{", line)):
        try:
            entry = json.loads(line[start:])
        except ValueError:
            continue
        if isinstance(entry, dict) and type(entry.get("step")) is int:
            return entry, not line[:start].strip()
    return None, False


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of a nested mapping with their dotted names."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


def _parse_environment(text: str | None, remarks: list[str]) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if isinstance(values, dict):
        return values
    remarks.append("`environment.json` is damaged and was left out.")
    return {}


def _read_samples(file: Path, remarks: list[str]) -> bytes | None:
    if not file.is_file():
        return None
    content = file.read_bytes()
    if content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82"):
        return content
    remarks.append("`samples.png` is damaged and was left out.")
    return None


def _paper(settings: str | None) -> str:
    """The paper that a config.yaml names, as the beginning of a title, or nothing."""
    found = re.search(r"^paper: *(\w+)", settings or "", re.MULTILINE)
    return f"{found[1]}: " if found else ""


def _command(environment: Mapping[str, Any]) -> str:
    command = environment.get("command")
    if isinstance(command, list):
        command = shlex.join(map(str, command))
    return f"`{command}`" if command else ""


def _summary(log: RunLog) -> list[tuple[str, str]]:
    step = log.last_step()
    if step is None:
        return [("Steps", "none logged yet")]
    series = _by_name(log.training)
    rows = [("Steps", count(step)), ("Time in training", _duration(log.seconds()))]
    if "loss" in series:
        rows.append(("Loss, last logged", _value(series["loss"][1][-1])))
    for name, label, write in (
        ("samples_per_second", "Samples per second, median", lambda value: f"{value:,.0f}"),
        ("data_share", "Waiting for data, median", percent),
    ):
        if name in series:
            rows.append((label, write(statistics.median(series[name][1]))))
    return rows


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _by_name(record: Mapping[int, Mapping[str, float]]) -> Series:
    series: Series = {}
    for step, values in sorted(record.items()):
        for name, value in values.items():
            steps, levels = series.setdefault(name, ([], []))
            steps.append(step)
            levels.append(value)
    return series


def _training_plots(training: Mapping[int, Mapping[str, float]]) -> Iterator[tuple[str, str, Series]]:
    """File name, what the y axis shows, and the lines of each plot of training values."""
    series = _by_name(training)
    losses = {name: line for name, line in series.items() if name.startswith("loss")}
    if losses:
        yield "loss", "loss", losses
    known = [name for name in _NAMES if name in series]
    for name in [*known, *(name for name in series if name not in _NAMES)]:
        if name not in losses:
            label = _NAMES.get(name, name.replace("_", " "))
            yield name, label, {label: series[name]}


def _metric_plots(evaluation: Mapping[int, Mapping[str, float]]) -> Iterator[tuple[str, str, Series]]:
    """The same for metrics: shares of one family in one plot, whatever else in a plot of its own."""
    families: dict[str, Series] = {}
    for name, line in _by_name(evaluation).items():
        values = [value for value in line[1] if math.isfinite(value)]
        if len(values) > 1 and len(set(values)) == 1 and values[0].is_integer() and values[0] > 1:
            continue  # how many pictures there were: the same at every evaluation
        is_share = all(0 <= value <= 1 for value in values)
        family, _, rest = name.partition(".")
        key, label = (family, rest or name) if is_share else (name, name)
        families.setdefault(key, {})[label] = line
    for family, lines in families.items():
        names = list(lines)
        for start in range(0, len(names), _MAX_LINES):
            part = f"{family}-{start // _MAX_LINES + 1}" if len(names) > _MAX_LINES else family
            chosen = names[start : start + _MAX_LINES]
            yield f"metric-{part}", family.replace("_", " "), {name: lines[name] for name in chosen}


def _draw(page: Page, run: Path, plots: Iterator[tuple[str, str, Series]]) -> None:
    for name, label, series in plots:
        points = max(len(steps) for steps, _ in series.values())
        smooth = 1 - 30 / points if points >= 100 and name != "lr" else None
        png = curves(series, x="step", y=label, smooth=smooth)
        write_whole(run / "plots" / (re.sub(r"[^\w.-]+", "_", name) + ".png"), png)
        ends = "; ".join(f"{key} ends at {_value(levels[-1])}" for key, (_, levels) in series.items())
        page.figure(png, f"{label[:1].upper()}{label[1:]} by step.", alt=f"Plot by step: {ends}")


def _metric_table(evaluation: Mapping[int, Mapping[str, float]]) -> tuple[list[str], list[list[str]]]:
    series = _by_name(evaluation)
    if len(evaluation) == 1:
        return ["Metric", "Value"], [[name, _value(levels[-1])] for name, (_, levels) in series.items()]
    rows = []
    for name, (_, levels) in series.items():
        known = [level for level in levels if not math.isnan(level)] or [math.nan]
        rows.append([name, *map(_value, (levels[-1], min(known), max(known)))])
    return ["Metric", "Last", "Lowest", "Highest"], rows


def _value(value: float) -> str:
    """Metrics of all sizes under each other: counts as counts, shares with four decimals."""
    if not math.isfinite(value) or value.is_integer():
        return short(value)
    return f"{value:,.4f}" if 1e-3 <= abs(value) < 1e4 else short(value)


def _environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in environment.items():
        if isinstance(value, Mapping):
            prefix = "" if key == "versions" else f"{key}: "
            rows += [(f"{prefix}{inner}", str(content)) for inner, content in value.items()]
        elif key != "command":
            rows.append((key, "" if value is None else str(value)))
    return rows
