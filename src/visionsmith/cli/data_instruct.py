"""`visionsmith data instruct`: conversations about pictures, made from captions and boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.cli.data_common import Json, Quiet, list_problems
from visionsmith.errors import ConfigError
from visionsmith.report.console import show_json, show_table

if TYPE_CHECKING:
    from visionsmith.papers.endpoint import Endpoint
    from visionsmith.papers.llava.generate import Generated

__all__ = ["instruct_command"]

SCENES = "scenes"


def instruct_command(
    source: Annotated[
        str,
        typer.Argument(help="COCO annotations, or any data with captions or boxes; 'scenes': built-in ones."),
    ],
    output: Annotated[
        Path, typer.Argument(help="Folder to make: conversations.json, images/, rejected.jsonl.")
    ],
    endpoint: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible server; without it, a grammar writes.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of its language model.")] = None,
    key_variable: Annotated[str, typer.Option(help="Environment variable with its key.")] = "OPENAI_API_KEY",
    cache: Annotated[
        Path | None, typer.Option(help="Folder in which its answers are kept; without it, OUTPUT/answers.")
    ] = None,
    price: Annotated[
        tuple[float, float] | None, typer.Option(help="Of a million tokens, read and written, for the cost.")
    ] = None,
    types: Annotated[
        str, typer.Option(help="Of conversation, detail and reasoning.")
    ] = "conversation,detail,reasoning",
    count: Annotated[int, typer.Option(help="Built-in scenes.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Of the scenes and the grammar.", min=0)] = 0,
    temperature: Annotated[float, typer.Option(help="Of the language model.", min=0.0)] = 0.7,
    workers: Annotated[
        int, typer.Option(help="Questions that the endpoint is asked at a time; processes on Ray.", min=1)
    ] = 8,
    ray: Annotated[
        bool, typer.Option("--ray", help="Write on Ray Data: here, or on the cluster of RAY_ADDRESS.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a list that is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write instructions in LLaVA's layout: `visionsmith data instruct coco/annotations/captions_val.json made`."""
    if (endpoint is None) != (model is None):
        raise ConfigError("an endpoint and its model belong together", do="give --endpoint and --model")
    from visionsmith.papers.endpoint import Endpoint, Price
    from visionsmith.papers.llava import generate as making
    from visionsmith.papers.llava import spread as ways

    asked = None
    if endpoint is not None and model is not None:
        tokens = Price(*price) if price else None
        asked = Endpoint(
            endpoint, model, key_variable=key_variable, cache=cache or output / "answers", price=tokens
        )
    # A grammar does not wait for anybody: threads would only take turns.
    spread = ways.in_threads(workers) if asked else ways.in_turn
    if ray:
        spread = ways.on_ray(workers, endpoint=asked)
    facts, names, left_out = making.open_facts(
        None if source == SCENES else Path(source), count=count, seed=seed
    )
    made = making.generate(
        facts,
        output,
        making.by_endpoint(asked, temperature=temperature) if asked else making.by_grammar(seed),
        spread=spread,
        kinds=[name.strip() for name in types.split(",") if name.strip()],
        names=names,
        left_out=left_out,
        overwrite=overwrite,
        progress=not quiet and not as_json,
    )
    _print(made, output / making.LIST, asked, as_json)


def _print(made: Generated, path: Path, endpoint: Endpoint | None, as_json: bool) -> None:
    used = endpoint.used if endpoint else None
    if as_json:
        show_json(
            {
                "path": str(path),
                "conversations": made.count,
                "types": made.kinds,
                "turns": made.turns,
                "rejected": made.reasons(),
                "left_out": [{"key": key, "reason": reason} for key, reason in made.left_out],
                "endpoint": dict(used.__dict__) if used else None,
            }
        )
        return
    rows: list[tuple[str, int]] = [(kind, number) for kind, number in made.kinds.items()]
    rows += [(f"rejected: {reason}", number) for reason, number in made.reasons().items()]
    show_table(("conversations", "count"), rows)
    list_problems("left out", made.left_out)
    if used:
        cost = f", cost {used.cost:,.4f}" if used.cost else ""
        typer.echo(
            f"endpoint: {used.requests:,} requests, {used.cached:,} from cache, {used.prompt_tokens:,} tokens read, "
            f"{used.answer_tokens:,} written{cost}"
        )
    typer.echo(f"written: {path}")
