"""`visionsmith list`: every system, and what works."""

from __future__ import annotations

from typing import Annotated

import typer

from visionsmith.papers.paper import VERBS, Paper, all_papers
from visionsmith.report.console import show_json, show_table

__all__ = ["list_papers"]


def list_papers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every system with its paper, task, presets and the verbs that work today."""
    papers = all_papers()
    if as_json:
        show_json([_plain(paper) for paper in papers])
        return
    columns = ("system", "paper", "task", "parameters", *VERBS, "presets")
    rows = [
        (
            paper.name,
            paper.arxiv or paper.venue or "-",
            paper.task,
            _sizes(paper),
            *("yes" if paper.works(verb) else "-" for verb in VERBS),
            " ".join(paper.presets) or "-",
        )
        for paper in papers
    ]
    show_table(columns, rows)
    ready = sum(bool(paper.verbs) for paper in papers)
    typer.echo(
        f"\n{ready} of {len(papers)} systems work; '-' is not built yet. Titles and exact counts: --json."
    )


def _sizes(paper: Paper) -> str:
    """Smallest and largest published size: "149.6M to 427.9M"."""
    sizes = sorted(paper.parameters.values())
    if not sizes:
        return "-"
    ends = [f"{size / 1e9:.1f}B" if size >= 1e9 else f"{size / 1e6:.1f}M" for size in (sizes[0], sizes[-1])]
    return " to ".join(dict.fromkeys(ends))


def _plain(paper: Paper) -> dict[str, object]:
    return {
        "name": paper.name,
        "title": paper.title,
        "row": paper.row,
        "arxiv": paper.arxiv,
        "venue": paper.venue,
        "task": paper.task,
        "presets": list(paper.presets),
        "parameters": paper.parameters,
        "works": {verb: paper.works(verb) for verb in VERBS},
        "licence": {"code": paper.code_licence, "weights": paper.weights_licence},
        "builds_on": list(paper.builds_on),
        "left_out": list(paper.left_out),
    }
