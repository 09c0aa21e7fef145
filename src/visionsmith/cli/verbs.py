"""The verbs over papers: train, evaluate, run, claims. What they do for a paper lies in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from visionsmith.errors import ConfigError, OutputError
from visionsmith.papers.paper import Paper, all_papers, get_paper
from visionsmith.report.console import show_json, show_table, show_values

__all__ = ["claims", "evaluate", "run_app", "train"]

Name = Annotated[str, typer.Argument(metavar="SYSTEM", help="A system; `visionsmith list` shows them.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


def train(
    name: Name,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. lr=1e-3.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data set; without it, the built-in one.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    preset: Annotated[str | None, typer.Option(help="Recipe to start from.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML settings, or the config.yaml of a run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Show the settings and stop.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a system: `visionsmith train clip --data pictures/ --output run lr=1e-3`."""
    paper = _paper(name, "train")
    recipe, data = _recipe(paper, preset, config, settings or [], data)
    if print_config:
        from visionsmith.config import to_yaml

        typer.echo(to_yaml(recipe), nl=False)
        return
    if output is None:
        raise ConfigError("--output is missing", do="name a folder for the run, e.g. --output runs/first")
    if data is not None:
        from visionsmith.data.sources import find_source

        # Before a folder is made for the run.
        getattr(paper.module("train"), "check_data", find_source)(data)
    checkpoint = paper.module("train").train(
        recipe, data=data, output=output, resume=resume, progress=not quiet
    )
    report = output / "report.html"
    typer.echo(f"checkpoint: {checkpoint}" + (f"\nreport: {report}" if report.exists() else ""))


def evaluate(
    name: Name,
    checkpoint: Annotated[Path | None, typer.Option(help="Without it, the one that ships.")] = None,
    data: Annotated[Path | None, typer.Option(help="Without it, the built-in held-out data.")] = None,
    output: Annotated[Path | None, typer.Option(help="Also write the result to this JSON file.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a system: without options, the shipped checkpoint on built-in held-out data."""
    paper = _paper(name, "evaluate")
    result = paper.module("evaluate").evaluate(
        checkpoint=checkpoint, data=data, progress=not quiet and not as_json
    )
    _deliver(result, output)
    if as_json:
        show_json(result)
    else:
        show_values(result, title=f"{paper.title}: {paper.name}")


def claims(
    name: Name,
    output: Annotated[
        Path | None, typer.Option(help="Keep runs and the result here; an interrupted check goes on.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a paper's statements at small scale, beside its own figures."""
    paper = _paper(name, "claims")
    found = paper.module("claims").claims(output=output, progress=not quiet)
    plain = [claim.plain() for claim in found]
    if as_json:
        show_json(plain)
        return
    rows = [
        (c.statement, c.paper, c.measured, "holds" if c.holds else "does not hold", c.note) for c in found
    ]
    show_table(("the paper says", "its figure", "measured here", "", "note"), rows)


class _PaperGroup(TyperGroup):
    """`visionsmith run SYSTEM`: each system brings its own options, imported when it is named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [paper.name for paper in all_papers() if paper.works("run")]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        paper = _paper(cmd_name, "run")
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name=cmd_name)(paper.module("run").command)
        return typer.main.get_command(single)


run_app = typer.Typer(
    cls=_PaperGroup, no_args_is_help=True, rich_markup_mode=None, help="Use a system on your own input."
)


@run_app.callback()
def _run() -> None:
    """Use a system on your own input."""


def _paper(name: str, verb: str) -> Paper:
    paper = get_paper(name)
    if not paper.works(verb):
        raise ConfigError(
            f"'{name}' cannot {verb} yet", do=f"what works for it: {', '.join(paper.verbs) or 'nothing yet'}"
        )
    return paper


def _recipe(
    paper: Paper, preset: str | None, file: Path | None, settings: list[str], data: Path | None
) -> tuple[Any, Path | None]:
    """Defaults, then the YAML file, then the command line."""
    from visionsmith.config import override, read_yaml

    values = read_yaml(file) if file is not None else {}
    if "recipe" in values and "paper" in values:  # the config.yaml of a run
        if values["paper"] != paper.name:
            raise ConfigError(f"is of '{values['paper']}', not of '{paper.name}'", where=file)
        if data is None and values.get("data"):
            data = Path(values["data"])
        values = values["recipe"]
    recipe = paper.recipe(preset or (paper.presets[0] if paper.presets else "tiny"))
    if values:
        recipe = override(recipe, values, where=file)
    return override(recipe, settings), data


def _deliver(result: Any, output: Path | None) -> None:
    if output is None:
        return
    import json

    if output.is_dir():
        raise OutputError("is a folder", where=output, do="give --output a file name, e.g. result.json")
    from visionsmith.durable import write_whole

    write_whole(output, (json.dumps(result, indent=2, ensure_ascii=False) + "\n").encode())
