"""Files and folders that appear whole or not at all, and that outlast a power failure."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from visionsmith.errors import OutputError

__all__ = ["replace_folder", "sync_folder", "write_synced", "write_whole"]


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on disk."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Wait until a folder's list of names is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_folder(new: Path, path: Path) -> None:
    """Rename the folder `new` to `path`; one that was there is moved aside first and removed last."""
    aside = path.with_name(f".{path.name}.replaced")
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    new.rename(path)
    sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def write_whole(path: Path, content: bytes, *, synced: bool = True) -> None:
    """Write a file under a temporary name and rename it; missing parent folders are made.

    Args:
        path: the file.
        content: of it.
        synced: wait until it is on disk. Without it the file is whole whatever happens to this process; after a power
            failure it may be missing or empty.

    Raises:
        OutputError: the place cannot be written; a file that was there is as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        if synced:
            write_synced(temporary, content)
        else:
            temporary.write_bytes(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            do="free some space or choose another place",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
