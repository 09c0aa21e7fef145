"""A statement of a paper beside what was measured here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Claim"]


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
