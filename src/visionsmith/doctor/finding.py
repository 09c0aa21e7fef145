"""What a look at an environment found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Finding", "Severity", "caution", "fine", "problem"]

Severity = Literal["problem", "caution", "fine"]
"""Broken now; works, with a risk that has bitten others; as it should be."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what it means."""

    check: str
    """What was looked at, e.g. "torchvision"."""
    severity: Severity
    found: str
    """The values that were found."""
    cause: str = ""
    """Why that is wrong; empty when it is fine."""
    consequence: str = ""
    fix: str = ""
    """One command, or one change, that mends it."""

    def plain(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def fine(check: str, found: str) -> Finding:
    """As it should be."""
    return Finding(check, "fine", found)


def caution(check: str, found: str, *, cause: str, consequence: str, fix: str) -> Finding:
    """Works, with a risk."""
    return Finding(check, "caution", found, cause, consequence, fix)


def problem(check: str, found: str, *, cause: str, consequence: str, fix: str) -> Finding:
    """Broken now."""
    return Finding(check, "problem", found, cause, consequence, fix)
