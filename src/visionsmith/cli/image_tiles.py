"""`visionsmith image tile` and `visionsmith image untile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.cli.image_files import Files, named, on_files, refuse_to_replace, size_of

if TYPE_CHECKING:
    from visionsmith.image.batch import Job

__all__ = ["tile", "untile"]


@on_files
def tile(
    files: Files,
    width: Annotated[int, typer.Option(help="Of a tile, pixels.")],
    height: Annotated[int | None, typer.Option(help="Of a tile, pixels; without it, the width.")] = None,
    overlap: Annotated[int, typer.Option(help="Columns and rows that neighbours share.")] = 0,
) -> None:
    """Cut each picture into a folder of tiles.

    They are OUTPUT/NAME/y00000_x00256.png and so on, or of another --format.
    """
    from visionsmith.image.batch import plan
    from visionsmith.image.tile_files import write_tiles
    from visionsmith.image.tiles import tile as cut

    def work(job: Job) -> dict[str, Any]:
        image = files.read(job.source)
        tiles = named(job.source, lambda: cut(image, width=width, height=height, overlap=overlap))
        named(
            job.target,
            lambda: write_tiles(
                job.target,
                tiles,
                ending=files.ending or ".png",
                quality=files.quality,
                overwrite=files.overwrite,
            ),
        )
        return {"tiles": len(tiles)}

    # A picture's ending becomes none: each gets a folder of its name.
    files.run(
        plan(files.inputs, f"{files.output}/", ending=""), work, lambda found: f"{found['tiles']:,} tiles"
    )


@on_files
def untile(files: Files) -> None:
    """Put folders of tiles back together.

    OUTPUT is a file for one folder of tiles, else a folder.
    """
    from visionsmith.image.tile_files import read_tiles
    from visionsmith.image.tiles import untile as put_back

    def work(job: Job) -> dict[str, Any]:
        refuse_to_replace(job.target, files.overwrite)
        picture = named(job.source, lambda: put_back(read_tiles(job.source)))
        files.write(job.target, picture)
        return {"width": picture.shape[1], "height": picture.shape[0]}

    files.run(_tile_folders(files), work, size_of)


def _tile_folders(files: Files) -> list[Job]:
    """Each folder of tiles, and the picture that it becomes."""
    from visionsmith.errors import DataError, OutputError
    from visionsmith.image.batch import Job, find_pictures
    from visionsmith.image.tile_files import is_tile

    folders: dict[Path, Path] = {}
    for one in find_pictures(files.inputs):
        if is_tile(one.path):
            inner = one.relative.parent
            folders.setdefault(one.path.parent, inner if inner.name else Path(one.path.parent.name))
    if not folders:
        raise DataError(
            "no tiles are there", where=files.inputs[0], do="give a folder with files like y00000_x00256.png"
        )
    output = Path(files.output)
    if output.suffix and not output.is_dir() and not files.output.endswith("/"):
        if len(folders) > 1:
            raise OutputError(
                f"is one file, and there are tiles of {len(folders)} pictures",
                where=output,
                do="give the name of a folder",
            )
        return [Job(next(iter(folders)), output)]
    ending = files.ending or ".png"
    return [Job(folder, output / inner.with_name(inner.name + ending)) for folder, inner in folders.items()]
