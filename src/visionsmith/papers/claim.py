"""A statement of a paper beside what was measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Claim", "apart", "mean", "range_of", "spread"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement, the paper's figure, ours, and whether the statement holds at this scale."""

    statement: str
    """What the paper says, in one sentence."""
    source: str
    """Section, table or figure of the paper."""
    paper: str
    """The paper's figure, with its unit and data set."""
    measured: str
    """Our figure, with its unit and data set, and the spread where several seeds were run."""
    holds: bool
    """Whether the direction of the statement holds at this scale."""
    command: str
    """The command that measures it."""
    note: str = ""
    """What a reader must know to read the figure rightly."""
    values: tuple[tuple[str, float], ...] = ()
    """The raw measurements by name."""

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "values": dict(self.values)}


def mean(values: Sequence[float]) -> float:
    """The mean over seeds."""
    return sum(values) / len(values)


def spread(values: Sequence[float]) -> str:
    """Mean and range of shares over seeds: "41.2% (39.8% to 42.5%)"."""
    return f"{mean(values):.1%} ({min(values):.1%} to {max(values):.1%})"


def range_of(values: Sequence[float], digits: int) -> str:
    """Mean and range over seeds: "0.412 (0.398 to 0.425)"."""
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def apart(higher: Sequence[float], lower: Sequence[float]) -> bool:
    """Whether the first mean is higher by more than the seeds alone explain.

    The difference of the means must be above the sum of their standard errors (n - 1 in the deviations): with three
    seeds a rule of thumb, not a test of significance, but one that a difference within the noise does not pass.
    """
    return mean(higher) - mean(lower) > _error(higher) + _error(lower)


def _error(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    centre = mean(values)
    return float((sum((value - centre) ** 2 for value in values) / (len(values) - 1) / len(values)) ** 0.5)
