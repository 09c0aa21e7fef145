"""The tiles of a picture as a folder of files, named by their place: y00256_x00000.png."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from visionsmith.durable import replace_folder
from visionsmith.errors import DataError, OutputError
from visionsmith.image.header import FORMATS
from visionsmith.image.io import read_image, write_image
from visionsmith.image.tiles import Tile

__all__ = ["is_tile", "read_tiles", "write_tiles"]

_ENDINGS = "|".join(ending[1:] for endings in FORMATS.values() for ending in endings)
_NAME = re.compile(rf"y(\d{{5,}})_x(\d{{5,}})\.({_ENDINGS})", re.IGNORECASE)


def is_tile(path: Path) -> bool:
    """Whether a file is called as a tile."""
    return _NAME.fullmatch(path.name) is not None


def write_tiles(
    folder: str | Path,
    tiles: Sequence[Tile],
    *,
    ending: str = ".png",
    quality: int = 90,
    overwrite: bool = False,
) -> None:
    """Write tiles as files of a folder that appears whole or not at all.

    Args:
        folder: of these tiles and nothing else.
        tiles: what `tile` made.
        ending: of the files: .png, .webp and .tif are lossless.
        quality: of JPEG.
        overwrite: replace a folder that holds tiles; one that holds anything else is never replaced.

    Raises:
        OutputError: the folder is there, or the place cannot be written.
        DataError: the format does not hold such a picture.
    """
    folder = Path(folder)
    _check_place(folder, overwrite)
    partial = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name[:64]}.", dir=folder.parent))
        for one in tiles:
            write_image(partial / f"y{one.y:05}_x{one.x:05}{ending}", one.image, quality=quality)
        partial.chmod(0o755)
        replace_folder(partial, folder)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=folder,
            do="free some space or choose another place",
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def read_tiles(folder: str | Path) -> list[Tile]:
    """Read the tiles of a folder, in the channels and depth of their files; other files are passed over.

    Raises:
        DataError: it holds no tiles, or one cannot be read.
    """
    folder = Path(folder)
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot be read ({reason})", where=folder, do="give a folder of tiles") from error
    tiles = []
    for name in names:
        place = _NAME.fullmatch(name)
        if place is not None:
            image = read_image(folder / name, channels="unchanged", depth="keep")
            tiles.append(Tile(image, x=int(place[2]), y=int(place[1])))
    if not tiles:
        raise DataError("holds no tiles", where=folder, do="give a folder with files like y00000_x00256.png")
    return tiles


def _check_place(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError("is a file, and tiles need a folder", where=folder, do="choose another place")
    inside = list(folder.iterdir())
    strange = next((path for path in inside if not is_tile(path)), None)
    if strange is not None:
        raise OutputError(
            f"holds something that is no tile ({strange.name})", where=folder, do="choose another place"
        )
    if inside and not overwrite:
        raise OutputError("holds tiles already", where=folder, do="add --overwrite, or choose another place")
