"""`visionsmith image draw` and `visionsmith image blend`: what is put onto pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from visionsmith.cli.image_files import Files, on_files
from visionsmith.cli.image_numbers import numbers

__all__ = ["blend", "draw"]


@on_files
def draw(
    files: Files,
    shape: Annotated[
        Literal["line", "circle", "rectangle", "ellipse", "half-ellipse", "text"],
        typer.Argument(help="What to draw.", metavar="SHAPE"),
    ],
    start: Annotated[
        str | None, typer.Option(help="line: one end, X,Y. ellipse: where an arc begins, degrees.")
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="line: the other end, X,Y. ellipse: where an arc ends, degrees.")
    ] = None,
    center: Annotated[
        str | None, typer.Option(help="circle, ellipse, half-ellipse: X,Y.", metavar="X,Y")
    ] = None,
    radius: Annotated[int | None, typer.Option(help="circle: pixels.")] = None,
    top_left: Annotated[str | None, typer.Option(help="rectangle: one corner.", metavar="X,Y")] = None,
    bottom_right: Annotated[
        str | None, typer.Option(help="rectangle: the corner across.", metavar="X,Y")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="ellipse, half-ellipse: half its width and height.", metavar="X,Y")
    ] = None,
    angle: Annotated[float | None, typer.Option(help="ellipse, half-ellipse: degrees clockwise.")] = None,
    content: Annotated[str | None, typer.Option(help="text: what to write, in any script.")] = None,
    position: Annotated[str | None, typer.Option(help="text: where its anchor lies.", metavar="X,Y")] = None,
    size: Annotated[int | None, typer.Option(help="text: of the type, pixels.")] = None,
    font: Annotated[Path | None, typer.Option(help="text: a font file; without it, one that fits.")] = None,
    background: Annotated[str | None, typer.Option(help="text: colour of a box behind it.")] = None,
    anchor: Annotated[
        str | None, typer.Option(help="text: left-top, center-middle, right-bottom, ...")
    ] = None,
    color: Annotated[str | None, typer.Option(help="A name of CSS or #rrggbb.")] = None,
    thickness: Annotated[int | None, typer.Option(help="Of outlines, pixels.")] = None,
    filled: Annotated[
        bool | None, typer.Option("--filled", help="circle, rectangle, ellipse: fill it.")
    ] = None,
) -> None:
    """Draw a shape, or write text in any script.

    visionsmith image draw text in.png out.png --content 안녕 --position 20,20 --size 32
    """
    from visionsmith.image.pipe import OPERATIONS, step

    given: dict[str, Any] = {
        "start": _place(start, "--start"),
        "end": _place(end, "--end"),
        "center": _place(center, "--center"),
        "radius": radius,
        "top_left": _place(top_left, "--top-left"),
        "bottom_right": _place(bottom_right, "--bottom-right"),
        "axes": _place(axes, "--axes"),
        "angle": angle,
        "content": content,
        "position": _place(position, "--position"),
        "size": size,
        "font": font,
        "background": background,
        "anchor": anchor,
        "color": color,
        "thickness": thickness,
        "filled": filled,
    }
    arguments = {name: value for name, value in given.items() if value is not None}
    chosen = step(OPERATIONS[shape.replace("-", "_")], **arguments).steps[0]
    files.apply(partial(chosen.operation, **chosen.arguments))


@on_files
def blend(
    files: Files,
    source: Annotated[Path, typer.Option(help="The picture that is set into each input.")],
    mask: Annotated[
        Path | None,
        typer.Option(help="A gray picture of the source's size: taken where it is not black."),
    ] = None,
    center: Annotated[
        str | None, typer.Option(help="Where the middle of the mask's box comes to lie.", metavar="X,Y")
    ] = None,
    method: Annotated[
        Literal["normal", "mixed", "monochrome"],
        typer.Option(help="The source's texture, the stronger of both, or the source's without colours."),
    ] = "normal",
) -> None:
    """Set a picture into others without a visible edge."""
    from visionsmith.image.clone import blend as change
    from visionsmith.image.io import read_image

    patch = read_image(source, channels="unchanged")
    taken = read_image(mask, channels="gray") if mask is not None else None
    place = _place(center, "--center")
    files.apply(partial(change, source=patch, mask=taken, center=place, method=method))


def _place(text: str | None, option: str) -> Any:
    """A point, or one number where a shape takes one; whole where it is written whole."""
    if text is None:
        return None
    found = [int(value) if value == round(value) else value for value in numbers(text, option)]
    return found[0] if len(found) == 1 else tuple(found)
