"""`visionsmith demo`: what works, on one page, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    systems: Annotated[
        list[str] | None,
        typer.Argument(help="Systems to show; without any, all that have something to show."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the page and what it shows.")] = Path("demo"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run the systems' demonstrations on built-in data and write one page; takes a few minutes for all."""
    import time

    from visionsmith._version import __version__
    from visionsmith.errors import ConfigError, OutputError
    from visionsmith.papers.paper import all_papers, get_paper
    from visionsmith.report.page import Page

    began = time.monotonic()
    shown = [get_paper(name) for name in systems] if systems else all_papers()
    if systems and (silent := [paper.name for paper in shown if not paper.has("demo")]):
        raise ConfigError(f"'{silent[0]}' has no demonstration", do="`visionsmith list` shows what works")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot be made ({error.strerror})", where=output, do="choose a folder that you may write to"
        ) from error
    page = Page(
        "visionsmith",
        f"Executable paper reviews, version {__version__}. Measured now, on this machine; training curves came with "
        "the checkpoints.",
    )
    commands: list[str] = []
    for paper in shown:
        if paper.has("demo"):
            if not quiet:
                typer.echo(f"{paper.name}: {paper.title}", err=True)
            commands += paper.module("demo").demo(page, folder=output, progress=not quiet)
    commands = [command.replace("visionsmith", _program(), 1) for command in commands]
    page.section("Next")
    page.code("\n".join(commands))
    page.write(output / "index.html")
    typer.echo(f"\npage: {output / 'index.html'}   ({time.monotonic() - began:.0f} s)\n\nNext:")
    for command in commands:
        typer.echo(f"  {command}")


def _program() -> str:
    """How to call this program: by its name where the shell finds it, else by its place in the virtual environment."""
    import shutil
    import sys

    if shutil.which("visionsmith"):
        return "visionsmith"
    program = Path(sys.executable).parent / "visionsmith"
    here = Path.cwd()
    return str(program.relative_to(here) if program.is_relative_to(here) else program)
