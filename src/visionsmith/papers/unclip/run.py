"""unCLIP on a user's own texts and pictures: paint, vary, blend, edit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.errors import ConfigError, OutputError

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.unclip.published import Published
    from visionsmith.papers.unclip.unclip import Unclip

__all__ = ["command", "load"]


def load(
    source: str | Path | None = None,
    *,
    prior: str | Path | None = None,
    base: Path | None = None,
    clip: Path | None = None,
    download: bool = False,
    device: str = "cpu",
) -> Unclip | Published:
    """Open a checkpoint with what it stands on, or a published system.

    Args:
        source: a checkpoint of the project; a folder of diffusers or a hub id (Karlo, or the decoder of Kandinsky 2.2);
            None for the checkpoint that ships.
        prior: a folder of diffusers or a hub id: of Kandinsky's prior, beside its decoder.
        base: the latent diffusion model that a checkpoint's decoder was made from; None: the one that ships.
        clip: the CLIP whose embeddings a checkpoint knows; None: the one that ships.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place it.

    Raises:
        CheckpointError: a part is missing, damaged, a pickle, or does not fit the others.
        ConfigError: a part was named that has no place there.
    """
    from visionsmith import checkpoint
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("unclip") if source is None else source
    if not checkpoint.is_checkpoint(Path(source)):
        if base is not None or clip is not None:
            raise ConfigError(
                "is no checkpoint of the project, and no other model takes a base or a CLIP",
                where=source,
                do="check the path, or leave --base and --clip out",
            )
        from visionsmith.papers.unclip.published import open_published

        return open_published(source, prior, download=download, device=device)
    if prior is not None:
        raise ConfigError(
            "a prior was named, and a checkpoint of the project has its own",
            where=source,
            do="leave --prior out; it is for Kandinsky 2.2",
        )
    from visionsmith.papers.unclip.official import load_unclip

    return load_unclip(Path(source), base=base, clip=clip).to(device)


def command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="A text to paint; or a picture to vary; or two pictures to blend."),
    ] = None,
    old: Annotated[str | None, typer.Option("--from", help="To edit a picture: what is true of it.")] = None,
    new: Annotated[
        str | None, typer.Option("--to", help="To edit a picture: what is to become true.")
    ] = None,
    count: Annotated[int, typer.Option(help="Pictures.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Of the first picture.", min=0)] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Of the decoder: 25; Karlo 25, Kandinsky 100.", show_default=False)
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Of the decoder: 2; Karlo 8, Kandinsky 4.", show_default=False)
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint, or diffusers folder or hub id of Karlo or of Kandinsky 2.2's decoder; "
            "without it, the one that ships."
        ),
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="Kandinsky 2.2's prior: diffusers folder or hub id.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Its latent diffusion model, if not the shipped one.")
    ] = None,
    clip: Annotated[Path | None, typer.Option(help="Its CLIP, if not the shipped one.")] = None,
    output: Annotated[
        Path, typer.Option(help="The sheet of pictures, a PNG; each picture lies beside it.")
    ] = Path("unclip.png"),
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Paint a text, vary a picture, blend two pictures, or edit one with --from and --to."""
    if not inputs:
        raise ConfigError("nothing was given", do='give a text, as in "a red apple", or a picture')
    if output.suffix.lower() != ".png":
        raise OutputError("is no name of a PNG", where=output, do="give one that ends in .png")
    from visionsmith.image.io import write_image
    from visionsmith.report.console import show_json
    from visionsmith.report.sheet import contact_sheet

    task = _task(inputs, old, new)
    unclip = load(checkpoint, prior=prior, base=base, clip=clip, download=download, device=device)
    for text in inputs if task == "paint" else []:
        if cut := unclip.too_long(text):
            typer.echo(
                f"note: the last {cut} tokens of '{text[:40]}...' are beyond what the model reads", err=True
            )
    settings: dict[str, Any] = {"progress": not (quiet or as_json)}
    # What is not asked for is the model's own.
    settings |= {
        name: value for name, value in (("steps", steps), ("guidance", guidance)) if value is not None
    }
    made, said = _make(unclip, task, inputs, old, new, count=count, seed=seed, settings=settings)
    files = [output.with_stem(f"{output.stem}-{place}") for place in range(1, len(made) + 1)]
    for file, picture in zip(files, made, strict=True):
        write_image(file, picture)
    write_image(output, contact_sheet(list(made), said, columns=6))
    if as_json:
        show_json(
            {"task": task, "sheet": str(output), "pictures": [str(file) for file in files], "said": said}
        )
        return
    for file, text in zip(files, said, strict=True):
        typer.echo(f"{file}  {text}")
    typer.echo(f"all: {output}")


def _task(inputs: list[str], old: str | None, new: str | None) -> str:
    """What is meant: "paint", "vary", "blend" or "edit"."""
    files = [Path(each) for each in inputs if Path(each).is_file()]
    if (old is None) != (new is None):
        raise ConfigError("an edit needs both --from and --to", do='e.g. --from "a man" --to "a woman"')
    if old is not None:
        if len(inputs) != 1 or not files:
            raise ConfigError("an edit needs one picture", do="name one picture's file")
        return "edit"
    if not files:
        # A name that looks like a file's is a mistake, not a text.
        odd = [each for each in inputs if Path(each).suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
        if odd:
            raise ConfigError("there is no such picture", where=odd[0], do="check the path")
        return "paint"
    if len(files) != len(inputs) or len(files) > 2:
        raise ConfigError("texts and pictures are mixed", do="give texts alone, one picture, or two")
    return "vary" if len(files) == 1 else "blend"


def _make(
    unclip: Unclip | Published,
    task: str,
    inputs: list[str],
    old: str | None,
    new: str | None,
    *,
    count: int,
    seed: int,
    settings: dict[str, Any],
) -> tuple[np.ndarray, list[str]]:
    """The pictures, uint8 `n h w 3`, and what is written below each."""
    places = [place / max(1, count - 1) for place in range(count)]
    if task == "edit":
        assert old is not None, "the task is none without it"
        assert new is not None, "the task is none without it"
        near, far = unclip.reach
        amounts = [near + (far - near) * place for place in places]
        made = unclip.edit(inputs[0], old=old, new=new, amounts=amounts, seed=seed, **settings)
        return made, [f"{amount:.2f} towards {new}" for amount in amounts]
    if task == "blend":
        made = unclip.blend(inputs[0], inputs[1], count=count, seed=seed, **settings)
        return made, [f"{place:.2f} of the way" for place in places]
    if task == "vary":
        made = unclip.vary(inputs[0], count=count, seed=seed, **settings)
        return made, [f"seed {seed + i}" for i in range(count)]
    texts = [text for text in inputs for _ in range(count)]
    seeds = [seed + place for _ in inputs for place in range(count)]
    made = unclip.paint_texts(texts, seeds=seeds, **settings)
    return made, [f"{text} (seed {each})" for text, each in zip(texts, seeds, strict=True)]
