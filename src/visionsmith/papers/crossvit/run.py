"""CrossViT on a user's own pictures: labels, and where the class tokens look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.errors import ConfigError

if TYPE_CHECKING:
    from visionsmith.papers.crossvit.classifier import CrossViTClassifier

__all__ = ["command", "load"]

MOST_LOOKED_AT = 20
"""Pictures on the sheet of attention."""


def load(source: str | Path | None = None, *, device: str = "cpu") -> CrossViTClassifier:
    """Open a CrossViT, ready to answer.

    Args:
        source: a checkpoint of the project, or a .safetensors file under the published names; None for the checkpoint
            that ships.
        device: where to place the model.
    """
    from visionsmith.papers.crossvit.classifier import CrossViTClassifier, settings_of
    from visionsmith.papers.crossvit.official import load_any
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("crossvit") if source is None else source
    model = load_any(source).eval().to(device)
    classes, resize = settings_of(source, model)
    return CrossViTClassifier(model, classes, resize=resize)


def command(
    images: Annotated[list[Path] | None, typer.Argument(help="Pictures, or folders of pictures.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint or .safetensors file; without it, the one that ships.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many labels a picture.", min=1)] = 5,
    attention: Annotated[
        Path | None,
        typer.Option(
            help="Also write this PNG: where each branch's class token looks, in the first 20 pictures."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The contact sheet, a PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Label pictures with the classes that the model was trained on."""
    if not images:
        raise ConfigError("no pictures were given", do="name pictures, or a folder of pictures")
    from visionsmith.data.pictures import Pictures, find_pictures, free_name
    from visionsmith.image.io import write_image
    from visionsmith.papers.classify import label_files, show_labels

    sheet = free_name("crossvit", output)
    looked_at = free_name("crossvit-attention", attention) if attention else None
    if looked_at == sheet:
        raise ConfigError(f"'{sheet}' would be both sheets", do="give --output and --attention two names")
    pictures = Pictures(find_pictures(images))
    classifier = load(checkpoint)
    found = label_files(classifier, pictures, top=top, sheet=sheet)
    if looked_at is not None:
        names = pictures.names[:MOST_LOOKED_AT]
        drawn = [pictures.read(name) for name in names]
        write_image(looked_at, classifier.attention_sheet(drawn, [name.name for name in names]))
    show_labels(found, pictures, sheet, as_json=as_json)
    if looked_at is not None:
        typer.echo(f"attention: {looked_at}", err=as_json)
