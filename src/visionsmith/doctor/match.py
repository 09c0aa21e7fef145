"""The causes of a failure, read off a traceback or log.

Only what a program printed is judged: lines of source that a traceback shows are passed over, since they hold the
texts of errors that were not raised.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from visionsmith.data.progress import DelayedBar
from visionsmith.doctor.causes import ERROR, Cause, read_causes
from visionsmith.errors import DataError

__all__ = ["LIMIT", "Log", "Recognised", "diagnose", "read_log", "read_stream"]

LIMIT = 8 * 2**20
"""Bytes of a log that are judged, counted from its end."""
_CHUNK = 2**16
_MESSAGE = 500
"""Characters behind an error's line that may belong to its message."""
_LONGEST_LINE = 200
_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}

_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FRAME = re.compile(r'File "[^"\n]+", line \d+')
# Frames that rich draws round source.
_DRAWN = re.compile(r"\s*[│╭╰]")
# Of a failed test pytest shows source, and what was raised behind an E; then what the test printed.
_TESTS = re.compile(r"={3,} (?:FAILURES|ERRORS) ={3,}$")
_TEST_RAISED = re.compile(r"E {3}\S")
_TEST = re.compile(r"_{3,} .+ _{3,}$")
_TEST_OUTPUT = re.compile(r"-{3,} Captured ")
_TESTS_END = re.compile(r"={3,} ")


@dataclass(frozen=True)
class Log:
    """The end of a log."""

    text: str
    """Without terminal codes and without the lines of source that tracebacks show; lines end in a line feed."""
    skipped: int = 0
    """Lines before it that were not kept."""


@dataclass(frozen=True)
class Recognised:
    """A cause that a log shows."""

    cause: Cause
    line: int
    """Where it shows first, counted from 1 in the whole log."""
    text: str
    """That line."""
    count: int
    """How often it shows."""
    what: str
    """The cause in words, with the names that the log gives."""
    fix: str
    """What to do, with the names that the log gives."""
    follows: tuple[str, ...]
    """Recognised causes of which it is a consequence."""


def read_log(path: Path) -> Log:
    """The end of a log file.

    Args:
        path: a text file in UTF-8 or UTF-16 with a mark; undecodable bytes are replaced.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return read_stream(stream)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})",
            where=path,
            do="give the file that holds the log, or - to pipe it",
        ) from error


def read_stream(stream: BinaryIO, limit: int = LIMIT) -> Log:
    """The end of a log: whole chunks of at most `limit` bytes, so that a stream of any length takes bounded memory."""
    kept: deque[bytes] = deque()
    size = skipped = 0
    encoding = ""
    while chunk := stream.read(_CHUNK):
        encoding = encoding or _MARKS.get(chunk[:2], "utf-8")
        kept.append(chunk)
        size += len(chunk)
        while size > limit and len(kept) > 1:
            dropped = kept.popleft()
            size -= len(dropped)
            skipped += dropped.count(b"\n")
    content = b"".join(kept)
    text = content.decode(encoding or "utf-8", errors="replace").removeprefix("\ufeff")
    return Log(_printed(text), skipped)


def diagnose(
    log: Log | str, causes: tuple[Cause, ...] | None = None, *, progress: bool = False
) -> list[Recognised]:
    """The causes that a log shows, the likeliest root first.

    A cause that follows from another one that is shown too comes after it. Otherwise the order is that of the log: what
    failed first made the rest fail.

    Args:
        log: what `read_log` gave, or plain text.
        causes: what to look for; None: every known cause.
        progress: show a bar when it takes long.
    """
    log = Log(_printed(log)) if isinstance(log, str) else log
    causes = read_causes() if causes is None else causes
    raised = _raised(log.text)
    found: dict[str, tuple[Cause, re.Match[str], int]] = {}
    with DelayedBar("looking for causes", len(causes), show=progress) as bar:
        for cause in causes:
            matches = [
                match
                for pattern in cause.raised_patterns
                for span in raised
                for match in pattern.finditer(log.text, *span)
            ] + [match for pattern in cause.printed_patterns for match in pattern.finditer(log.text)]
            bar.advance()
            if matches and not cause.is_excluded_by(log.text):
                found[cause.id] = (cause, min(matches, key=re.Match.start), len(matches))
    recognised = [
        _recognised(log, cause, match, count, tuple(name for name in cause.follows if name in found))
        for cause, match, count in found.values()
    ]
    depths = _depths({one.cause.id: one.follows for one in recognised})
    return sorted(recognised, key=lambda one: (depths[one.cause.id], one.line))


def _raised(text: str) -> list[tuple[int, int]]:
    """The parts of a log in which messages of exceptions may stand: few, so that a long log is searched fast."""
    spans: list[tuple[int, int]] = []
    for match in ERROR.finditer(text):
        line_end = text.find("\n", match.end())
        end = (len(text) if line_end < 0 else line_end) + _MESSAGE
        if spans and match.start() <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((match.start(), end))
    return spans


def _depths(follows: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """How many steps each cause is from a root."""
    depths = dict.fromkeys(follows, 0)
    for _ in follows:
        depths = {
            name: 1 + max(depths[root] for root in roots) if roots else 0 for name, roots in follows.items()
        }
    return depths


def _recognised(
    log: Log, cause: Cause, match: re.Match[str], count: int, follows: tuple[str, ...]
) -> Recognised:
    start = log.text.rfind("\n", 0, match.start()) + 1
    end = log.text.find("\n", match.start())
    line = log.text[start : end if end >= 0 else None].strip()
    names = {name: " ".join(value.split()) for name, value in match.groupdict(default="?").items()}
    return Recognised(
        cause=cause,
        line=log.skipped + log.text.count("\n", 0, match.start()) + 1,
        text=line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 4] + " ...",
        count=count,
        what=_filled(cause.cause, names),
        fix=_filled(cause.fix, names),
        follows=follows,
    )


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


def _printed(text: str) -> str:
    """A log without terminal codes, control characters and source lines; its lines keep their numbers."""
    text = _CONTROL.sub("", _TERMINAL.sub("", text.replace("\r\n", "\n").replace("\r", "  ")))
    lines = text.split("\n")
    column, tests, tested = -1, False, False
    for place, line in enumerate(lines):
        if _TESTS_END.match(line):
            tests = tested = _TESTS.match(line) is not None
        elif tests and _TEST.match(line):
            tested = True
        elif _TEST_OUTPUT.match(line):
            tested = False
        frame = _FRAME.search(line)
        if frame is not None:
            # numpy prints the first frame behind "Traceback ...:", on its line.
            column = 2 if "Traceback" in line[: frame.start()] else frame.start()
        elif column >= 0 and line[column : column + 2] == "  ":
            # Source under a frame is set deeper than the frame, also behind a prefix such as "[rank0]: ".
            lines[place] = ""
        else:
            column = -1
        if _DRAWN.match(line) or (tested and not _TEST_RAISED.match(line)):
            lines[place] = ""
    return "\n".join(lines)
