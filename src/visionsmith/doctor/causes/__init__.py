r"""Known causes of failures, as data: `*.toml` beside this file.

A table is one cause, its name the cause's id:

    [meta-tensor-copied]
    raised = ['Cannot copy out of meta tensor']  # messages of exceptions, and
    printed = ['\(SIGKILL\) received by PID']    # other texts: any of them shows it
    unless = []                                  # a log in which one of these occurs has another cause
    follows = ["torchvision-other-torch"]        # where one of these is recognised too, this is its consequence
    packages = ["transformers"]
    versions = "transformers 4.30 and later"     # in words; empty: any
    cause = "..."
    consequence = "..."
    fix = "..."                                  # one command, or one change
    sources = ["huggingface/transformers#41782"]

What is in `raised` counts only behind the exception's name or the word error, so that a list of changes that
quotes it is not taken for a failure. Patterns are regular expressions over the whole log. A space stands for any
white space within two lines, so that a message that a terminal wrapped is found too; in brackets it is a space.
`{name}` in `cause` and `fix` is what the group `(?P<name>...)` of the pattern matched. Patterns hold no paths, line
numbers or other marks of one run.
"""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path

from visionsmith.config import config, decode
from visionsmith.errors import ConfigError

__all__ = ["ERROR", "Cause", "compiled", "read_causes"]

ERROR = re.compile(r"(?:rror|RROR|xception)\b")
"""The end of an exception's name, or of the word error."""

# A line may begin with the number of the process that printed it.
_WHITE = r"(?:[ \t]+(?:\n(?:\[rank\d+\]: ?)?)?[ \t]*|\n(?:\[rank\d+\]: ?)?[ \t]*)"
# A message stands behind the name, on its line or the next.
_RAISED = rf"{ERROR.pattern}(?:[^\n]{{0,120}}?|:?{_WHITE})"


@config
class Cause:
    """One known cause of failures."""

    id: str
    raised: tuple[str, ...] = ()
    """Regular expressions of messages of exceptions, any of which shows it."""
    printed: tuple[str, ...] = ()
    """Regular expressions of other texts, any of which shows it."""
    unless: tuple[str, ...] = ()
    """Regular expressions that show that it is another cause."""
    follows: tuple[str, ...] = ()
    """Causes of which this one is a consequence, where they are recognised in the same log."""
    packages: tuple[str, ...] = ()
    versions: str = ""
    """The versions that it concerns, in words; empty: any."""
    cause: str
    consequence: str
    fix: str
    """One command, or one change."""
    sources: tuple[str, ...]
    """Issues as OWNER/NAME#NUMBER, or pages of a library's documentation."""

    def __post_init__(self) -> None:
        if not self.raised + self.printed:
            raise ConfigError(f"the cause '{self.id}' has no pattern", do="give it 'raised' or 'printed'")

    @property
    def raised_patterns(self) -> list[re.Pattern[str]]:
        """`raised`, each behind the end of an exception's name."""
        return [compiled(_RAISED + pattern) for pattern in self.raised]

    @property
    def printed_patterns(self) -> list[re.Pattern[str]]:
        """`printed`, for anywhere in a log."""
        return [compiled(pattern) for pattern in self.printed]

    def is_excluded_by(self, text: str) -> bool:
        """Whether a log shows that it is another cause."""
        return any(compiled(pattern).search(text) for pattern in self.unless)


@functools.cache
def read_causes(folder: Path = Path(__file__).parent) -> tuple[Cause, ...]:
    """Every cause of the files `*.toml` in a folder, in the order of the files and of the tables in them.

    Raises:
        ConfigError: a table has an unknown key, or lacks one.
    """
    found = []
    for file in sorted(folder.glob("*.toml")):
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
        found += [decode(Cause, {"id": name, **table}, where=file) for name, table in tables.items()]
    return tuple(found)


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A cause's pattern as a regular expression, in which a space stands for any white space."""
    return re.compile(
        re.sub(r"(\[[^\]]*\])|( )", lambda match: match[1] or _WHITE, pattern), flags=re.MULTILINE
    )
