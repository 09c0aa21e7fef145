"""ICEdit on a user's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.icedit.editor import EarlyFilter, Editor

__all__ = ["command", "load"]

SAME = 24
"""Gray levels by which an edit differs from its source without being another one."""
PALE = 0.3
"""Share of a source's contrast that is left where differences are shown."""


def load(
    source: str | Path | None = None,
    *,
    base: str | Path | None = None,
    template: str | None = None,
    download: bool = False,
    device: str = "cpu",
) -> Editor:
    """Open an editor.

    Args:
        source: a checkpoint of the project; an adapter's safetensors file in a published layout, which needs `base`;
            a folder or hub id of FLUX.1 Fill or FLUX.1, for edits without training; None for the checkpoint that ships.
        base: a folder of diffusers with a FluxFillPipeline, a hub id of one, or a checkpoint of the project.
        template: of the prompt, with `{instruction}` in it; None: as trained.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place the model.
    """
    from visionsmith.papers.icedit.checkpoints import load_editor
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("icedit") if source is None else source
    return load_editor(source, base=base, template=template, download=download).to(device)


def command(
    picture: Annotated[Path | None, typer.Argument(help="What to edit.")] = None,
    instruction: Annotated[str, typer.Option(help='What to change, as in "make it red hair".')] = "",
    count: Annotated[int, typer.Option(help="Edits to make, with a seed each.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of the first edit.", min=0)] = 0,
    steps: Annotated[int, typer.Option(help="Of the sampler.")] = 16,
    guidance: Annotated[float, typer.Option(help="How much more the text counts than none.")] = 1.5,
    candidates: Annotated[
        int,
        typer.Option(help="Seeds that begin each edit; a judge keeps the best. 1: no early filter.", min=1),
    ] = 1,
    early_steps: Annotated[int, typer.Option(help="Steps after which the judge looks.")] = 4,
    judge: Annotated[
        str, typer.Option(help="Who chooses: an OpenAI-compatible address of a vision-language model.")
    ] = "",
    judge_model: Annotated[str, typer.Option(help="The model's name there.")] = "",
    result: Annotated[
        str, typer.Option(help="What the result shows, in words: then the project's CLIP is the judge.")
    ] = "",
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint, published .safetensors, or FLUX.1 folder or hub id, which edits without training; "
            "without it, the one that ships."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The model beside a published file: FLUX.1 Fill folder or hub id.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Of the prompt, with {instruction} in it; without it, as trained.")
    ] = None,
    scale: Annotated[float, typer.Option(help="How much the adapter counts; 0: the filler alone.")] = 1.0,
    output: Annotated[
        Path, typer.Option(help="The edited picture, a PNG; of several, their names begin so.")
    ] = Path("edited.png"),
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Edit a picture by an instruction: `visionsmith run icedit me.png --instruction "make it red hair"`.

    Beside the edit stands a sheet with the source, the edit and where they differ.
    """
    if picture is None:
        raise ConfigError("no picture was given", do="name the picture to edit")
    if not instruction.strip():
        raise ConfigError(
            "no instruction was given", do='say what to change: --instruction "make it red hair"'
        )
    if template is not None and "{instruction}" not in template:
        raise ConfigError("the template has no {instruction}", do="say where the instruction stands")
    from visionsmith.errors import OutputError
    from visionsmith.image.io import read_image, write_image
    from visionsmith.report.console import show_json
    from visionsmith.report.sheet import contact_sheet

    if output.suffix.lower() != ".png":
        raise OutputError("is no name of a PNG", where=output, do="give one that ends in .png")
    early = _early(candidates, early_steps, judge, judge_model, result)
    source = read_image(picture)
    editor = load(checkpoint, base=base, template=template, download=download, device=device)
    if editor.attached is not None:
        editor.attached.scale = scale
    if cut := editor.parts.reader.too_long(editor.prompt(instruction)):
        typer.echo(f"note: the last {cut} tokens of the prompt are beyond what the model reads", err=True)
    seeds = [seed + place * candidates for place in range(count)]
    edits = editor.edit(
        [source] * count,
        [instruction] * count,
        seeds=seeds,
        steps=steps,
        guidance=guidance,
        early=early,
        progress=not quiet and not as_json,
    )
    files = (
        [output] if count == 1 else [output.with_stem(f"{output.stem}-{place + 1}") for place in range(count)]
    )
    sheet = output.with_stem(f"{output.stem}-beside")
    before = _like(source, edits)
    shown, names = [before], ["before"]
    for file, edit, each in zip(files, edits, seeds, strict=True):
        write_image(file, edit)
        shown += [edit, _differences(before, edit)]
        names += [f"seed {each}", "where it differs"]
    write_image(sheet, contact_sheet(shown, names, columns=3, title=f"“{instruction}”"))
    if as_json:
        rows = [{"seed": each, "file": str(file)} for each, file in zip(seeds, files, strict=True)]
        show_json({"picture": str(picture), "instruction": instruction, "edits": rows, "sheet": str(sheet)})
        return
    for file, each in zip(files, seeds, strict=True):
        typer.echo(f"{file}  seed {each}")
    typer.echo(f"beside the source: {sheet}")


def _differences(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where two pictures uint8 `h w 3` differ: red on the first, which is pale and gray."""
    import cv2
    import numpy as np

    gray = cv2.cvtColor(before, cv2.COLOR_RGB2GRAY).astype(np.float32)
    pale = (255 - (255 - gray) * PALE)[..., None]
    apart = np.abs(after.astype(np.float32) - before).max(axis=2, keepdims=True)
    # What the autoencoder alone changes is not shown.
    share = np.clip((apart - SAME) / (128 - SAME), 0, 1)
    red = np.array([214, 39, 40], np.float32)
    shown: np.ndarray = (pale * (1 - share) + red * share).round().astype(np.uint8)
    return shown


def _early(candidates: int, steps: int, address: str, model: str, result: str) -> EarlyFilter | None:
    """The early filter that is asked for.

    Raises:
        ConfigError: several candidates and nobody who chooses.
    """
    if candidates == 1:
        return None
    if bool(address) == bool(result):
        raise ConfigError(
            "several candidates need one judge",
            do="name an endpoint with --judge, or say what the result shows with --result",
        )
    from visionsmith.papers.endpoint import Endpoint
    from visionsmith.papers.icedit.editor import EarlyFilter
    from visionsmith.papers.icedit.judges import ClipJudge, EndpointJudge

    judge = EndpointJudge(Endpoint(address, model)) if address else ClipJudge(result)
    return EarlyFilter(judge, candidates=candidates, steps=steps)


def _like(source: np.ndarray, edits: np.ndarray) -> np.ndarray:
    """The source at the size of its edits."""
    import cv2

    height, width = edits.shape[1:3]
    if source.shape[:2] == (height, width):
        return source
    resized: np.ndarray = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
    return resized
