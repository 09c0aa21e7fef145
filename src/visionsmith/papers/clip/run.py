"""CLIP on a user's own pictures: zero-shot labels, and search by a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.errors import ConfigError, DataError
from visionsmith.report.console import show_json, show_table

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.clip.clip import Clip

__all__ = ["command", "load"]

Answer = tuple[dict[str, Any], Sequence[str], Sequence[Sequence[object]]]
"""What goes into JSON, and the table's columns and rows."""

MOST_SHOWN = 60
"""Pictures on a contact sheet."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


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
    sheet = _free_name(output)
    pictures = _Pictures(_find(given))
    clip = load(checkpoint, tokenizer=tokenizer, download=download)
    if labels is not None:
        result, columns, rows = _label(clip, pictures, labels, template, top, sheet)
    else:
        result, columns, rows = _search(clip, pictures, search or "", top, sheet)
    if as_json:
        show_json({**result, "sheet": str(sheet)})
    else:
        show_table(columns, rows)
        typer.echo(f"contact sheet: {sheet}")


def _label(
    clip: Clip, pictures: _Pictures, labels: str, template: list[str] | None, top: int, sheet: Path
) -> Answer:
    from visionsmith.image.io import write_image
    from visionsmith.report.sheet import contact_sheet

    choices = list(dict.fromkeys(label.strip() for label in labels.split(",") if label.strip()))
    found = clip.classify_all(pictures, choices, template or ["{}"])
    names = pictures.require_some()
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


def _search(clip: Clip, pictures: _Pictures, sentence: str, top: int, sheet: Path) -> Answer:
    from visionsmith.image.io import write_image
    from visionsmith.report.sheet import contact_sheet

    if not sentence.strip():
        raise ConfigError(
            "the sentence to search for is empty", do='write one, as in --search "a red bicycle"'
        )
    scores = (clip.encode_images(pictures) @ clip.encode_texts([sentence]).T)[:, 0]
    names = pictures.require_some()
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


def _find(given: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise DataError("no such picture or folder", where=path, do="check the path")
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(
                    "holds no pictures", where=path, do=f"known endings: {' '.join(sorted(SUFFIXES))}"
                )
            found += inside
        else:
            found.append(path)
    return found


class _Pictures:
    """Reads pictures one after the other, so that a folder of any size fits in memory.

    One broken file among several is named at the end and left out; when none is sound, the first is an error.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.names: list[Path] = []
        self.broken: list[DataError] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        quiet = len(self.paths) < 200 or not console.is_terminal
        for path in track(self.paths, "read", console=console, transient=True, disable=quiet):
            try:
                image = self.read(path)
            except DataError as error:
                self.broken.append(error)
                continue
            self.names.append(path)
            yield image
        for fault in self.broken if self.names else ():
            console.print(f"left out: {fault}", style="yellow", highlight=False, markup=False)

    def read(self, path: Path) -> np.ndarray:
        """One picture, at most 512 px on its shorter side: enough for any model and sheet."""
        import cv2

        from visionsmith.image.io import read_image

        image = read_image(path)
        scale = 512 / min(image.shape[:2])
        if scale >= 1:
            return image
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def require_some(self) -> list[Path]:
        """The paths of the sound pictures, in the order in which they were given out."""
        if not self.names:
            raise self.broken[0]
        return self.names


def _free_name(output: Path | None) -> Path:
    """The given name, or the first of clip.png, clip-2.png, ... that is free: an earlier sheet is never overwritten."""
    if output is not None:
        if output.suffix.lower() != ".png":
            raise ConfigError(f"the contact sheet '{output}' is not a .png", do="end --output in .png")
        return output
    number = 1
    while (name := Path("clip.png" if number == 1 else f"clip-{number}.png")).exists():
        number += 1
    return name
