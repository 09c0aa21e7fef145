"""`visionsmith data curate`: dialogues for SwimBird, chosen by what a model can do with and without the hint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionsmith.cli.data_common import Json, Quiet
from visionsmith.errors import ConfigError
from visionsmith.report.console import show_json, show_table

__all__ = ["curate_command"]


def curate_command(
    source: Annotated[Path, typer.Argument(help="JSON list of dialogues with pictures, hints and answers.")],
    output: Annotated[Path, typer.Argument(help="The list to write.")],
    endpoint: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible server that tries and judges.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of its vision-language model.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="Name of its model that judges; without it, answers must be equal.")
    ] = None,
    key_variable: Annotated[str, typer.Option(help="Environment variable with its key.")] = "OPENAI_API_KEY",
    cache: Annotated[Path | None, typer.Option(help="Folder in which its answers are kept.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A SwimBird that tries, in place of an endpoint; without both, the shipped one."),
    ] = None,
    tries: Annotated[int, typer.Option(help="Tries with, and without the hint.", min=1)] = 8,
    easy: Annotated[float, typer.Option(help="Share of right tries from which on it is too easy.")] = 1.0,
    vision: Annotated[float, typer.Option(help="Share with the hint from which on looking is all.")] = 0.75,
    temperature: Annotated[float, typer.Option(help="Of the tries.", min=0.0)] = 1.0,
    workers: Annotated[int, typer.Option(help="Dialogues that an endpoint works on at a time.", min=1)] = 8,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep dialogues whose hint helps, and label how each is thought: `visionsmith data curate raw.json kept.json`."""
    if (endpoint is None) != (model is None):
        raise ConfigError("an endpoint and its model belong together", do="give --endpoint and --model")
    if judge is not None and endpoint is None:
        raise ConfigError("a judge needs an endpoint", do="give --endpoint and --model, or leave --judge out")
    from visionsmith.papers.endpoint import Endpoint
    from visionsmith.papers.swimbird import curate as curation

    settings = curation.CurationConfig(tries=tries, easy=easy, vision=vision)
    asked: list[Endpoint] = []
    if endpoint is not None and model is not None:
        asked = [
            Endpoint(endpoint, name, key_variable=key_variable, cache=cache)
            for name in (model, judge)
            if name
        ]
        solve = curation.endpoint_solver(asked[0], temperature=temperature)
    else:
        from visionsmith.papers.swimbird.run import load

        solve = curation.local_solver(load(checkpoint), temperature=temperature)
    found = curation.curate(
        source,
        output,
        solve=solve,
        judge=curation.exact_judge if judge is None else curation.endpoint_judge(asked[1]),
        settings=settings,
        # A model in this process has no use for threads.
        workers=workers if asked else 1,
        progress=not quiet and not as_json,
    )
    used = [each.used for each in asked]
    totals = {
        "requests": sum(each.requests for each in used),
        "from_cache": sum(each.cached for each in used),
        "prompt_tokens": sum(each.prompt_tokens for each in used),
        "answer_tokens": sum(each.answer_tokens for each in used),
    }
    if as_json:
        dropped = [{"item": place, "reason": reason} for place, reason in found.dropped]
        show_json(
            {"path": str(output), "kept": len(found.kept), "modes": found.modes, "dropped": dropped, **totals}
        )
        return
    rows = [(f"kept: {mode}", count) for mode, count in found.modes.items()]
    rows += [(f"dropped: {reason}", count) for reason, count in found.reasons.items()]
    show_table(("dialogues", "count"), rows)
    if asked:
        typer.echo(
            "endpoint: " + ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in totals.items())
        )
    typer.echo(f"written: {output}")
