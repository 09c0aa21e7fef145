"""SwimBird on a user's own pictures and questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.swimbird.answers import Answer
    from visionsmith.papers.swimbird.generate import Written
    from visionsmith.papers.swimbird.reasoner import Reasoner

__all__ = ["command", "load"]


def load(
    source: str | Path | None = None,
    *,
    least_thoughts: int | None = None,
    most_thoughts: int | None = None,
    device: str = "cpu",
) -> Reasoner:
    """Open a SwimBird, ready to answer.

    Args:
        source: a checkpoint of the project, a SwimBird or Qwen3-VL folder, or a hub id in the local cache; None for the
            checkpoint that ships.
        least_thoughts: fewest thoughts of a span (N_min) in place of the model's own.
        most_thoughts: most thoughts of a span (N_max) in place of the model's own.
        device: where to place the model.
    """
    import dataclasses

    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.swimbird.official import open_reasoner

    bird = open_reasoner(shipped_checkpoint("swimbird") if source is None else source)
    config = bird.model.config
    bird.model.config = dataclasses.replace(
        config,
        min_latent_token=config.min_latent_token if least_thoughts is None else least_thoughts,
        latent_limit=config.latent_limit if most_thoughts is None else most_thoughts,
    )
    return bird.to(device)


def command(
    images: Annotated[
        list[Path] | None, typer.Argument(help="Pictures that the questions are about.")
    ] = None,
    ask: Annotated[list[str] | None, typer.Option(help="A question; may be given several times.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint or Qwen3-VL folder; without it, the one that ships.")
    ] = None,
    show_thoughts: Annotated[Path | None, typer.Option(help="Draw where the thoughts look, a PNG.")] = None,
    least_thoughts: Annotated[
        int | None, typer.Option(help="Fewest thoughts of a span (N_min).", min=1)
    ] = None,
    most_thoughts: Annotated[int | None, typer.Option(help="Most thoughts of a span (N_max).", min=1)] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the most probable token.", min=0.0)] = 0.0,
    most: Annotated[int, typer.Option(help="Most tokens an answer.", min=1)] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer questions about pictures, or without any, and say how it was thought."""
    if not ask:
        raise ConfigError("no question was given", do='ask one, as in --ask "What is in the middle?"')
    from visionsmith.data.pictures import free_name
    from visionsmith.image.io import read_image
    from visionsmith.papers.swimbird.generate import Sampling
    from visionsmith.report.console import show_json

    sheet = None if show_thoughts is None else free_name("thoughts", show_thoughts)
    pictures = [read_image(path) for path in images or []]
    bird = load(checkpoint, least_thoughts=least_thoughts, most_thoughts=most_thoughts)
    found = bird.ask_all(
        [(question, pictures) for question in ask], most=most, sampling=Sampling(temperature=temperature)
    )
    drawn = 0 if sheet is None else _draw(bird, pictures, ask, found, sheet)
    if as_json:
        answers = [_plain(question, *each) for question, each in zip(ask, found, strict=True)]
        show_json({"answers": answers, "thoughts": str(sheet) if drawn else None})
        return
    for question, (answer, written) in zip(ask, found, strict=True):
        spans = f", {_counted(answer.lengths)}" if answer.lengths else ""
        typer.echo(f"{question}\n  answer: {answer.text or '(none)'}")
        typer.echo(f"  thought in: {answer.mode}{spans}{'' if written.ended else '; cut off at the limit'}")
        if answer.reason:
            typer.echo(f"  reason: {answer.reason}")
    if sheet is not None:
        typer.echo(f"thoughts: {sheet}" if drawn else "no picture and no latent span: nothing to draw")


def _counted(lengths: tuple[int, ...]) -> str:
    """A span of 1 thought; spans of 2 and 4 thoughts."""
    if len(lengths) == 1:
        return f"a span of {lengths[0]} thought{'s' * (lengths[0] != 1)}"
    return f"spans of {', '.join(map(str, lengths[:-1]))} and {lengths[-1]} thoughts"


def _plain(question: str, answer: Answer, written: Written) -> dict[str, Any]:
    return {
        "question": question,
        "answer": answer.text,
        "mode": answer.mode,
        "reason": answer.reason,
        "spans": [
            {"start": span.start, "thoughts": span.length, "closed": span.closed} for span in written.spans
        ],
        "ended": written.ended,
    }


def _draw(
    bird: Reasoner,
    pictures: list[np.ndarray],
    questions: list[str],
    found: list[tuple[Answer, Written]],
    sheet: Path,
) -> int:
    """Write the sheet of all spans; how many there were."""
    from visionsmith.image.io import write_image
    from visionsmith.papers.swimbird.looks import draw_looks
    from visionsmith.report.sheet import contact_sheet

    drawn, captions = [], []
    for question, (answer, written) in zip(questions, found, strict=True):
        for place, look in enumerate(draw_looks(bird.model, pictures, written)):
            drawn.append(look)
            captions.append(f"{question} {answer.text} (span {place + 1})")
    if drawn:
        write_image(sheet, contact_sheet(drawn, captions))
    return len(drawn)
