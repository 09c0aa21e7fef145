"""Latent diffusion on a user's own sentences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.errors import ConfigError, OutputError

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.latent_diffusion.painter import Painter

__all__ = ["command", "load"]


def load(source: str | Path | None = None, *, download: bool = False, device: str = "cpu") -> Painter:
    """Open a model, ready to paint.

    Args:
        source: a checkpoint of the project, a folder of diffusers in Stable Diffusion's layout, or a hub id; None for
            the checkpoint that ships.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place the model.
    """
    from visionsmith.papers.latent_diffusion.official import load_painter
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("latent_diffusion") if source is None else source
    return load_painter(source, download=download).to(device)


def command(
    texts: Annotated[list[str] | None, typer.Argument(help="What to paint, in quotes.")] = None,
    count: Annotated[int, typer.Option(help="Pictures of each text.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of the first picture; the next have the next ones.", min=0)] = 0,
    steps: Annotated[int, typer.Option(help="Of the sampler.")] = 25,
    guidance: Annotated[float, typer.Option(help="How much more the text counts than no text.")] = 3.0,
    negative: Annotated[str, typer.Option(help="What the pictures should not be.")] = "",
    height: Annotated[int | None, typer.Option(help="Pixels; without it, as trained.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; without it, as trained.")] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint, diffusers folder or hub id; without it, the one that ships."),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="The picture, a PNG; of several, the beginning of their names.")
    ] = Path("painted.png"),
    export: Annotated[
        Path | None, typer.Option(help="Also write the model as a folder of diffusers.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Paint pictures of sentences: `visionsmith run latent_diffusion "a woman with red hair"`."""
    if not texts and export is None:
        raise ConfigError("no text was given", do='say what to paint, as in "a woman with red hair"')
    from visionsmith.image.io import write_image
    from visionsmith.report.console import show_json

    if output.suffix.lower() != ".png":
        raise OutputError("is no name of a PNG", where=output, do="give one that ends in .png")
    if export is not None and export.exists():
        raise OutputError("exists already", where=export, do="choose another folder")
    painter = load(checkpoint, download=download, device=device)
    if export is not None:
        painter.save_pretrained(export)
        typer.echo(f"folder: {export}", err=as_json)
    asked = [(text, seed + place) for text in texts or [] for place in range(count)]
    for text in texts or []:
        if cut := painter.too_long(text):
            typer.echo(
                f"note: the last {cut} tokens of '{text[:40]}...' are beyond what the model reads", err=True
            )
    if not asked:
        return
    pictures = painter.paint(
        [text for text, _ in asked],
        seeds=[each for _, each in asked],
        steps=steps,
        guidance=guidance,
        negative=negative,
        height=height,
        width=width,
        progress=not quiet and not as_json,
    )
    files = _names(output, len(pictures))
    for file, picture in zip(files, pictures, strict=True):
        write_image(file, picture)
    if len(pictures) > 1:
        write_image(output, _sheet(pictures, asked))
    if as_json:
        rows = [{"text": t, "seed": s, "file": str(f)} for (t, s), f in zip(asked, files, strict=True)]
        show_json({"pictures": rows, "sheet": str(output) if len(pictures) > 1 else None})
        return
    for (text, each), file in zip(asked, files, strict=True):
        typer.echo(f"{file}  seed {each}  {text}")
    if len(pictures) > 1:
        typer.echo(f"all: {output}")


def _names(output: Path, count: int) -> list[Path]:
    """One picture has the name itself; of several it is the sheet's, and each has a number."""
    return (
        [output]
        if count == 1
        else [output.with_stem(f"{output.stem}-{place}") for place in range(1, count + 1)]
    )


def _sheet(pictures: np.ndarray, asked: list[tuple[str, int]]) -> np.ndarray:
    from visionsmith.report.sheet import contact_sheet

    return contact_sheet(list(pictures), [text for text, _ in asked], columns=4)
