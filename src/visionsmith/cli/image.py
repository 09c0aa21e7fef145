"""`visionsmith image`: operations on pictures, over one file, a pattern or a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from visionsmith.cli.image_files import Files, Json, Quiet, Workers, on_files, refuse_if_failed, run_with_bar
from visionsmith.cli.image_marks import blend, draw
from visionsmith.cli.image_network import network
from visionsmith.cli.image_numbers import fill_value, kernel_rows, points
from visionsmith.cli.image_tiles import tile, untile
from visionsmith.report.console import show_json, show_table

__all__ = ["app"]

app = typer.Typer(
    help="Change pictures: one file, a quoted pattern ('*.jpg') or a folder, on all processors.",
    epilog="In Python: visionsmith.image. Nothing is replaced without --overwrite.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Sampling = Annotated[Literal["nearest", "linear", "cubic"], typer.Option(help="How values are interpolated.")]
Fill = Annotated[
    str,
    typer.Option(
        help="What comes into view: a name, #rrggbb, or a value; 0 is black, or transparent for RGBA.",
        metavar="COLOR",
    ),
]


@app.command("info")
def info(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Pictures, folders, or quoted patterns: '*.jpg'.")
    ],
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Format, size, channels, bits, and what is damaged."""
    from visionsmith.image.batch import Found, find_pictures

    found = find_pictures(inputs)

    def work(one: Found) -> dict[str, Any]:
        return _about(one.path)

    done, failed = run_with_bar(found, work, workers=workers, show=not quiet and not as_json)
    rows = [about for _, about in done]
    if as_json:
        broken = [{"path": str(one.path), "reason": str(error)} for one, error in failed]
        show_json({"pictures": rows, "failed": broken})
    elif rows:
        show_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    refuse_if_failed([error for _, error in failed], len(found))


@app.command("convert")
@on_files
def convert(files: Files) -> None:
    """Another format, gray, 8 bits; upright as EXIF asks.

    --channels gray makes it gray, --depth 8 rounds 16 bits, --format png changes the files of a folder.
    """
    from visionsmith.image.filters import identity

    files.apply(identity)


@app.command("resize")
@on_files
def resize(
    files: Files,
    width: Annotated[int | None, typer.Option(help="Pixels; alone, the height follows.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels; alone, the width follows.")] = None,
    factor: Annotated[float | None, typer.Option(help="Instead: result over picture, by side.")] = None,
    interpolation: Annotated[
        Literal["nearest", "linear", "cubic", "area"] | None,
        typer.Option(help="Without it: area to make smaller, cubic to make larger."),
    ] = None,
) -> None:
    """Another number of pixels, by size or by factor."""
    from visionsmith.image.geometry import resize as change

    files.apply(partial(change, width=width, height=height, factor=factor, interpolation=interpolation))


@app.command("crop")
@on_files
def crop(
    files: Files,
    x: Annotated[int, typer.Option(help="Left edge, pixels.")],
    y: Annotated[int, typer.Option(help="Upper edge, pixels.")],
    width: Annotated[int, typer.Option(help="Pixels.")],
    height: Annotated[int, typer.Option(help="Pixels.")],
) -> None:
    """A rectangle that lies inside the picture."""
    from visionsmith.image.geometry import crop as change

    files.apply(partial(change, x=x, y=y, width=width, height=height))


@app.command("rotate")
@on_files
def rotate(
    files: Files,
    degrees: Annotated[float, typer.Option(help="Counter-clockwise.")],
    expand: Annotated[
        bool, typer.Option("--expand", help="Make the result large enough for all of it.")
    ] = False,
    interpolation: Sampling = "linear",
    fill: Fill = "0",
) -> None:
    """Turn about the centre."""
    from visionsmith.image.geometry import rotate as change

    files.apply(
        partial(change, degrees=degrees, expand=expand, interpolation=interpolation, fill=fill_value(fill))
    )


@app.command("translate")
@on_files
def translate(
    files: Files,
    x: Annotated[float, typer.Option(help="To the right, pixels.")] = 0,
    y: Annotated[float, typer.Option(help="Down, pixels.")] = 0,
    interpolation: Sampling = "linear",
    fill: Fill = "0",
) -> None:
    """Shift within a picture of the same size."""
    from visionsmith.image.geometry import translate as change

    files.apply(partial(change, x=x, y=y, interpolation=interpolation, fill=fill_value(fill)))


@app.command("warp")
@on_files
def warp(
    files: Files,
    corners: Annotated[
        str,
        typer.Option(
            help="What becomes top left, top right, bottom right, bottom left.", metavar="'X,Y X,Y X,Y X,Y'"
        ),
    ],
    width: Annotated[int, typer.Option(help="Of the result, pixels.")],
    height: Annotated[int, typer.Option(help="Of the result, pixels.")],
    interpolation: Sampling = "linear",
    fill: Fill = "0",
) -> None:
    """Perspective: four points become the corners of a rectangle."""
    from visionsmith.image.geometry import warp as change

    places = points(corners, "--corners")
    operation = partial(change, corners=places, width=width, height=height)
    files.apply(partial(operation, interpolation=interpolation, fill=fill_value(fill)))


@app.command("threshold")
@on_files
def threshold(
    files: Files,
    value: Annotated[float | None, typer.Option(help="0 to 255, or to 65535 for 16-bit pictures.")] = None,
    otsu: Annotated[
        bool, typer.Option("--otsu", help="Find the value by Otsu's method (gray only).")
    ] = False,
    method: Annotated[
        Literal["binary", "binary-inv", "trunc", "tozero", "tozero-inv"],
        typer.Option(help="What becomes of values above and below."),
    ] = "binary",
    maximum: Annotated[float | None, typer.Option(help="Of the binary methods; without it, white.")] = None,
) -> None:
    """Compare every value with one; --otsu finds it."""
    from visionsmith.errors import ConfigError
    from visionsmith.image.levels import threshold as change

    if (value is None) == (not otsu):
        raise ConfigError("exactly one of --value and --otsu is needed", do="give one of them")
    files.apply(partial(change, value="otsu" if value is None else value, method=method, maximum=maximum))


@app.command("filter")
@on_files
def filter_command(
    files: Files,
    kind: Annotated[
        Literal["identity", "box", "gaussian", "median", "sharpen", "bilateral", "custom"],
        typer.Argument(help="Which filter.", metavar="KIND"),
    ],
    size: Annotated[
        int | None, typer.Option(help="box, gaussian, median, bilateral: side of the window, pixels, odd.")
    ] = None,
    sigma: Annotated[float | None, typer.Option(help="gaussian: standard deviation, pixels.")] = None,
    amount: Annotated[float | None, typer.Option(help="sharpen: 0 changes nothing, 1 is usual.")] = None,
    sigma_color: Annotated[
        float | None, typer.Option(help="bilateral: difference of values that still mixes.")
    ] = None,
    sigma_space: Annotated[
        float | None, typer.Option(help="bilateral: distance that still mixes, pixels.")
    ] = None,
    kernel: Annotated[
        str | None, typer.Option(help="custom: rows of weights, e.g. '0 -1 0; -1 5 -1; 0 -1 0'.")
    ] = None,
) -> None:
    """Blur, sharpen, smooth, or a kernel of your own."""
    from visionsmith.image.pipe import OPERATIONS, step

    given = {
        "size": size,
        "sigma": sigma,
        "amount": amount,
        "sigma_color": sigma_color,
        "sigma_space": sigma_space,
        "kernel": kernel_rows(kernel) if kernel is not None else None,
    }
    arguments = {name: value for name, value in given.items() if value is not None}
    chosen = step(OPERATIONS["filter_kernel" if kind == "custom" else kind], **arguments).steps[0]
    files.apply(partial(chosen.operation, **chosen.arguments))


@app.command("pipe")
@on_files
def pipe(
    files: Files,
    steps: Annotated[
        Path, typer.Argument(help="YAML list of steps: `- resize: {factor: 0.5}`.", metavar="STEPS")
    ],
) -> None:
    """Several operations in a row, read once and written once."""
    from visionsmith.image.pipe import read_pipe

    files.apply(read_pipe(steps))


app.command("draw")(draw)
app.command("blend")(blend)
app.command("network")(network)
app.command("tile")(tile)
app.command("untile")(untile)


def _about(path: Path) -> dict[str, Any]:
    """What `info` shows of a picture; sizes are those of the upright picture."""
    from visionsmith.image.header import read_header, read_orientation
    from visionsmith.image.io import decode, read_bytes

    data = read_bytes(path)
    image = decode(data, where=path, channels="unchanged", depth="keep")
    header = read_header(data, where=path)
    kinds = {2: "gray", 3: "RGB", 4: "RGBA"}
    return {
        "path": str(path),
        "format": header.format,
        "width": image.shape[1],
        "height": image.shape[0],
        "channels": kinds[2 if image.ndim == 2 else image.shape[2]],
        "bits": 8 * image.dtype.itemsize,
        "orientation": read_orientation(data, header.format),
        "bytes": len(data),
    }
