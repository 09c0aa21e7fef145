"""The x2 latent upscaler on a user's own picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from visionsmith.papers.latent_upscaler.enlarger import Enlarger

__all__ = ["command", "load"]


def load(
    source: str | Path | None = None,
    *,
    base: str | Path | None = None,
    download: bool = False,
    device: str = "cpu",
) -> Enlarger:
    """Open an upscaler, ready to enlarge.

    Args:
        source: a checkpoint of the project, a folder of diffusers in the published layout, or a hub id; None for the
            checkpoint that ships.
        base: of a checkpoint: whose autoencoder and text encoder go with it; None: as it says.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place the model.
    """
    from visionsmith.papers.latent_upscaler.official import load_enlarger
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("latent_upscaler") if source is None else source
    return load_enlarger(source, base=base, download=download).to(device)


def command(
    picture: Annotated[Path | None, typer.Argument(help="The picture to enlarge.")] = None,
    text: Annotated[str, typer.Option(help="What it shows; may be left out.")] = "",
    steps: Annotated[int, typer.Option(help="Of the sampler.")] = 10,
    guidance: Annotated[float, typer.Option(help="How much more the text counts than no text.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    tile: Annotated[int | None, typer.Option(help="Side of a tile, pixels; without it, as trained.")] = None,
    overlap: Annotated[
        int | None, typer.Option(help="What tiles share, pixels; without it, a quarter of a tile.")
    ] = None,
    faithful: Annotated[
        bool, typer.Option(help="Whether the result is corrected so that its halves are the picture.")
    ] = True,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint, diffusers folder or hub id; without it, the one that ships."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Latent diffusion checkpoint, diffusers folder or hub id.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The enlarged picture.")] = Path("enlarged.png"),
    export: Annotated[
        Path | None, typer.Option(help="Also write the model as a folder of diffusers.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Double the sides of a picture: `visionsmith run latent_upscaler small.png --output big.png`."""
    if picture is None and export is None:
        raise ConfigError("no picture was given", do="name the picture to enlarge")
    from visionsmith.image.io import read_image, writable_format, write_image
    from visionsmith.report.console import show_json

    writable_format(output)
    if export is not None and export.exists():
        raise OutputError("exists already", where=export, do="choose another folder")
    image = None if picture is None else read_image(picture)
    enlarger = load(checkpoint, base=base, download=download, device=device)
    if export is not None:
        enlarger.save_pretrained(export)
        typer.echo(f"folder: {export}", err=as_json)
    if image is None:
        return
    found = enlarger.enlarge(
        image,
        text=text,
        steps=steps,
        seed=seed,
        guidance=guidance,
        tile=tile,
        overlap=overlap,
        faithful=faithful,
        progress=not quiet and not as_json,
    )
    write_image(output, found)
    sizes = [f"{each.shape[1]} x {each.shape[0]}" for each in (image, found)]
    if as_json:
        show_json({"picture": str(picture), "from": sizes[0], "to": sizes[1], "file": str(output)})
        return
    typer.echo(f"{output}  {sizes[0]} -> {sizes[1]} px")
