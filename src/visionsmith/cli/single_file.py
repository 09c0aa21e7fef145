"""`visionsmith convert what`, `to-folder` and `to-file`: single-file checkpoints and diffusers folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from visionsmith.single_file import Assumed, Report

__all__ = ["to_file", "to_folder", "what"]

File = Annotated[Path, typer.Argument(help="A single-file checkpoint, .safetensors.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with every name.")]
Heads = Annotated[int | None, typer.Option(help="Attention heads of each level of the UNet, if unusual.")]
HeadWidth = Annotated[int | None, typer.Option(help="Width of the UNet's attention heads, if unusual.")]
TextHeadWidth = Annotated[int, typer.Option(help="Width of the text encoders' attention heads.")]
Variant = Annotated[
    str | None, typer.Option(help="Variant of a folder's weights, such as fp16 for model.fp16.safetensors.")
]
RopeAxes = Annotated[str | None, typer.Option(help="Rotary channels of Flux, if unusual, such as 16,56,56.")]


def what(
    file: Annotated[Path, typer.Argument(help="A single-file checkpoint, or a folder of a pipeline.")],
    variant: Variant = None,
    heads: Heads = None,
    head_width: HeadWidth = None,
    text_head_width: TextHeadWidth = 64,
    rope_axes: RopeAxes = None,
    as_json: Json = False,
) -> None:
    """Say what a checkpoint is, why, and what is missing. Reads no weights, writes nothing."""
    from visionsmith.single_file import examine, examine_folder

    if file.is_dir():
        _show(examine_folder(file, variant=variant), as_json)
        return
    _show(examine(file, _assumed(None, heads, head_width, text_head_width, rope_axes)), as_json)


def to_folder(
    file: File,
    output: Annotated[Path, typer.Option(help="The folder to make.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder of a tokenizer, or one that holds tokenizer/ and tokenizer_2/."),
    ] = None,
    prediction: Annotated[
        str | None, typer.Option(help="What the UNet predicts: epsilon or v_prediction. SD 2 needs it.")
    ] = None,
    ema: Annotated[
        bool, typer.Option(help="Take the moving average of the UNet's weights, if the file has it.")
    ] = True,
    keep_unknown: Annotated[
        bool, typer.Option("--keep-unknown", help="Keep tensors that no part has a name for.")
    ] = False,
    heads: Heads = None,
    head_width: HeadWidth = None,
    text_head_width: TextHeadWidth = 64,
    rope_axes: RopeAxes = None,
    as_json: Json = False,
) -> None:
    """Make a diffusers folder of a single-file checkpoint, offline and without changing a weight."""
    from visionsmith.single_file import write_diffusers

    report = write_diffusers(
        file,
        output,
        tokenizer=tokenizer,
        assumed=_assumed(prediction, heads, head_width, text_head_width, rope_axes),
        ema=ema,
        keep_unknown=keep_unknown,
    )
    _show(report, as_json)


def to_file(
    folder: Annotated[Path, typer.Argument(help="A folder of a diffusers pipeline.")],
    output: Annotated[Path, typer.Option(help="The .safetensors file to make.")],
    variant: Variant = None,
    as_json: Json = False,
) -> None:
    """Make a single-file checkpoint of a diffusers folder, in the published layout."""
    from visionsmith.single_file import write_single

    _show(write_single(folder, output, variant=variant), as_json)


def _assumed(
    prediction: str | None,
    heads: int | None,
    head_width: int | None,
    text_head_width: int,
    rope_axes: str | None,
) -> Assumed:
    from visionsmith.errors import ConfigError
    from visionsmith.single_file import Assumed

    try:
        axes = tuple(int(width) for width in rope_axes.split(",")) if rope_axes else None
    except ValueError as error:
        raise ConfigError(
            f"--rope-axes is {rope_axes!r}", do="give three numbers, such as 16,56,56"
        ) from error
    widths = {"--heads": heads, "--head-width": head_width, "--text-head-width": text_head_width}
    if wrong := next((name for name, value in widths.items() if value is not None and value < 1), None):
        raise ConfigError(f"{wrong} is {widths[wrong]}", do="give a number from 1")
    return Assumed(prediction, heads, head_width, text_head_width, axes)


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        from visionsmith.report.console import show_json

        show_json(report.plain())
        return
    for line in report.lines():
        typer.echo(line)
