"""IP-Adapter on a user's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.ip_adapter.prompter import ImagePrompter

__all__ = ["command", "load"]


def load(
    source: str | Path | None = None,
    *,
    base: str | Path | None = None,
    encoder: str | Path | None = None,
    controlnet: str | Path | None = None,
    download: bool = False,
    device: str = "cpu",
) -> ImagePrompter:
    """Open an adapter with its base and its image encoder, ready to paint.

    Args:
        source: a checkpoint of the project, or a safetensors file in the published layout; None for the checkpoint
            that ships.
        base: a checkpoint of latent diffusion, a folder of diffusers (Stable Diffusion or Flux) or a hub id; None: the
            one that the adapter names, or else the one that ships.
        encoder: a folder of transformers or a hub id; None: likewise.
        controlnet: a folder of diffusers with a `ControlNetModel`, or a hub id; None: no control.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place painter and adapter.

    Raises:
        CheckpointError: a part cannot be opened, or does not fit the others.
        ConfigError: a ControlNet was named for a base that takes none.
    """
    from visionsmith.papers.ip_adapter.bases import open_painter
    from visionsmith.papers.ip_adapter.encoder import open_encoder
    from visionsmith.papers.ip_adapter.official import load_adapter
    from visionsmith.papers.ip_adapter.prompter import ImagePrompter
    from visionsmith.papers.latent_diffusion import Painter, with_control
    from visionsmith.papers.paper import shipped_checkpoint

    adapter = load_adapter(shipped_checkpoint("ip_adapter") if source is None else source)
    config = adapter.config
    painter = open_painter(base or config.base or shipped_checkpoint("latent_diffusion"), download=download)
    if controlnet is not None:
        if not isinstance(painter, Painter):
            raise ConfigError(
                "a ControlNet was named, and a Flux base takes none here",
                do="leave it out, or name a base in Stable Diffusion's layout",
            )
        painter = with_control(painter, controlnet, download=download)
    reader = str(encoder) if encoder is not None else config.encoder
    return ImagePrompter(painter, adapter, open_encoder(reader, config.variant, download=download)).to(device)


def command(
    pictures: Annotated[list[Path] | None, typer.Argument(help="Pictures that prompt together.")] = None,
    text: Annotated[str, typer.Option(help="What else to paint; scale 0.5 leaves it room.")] = "",
    scale: Annotated[float, typer.Option(help="How much the pictures count; 1 is as trained.")] = 1.0,
    count: Annotated[int, typer.Option(help="Pictures to paint.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Of the first picture; the next have the next ones.", min=0)] = 0,
    mask: Annotated[
        list[Path] | None,
        typer.Option(help="A picture that is white where a prompt counts; one for each of them, or none."),
    ] = None,
    control: Annotated[
        Path | None, typer.Option(help="What the ControlNet reads: edges, depth, a pose, ...")
    ] = None,
    control_scale: Annotated[float, typer.Option(help="How much the control picture counts.")] = 1.0,
    controlnet: Annotated[str | None, typer.Option(help="ControlNet: diffusers folder or hub id.")] = None,
    steps: Annotated[int, typer.Option(help="Of the sampler.")] = 25,
    guidance: Annotated[float, typer.Option(help="How much more the prompts count than none.")] = 3.0,
    negative: Annotated[str, typer.Option(help="What the pictures should not be.")] = "",
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint or published .safetensors; without it, the one that ships."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Latent diffusion checkpoint, diffusers folder (also of Flux) or hub id."),
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="Image encoder: transformers folder or hub id.")] = None,
    output: Annotated[Path | None, typer.Option(help="The sheet of prompts and pictures, a PNG.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Paint with pictures as the prompt: `visionsmith run ip_adapter cat.jpg --text "in the snow" --scale 0.5`."""
    if not pictures:
        raise ConfigError("no picture was given", do="name a picture that is to be the prompt")
    from visionsmith.data.pictures import free_name
    from visionsmith.image.io import read_image, write_image
    from visionsmith.report.console import show_json
    from visionsmith.report.sheet import contact_sheet

    sheet = free_name("ip_adapter", output)
    prompts = [read_image(picture) for picture in pictures]
    prompter = load(
        checkpoint, base=base, encoder=encoder, controlnet=controlnet, download=download, device=device
    )
    painted = prompter.paint(
        prompts,
        text=text,
        count=count,
        seed=seed,
        scale=scale,
        masks=[_mask(file) for file in mask] if mask else None,
        control=control,
        control_scale=control_scale,
        steps=steps,
        guidance=guidance,
        negative=negative,
        progress=not quiet and not as_json,
    )
    seeds = range(seed, seed + count)
    captions = [f"prompt: {file.name}" for file in pictures] + [f"seed {each}" for each in seeds]
    title = f"scale {scale:g}" + (f", “{text}”" if text else "")
    write_image(sheet, contact_sheet([*prompts, *painted], captions, columns=4, title=title))
    if as_json:
        show_json({"prompts": [str(file) for file in pictures], "seeds": list(seeds), "sheet": str(sheet)})
        return
    typer.echo(f"{count} pictures: {sheet}")


def _mask(file: Path) -> np.ndarray:
    """A picture's brightness as shares, float32 `h w`."""
    import numpy as np

    from visionsmith.image.io import read_image

    shares: np.ndarray = read_image(file).astype(np.float32).mean(axis=2) / 255
    return shares
