"""`visionsmith data advise`: how a data set loads, and with which setting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionsmith.report.console import show_json, show_table

__all__ = ["advise"]

_WIDTH = 100


def advise(
    source: Annotated[
        Path, typer.Argument(help="A record store, anything that can be packed, or 'openmoji'.")
    ],
    batch_size: Annotated[int, typer.Option(help="Samples of a training step.")] = 256,
    workers: Annotated[int, typer.Option(help="Try 0 to so many loader workers.")] = 4,
    size: Annotated[int, typer.Option(help="Side of the random crop, pixels.")] = 224,
    epochs: Annotated[int, typer.Option(help="Epochs that samples and classes are counted over.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long each number of workers is measured.")] = 3.0,
    label: Annotated[str | None, typer.Option(help="Field of the metadata that is the class.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for a page with plots, and everything as JSON.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace advice in that folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Measure loading with 0 to N workers, say what limits it, and what the last batch and the classes do."""
    from visionsmith.data.advice import advise as measure
    from visionsmith.report.advice_page import (
        PAGE,
        require_free,
        speed_rows,
        stage_rows,
        values,
        write_advice,
    )
    from visionsmith.report.advice_words import recommendation, sentences, title

    if output is not None:
        require_free(output, overwrite=overwrite)
    advice = measure(
        source,
        batch_size=batch_size,
        workers=workers,
        size=size,
        epochs=epochs,
        seconds=seconds,
        label=label,
        progress=not quiet and not as_json,
    )
    if output is not None:
        write_advice(advice, output)
    if as_json:
        show_json(values(advice))
        return
    typer.echo(f"{title(advice)}\n")
    show_table(*speed_rows(advice))
    typer.echo()
    show_table(*stage_rows(advice))
    for heading, lines in sentences(advice).items():
        typer.echo(f"\n{heading}")
        for line in lines:
            typer.echo(_wrapped(line))
    typer.echo(f"\n{recommendation(advice)}: {' '.join(advice.settings)}")
    if output is not None:
        typer.echo(f"page: {output / PAGE}")


def _wrapped(sentence: str) -> str:
    """A sentence in lines that are easy to read, with a hanging indent."""
    import textwrap

    return textwrap.fill(sentence, _WIDTH, initial_indent="  ", subsequent_indent="    ")
