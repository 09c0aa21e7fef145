"""All checks over one snapshot."""

from __future__ import annotations

from collections.abc import Callable

from visionsmith.doctor import checks_packages, checks_system
from visionsmith.doctor.facts import Facts
from visionsmith.doctor.finding import Finding

__all__ = ["CHECKS", "examine"]

CHECKS: tuple[Callable[[Facts], list[Finding]], ...] = (
    checks_packages.check_python,
    checks_packages.check_torch_companions,
    checks_system.check_driver,
    checks_packages.check_nccl,
    checks_packages.check_numpy,
    checks_packages.check_opencv,
    checks_packages.check_requirements,
    checks_packages.check_pairs,
    checks_packages.check_advisories,
    checks_packages.check_leftovers,
    checks_system.check_memory,
    checks_system.check_shared_memory,
    checks_system.check_disks,
    checks_system.check_cache,
    checks_system.check_time_zone,
    checks_system.check_encoding,
    checks_system.check_docker,
    checks_system.check_build_tools,
)
_ORDER = ("problem", "caution", "fine")


def examine(facts: Facts) -> list[Finding]:
    """What every check finds, problems first."""
    findings = [finding for check in CHECKS for finding in check(facts)]
    return sorted(findings, key=lambda finding: _ORDER.index(finding.severity))
