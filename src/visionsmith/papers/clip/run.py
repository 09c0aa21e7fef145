"""CLIP on a user's own pictures: zero-shot labels, and search by a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.errors import ConfigError
from visionsmith.report.console import list_first, show_json, show_table

if TYPE_CHECKING:
    from visionsmith.data.pictures import Pictures
    from visionsmith.papers.clip.clip import Clip

__all__ = ["command", "load"]

Answer = tuple[dict[str, Any], Sequence[str], Sequence[Sequence[object]]]
"""What goes into JSON, and the table's columns and rows."""

MOST_SHOWN = 60
"""Pictures on a contact sheet."""


def load(
    source: str | Path | None = None,
    *,
    tokenizer: str | Path | None = None,
    download: bool = False,
    device: str = "cpu",
) -> Clip:
    """Open a CLIP, ready to use.

    Args:
        source: a checkpoint of the project, a transformers folder, a .safetensors file with the official names, or a
            hub id; None for the checkpoint that ships.
        tokenizer: for weights that bring none: bpe_simple_vocab_16e6.txt.gz, or a folder with vocab.json and
            merges.txt.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place the model.
    """
    from visionsmith.papers.clip.clip import Clip
    from visionsmith.papers.clip.official import load_any, tokenizer_for
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("clip") if source is None else source
    model = load_any(source, download=download)
    words = tokenizer_for(source, model.config, tokenizer, download=download)
    return Clip(model.eval(), words).to(device)


def command(
    images: Annotated[list[Path] | None, typer.Argument(help="Pictures, or folders of pictures.")] = None,
    labels: Annotated[str | None, typer.Option(help='Labels to choose from: "a cat, a dog".')] = None,
    search: Annotated[str | None, typer.Option(help="A sentence to search for.")] = None,
    folder: Annotated[Path | None, typer.Option("--in", help="Folder to search in.")] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint, transformers folder or hub id; without it, the one that ships."),
    ] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="Vocabulary, for weights that bring none.")] = None,
    template: Annotated[
        list[str] | None, typer.Option(help='Prompt around a label: "a photo of {}". Repeatable.')
    ] = None,
    top: Annotated[int, typer.Option(help="How many answers to show.", min=1)] = 5,
    output: Annotated[Path | None, typer.Option(help="The contact sheet, a PNG.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Label pictures without training, or find the pictures that fit a sentence."""
    if (labels is None) == (search is None):
        raise ConfigError(
            "exactly one of --labels and --search is needed", do='e.g. photo.jpg --labels "a cat, a dog"'
        )
    given = [*(images or []), *([folder] if folder else [])]
    if not given:
        raise ConfigError("no pictures were given", do="name pictures, or a folder with --in")
    from visionsmith.data.pictures import Pictures, find_pictures, free_name

    sheet = free_name("clip", output)
    pictures = Pictures(find_pictures(given))
    clip = load(checkpoint, tokenizer=tokenizer, download=download)
    if labels is not None:
        result, columns, rows = _label(clip, pictures, labels, template, top, sheet)
    else:
        result, columns, rows = _search(clip, pictures, search or "", top, sheet)
    if as_json:
        left_out = [str(error) for error in pictures.broken]
        show_json({**result, "left_out": left_out, "sheet": str(sheet)})
    else:
        show_table(columns, rows)
        list_first([f"left out: {error}" for error in pictures.broken])
        typer.echo(f"contact sheet: {sheet}")


def _label(
    clip: Clip, pictures: Pictures, labels: str, template: list[str] | None, top: int, sheet: Path
) -> Answer:
    from visionsmith.image.io import write_image
    from visionsmith.report.sheet import contact_sheet

    choices = list(dict.fromkeys(label.strip() for label in labels.split(",") if label.strip()))
    found = clip.classify_all(pictures, choices, template or ["{}"])
    names = pictures.names
    best = [dict(list(scores.items())[:top]) for scores in found]
    shown = range(min(len(names), MOST_SHOWN))
    captions = [f"{next(iter(best[place]))} {next(iter(best[place].values())):.0%}" for place in shown]
    drawn = [pictures.read(names[place]) for place in shown]
    write_image(sheet, contact_sheet(drawn, captions, title=f"{len(names)} pictures, {len(choices)} labels"))
    rows = [
        (str(name) if rank == 0 else "", rank + 1, label, round(probability, 4))
        for name, scores in zip(names, best, strict=True)
        for rank, (label, probability) in enumerate(scores.items())
    ]
    result = {"pictures": [{"picture": str(n), "labels": s} for n, s in zip(names, best, strict=True)]}
    return result, ("picture", "rank", "label", "probability"), rows


def _search(clip: Clip, pictures: Pictures, sentence: str, top: int, sheet: Path) -> Answer:
    from visionsmith.image.io import write_image
    from visionsmith.report.sheet import contact_sheet

    if not sentence.strip():
        raise ConfigError(
            "the sentence to search for is empty", do='write one, as in --search "a red bicycle"'
        )
    scores = (clip.encode_images(pictures) @ clip.encode_texts([sentence]).T)[:, 0]
    names = pictures.names
    order = scores.argsort(descending=True)[:top].tolist()
    captions = [f"{rank + 1}. {names[place].name} {scores[place]:.2f}" for rank, place in enumerate(order)]
    drawn = [pictures.read(names[place]) for place in order[:MOST_SHOWN]]
    write_image(sheet, contact_sheet(drawn, captions[:MOST_SHOWN], title=f"“{sentence}”"))
    hits = [{"picture": str(names[place]), "similarity": round(float(scores[place]), 4)} for place in order]
    rows = [(rank + 1, hit["picture"], hit["similarity"]) for rank, hit in enumerate(hits)]
    return (
        {"search": sentence, "pictures": hits, "searched": len(names)},
        ("rank", "picture", "similarity"),
        rows,
    )
