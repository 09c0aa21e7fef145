"""`visionsmith doctor`: what is wrong with this environment, or with the run that wrote a log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.report.console import show_json

if TYPE_CHECKING:
    from visionsmith.doctor.finding import Finding
    from visionsmith.doctor.match import Recognised

__all__ = ["doctor"]


def doctor(
    log: Annotated[
        Path | None, typer.Option(help="A log or traceback to explain; - reads what is piped in.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also import torch and its neighbours, in child processes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Look for what is wrong: in this environment, or with --log in what a failed run printed.

    Nothing is installed and the network is not used. Exit code 2: the environment has a problem. With --log: 0,
    whether a cause is recognised or not.
    """
    progress = not quiet and not as_json
    if log is not None:
        _explain(log, deep=deep, as_json=as_json, progress=progress)
        return
    from visionsmith.doctor.facts import gather
    from visionsmith.doctor.live import examine

    facts = gather()
    findings = examine(facts)
    if deep:
        from visionsmith.doctor.deep import examine_deep

        findings = sorted(
            [*findings, *examine_deep(facts, progress=progress)],
            key=lambda finding: ("problem", "caution", "fine").index(finding.severity),
        )
    if as_json:
        show_json([finding.plain() for finding in findings])
    else:
        _show_findings(findings)
    if any(finding.severity == "problem" for finding in findings):
        raise typer.Exit(2)


def _explain(log: Path, *, deep: bool, as_json: bool, progress: bool) -> None:
    from visionsmith.doctor.match import diagnose, read_log, read_stream
    from visionsmith.errors import ConfigError

    if deep:
        raise ConfigError("--deep looks at this environment and --log at a file", do="give one of them")
    if str(log) == "-":
        if sys.stdin.isatty():
            raise ConfigError("nothing is piped in", do="python train.py 2>&1 | visionsmith doctor --log -")
        content = read_stream(sys.stdin.buffer)
    else:
        content = read_log(log)
    recognised = diagnose(content, progress=progress)
    if as_json:
        show_json([_plain(one) for one in recognised])
    elif not recognised:
        typer.echo("no known cause in this log")
    else:
        _show_causes(recognised)


def _plain(one: Recognised) -> dict[str, Any]:
    return {
        "id": one.cause.id,
        "line": one.line,
        "text": one.text,
        "count": one.count,
        "cause": one.what,
        "consequence": one.cause.consequence,
        "fix": one.fix,
        "follows": list(one.follows),
        "packages": list(one.cause.packages),
        "versions": one.cause.versions,
        "sources": list(one.cause.sources),
    }


def _show_findings(findings: list[Finding]) -> None:
    for finding in findings:
        typer.echo(f"{finding.severity:8} {finding.check}: {finding.found}")
        if finding.severity != "fine":
            typer.echo(f"{'':9}cause: {finding.cause}")
            typer.echo(f"{'':9}consequence: {finding.consequence}")
            typer.echo(f"{'':9}mend: {finding.fix}")
    counts = {name: sum(finding.severity == name for finding in findings) for name in ("problem", "caution")}
    parts = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()]
    typer.echo(f"\n{' and '.join(parts)} in {len(findings)} findings")


def _show_causes(recognised: list[Recognised]) -> None:
    for place, one in enumerate(recognised, start=1):
        after = f", follows from {', '.join(one.follows)}" if one.follows else ""
        times = f", {one.count} times" if one.count > 1 else ""
        typer.echo(f"{place}. {one.cause.id} (line {one.line}{times}{after})")
        typer.echo(f"   {one.text}")
        typer.echo(f"   cause: {one.what}")
        typer.echo(f"   consequence: {one.cause.consequence}")
        typer.echo(f"   mend: {one.fix}")
        if one.cause.versions:
            typer.echo(f"   versions: {one.cause.versions}")
        typer.echo(f"   source: {', '.join(one.cause.sources)}")
