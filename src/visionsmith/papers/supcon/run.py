"""SupCon on a user's own pictures: labels, and the pictures most like one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.errors import ConfigError

if TYPE_CHECKING:
    from visionsmith.data.pictures import Pictures
    from visionsmith.papers.supcon.supcon import SupCon

__all__ = ["command", "load"]


def load(source: str | Path | None = None, *, device: str = "cpu") -> SupCon:
    """Open a model, ready to use.

    Args:
        source: a checkpoint of the project, or a .safetensors file under published names; None for the checkpoint that
            ships.
        device: where to place the model.
    """
    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.supcon.official import load_any
    from visionsmith.papers.supcon.supcon import SupCon

    model = load_any(shipped_checkpoint("supcon") if source is None else source)
    supcon = SupCon(model.eval())
    supcon.to(device)
    return supcon


def command(
    images: Annotated[list[Path] | None, typer.Argument(help="Pictures, or folders of pictures.")] = None,
    similar: Annotated[Path | None, typer.Option(help="A picture: find those most like it.")] = None,
    folder: Annotated[Path | None, typer.Option("--in", help="Folder to search in.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint or .safetensors file; without it, the one that ships.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many answers to show.", min=1)] = 5,
    output: Annotated[Path | None, typer.Option(help="The contact sheet, a PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Label pictures, or find the pictures most like one by the encoder's features."""
    from visionsmith.data.pictures import Pictures, find_pictures, free_name
    from visionsmith.papers.classify import label_files, show_labels

    given = [*(images or []), *([folder] if folder else [])]
    if not given:
        raise ConfigError("no pictures were given", do="name pictures, or a folder with --in")
    sheet = free_name("supcon", output)
    pictures = Pictures(find_pictures(given))
    supcon = load(checkpoint)
    if similar is not None:
        _similar(supcon, similar, pictures, top=top, sheet=sheet, as_json=as_json)
        return
    found = label_files(supcon, pictures, top=top, sheet=sheet)
    show_labels(found, pictures, sheet, as_json=as_json)


def _similar(
    supcon: SupCon, picture: Path, pictures: Pictures, *, top: int, sheet: Path, as_json: bool
) -> None:
    from visionsmith.image.io import write_image
    from visionsmith.papers.classify import MOST_SHOWN
    from visionsmith.report.console import list_first, show_json, show_table
    from visionsmith.report.sheet import contact_sheet

    query = pictures.read(picture)
    # The picture itself is no answer.
    pictures.paths = [path for path in pictures.paths if path.resolve() != picture.resolve()]
    if not pictures.paths:
        raise ConfigError(
            f"there is nothing to compare '{picture}' with", do="name a folder of other pictures"
        )
    found = [(pictures.names[place], score) for place, score in supcon.similar(query, pictures, top)]
    drawn = [query, *(pictures.read(name) for name, _ in found[:MOST_SHOWN])]
    # Where folders are classes, the folder says more than the file.
    captions = ["asked for"] + [
        f"{rank + 1}. {Path(*name.parts[-2:])} {score:.2f}" for rank, (name, score) in enumerate(found)
    ]
    write_image(sheet, contact_sheet(drawn, captions[: len(drawn)], title=f"Most like {picture.name}"))
    rows: Sequence[tuple[int, str, float]] = [
        (rank + 1, str(name), round(score, 4)) for rank, (name, score) in enumerate(found)
    ]
    if as_json:
        answers = [{"picture": name, "similarity": score} for _, name, score in rows]
        show_json(
            {
                "similar": str(picture),
                "pictures": answers,
                "searched": len(pictures.names),
                "left_out": [str(error) for error in pictures.broken],
                "sheet": str(sheet),
            }
        )
        return
    show_table(("rank", "picture", "similarity"), rows)
    list_first([f"left out: {error}" for error in pictures.broken])
    typer.echo(f"contact sheet: {sheet}")
