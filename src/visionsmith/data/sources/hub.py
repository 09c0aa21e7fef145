"""Data sets of the Hugging Face hub, from its cache on this machine: no network, and no code of a data set is run."""

from __future__ import annotations

import re
from pathlib import Path

from visionsmith.errors import DataError

__all__ = ["download", "find", "is_name"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def is_name(path: Path) -> bool:
    """Whether `path` names nothing on the disk and could be the name of a data set, OWNER/NAME."""
    return _NAME.fullmatch(str(path)) is not None and not path.exists() and not path.parent.exists()


def find(name: Path) -> Path | None:
    """The folder of a data set in the hub's cache, or None when it was not downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), repo_type="dataset", local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):  # ValueError: the hub allows no such name
        return None


def download(name: Path) -> None:
    """Fetch a data set to the hub's cache; what is there already is not fetched again.

    Raises:
        DataError: it is no name of a data set, or it cannot be fetched.
    """
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if not is_name(name):
        raise DataError(
            "is no data set of the hub", where=name, do="give OWNER/NAME, or leave out --download"
        )
    try:
        snapshot_download(str(name), repo_type="dataset")
    except OfflineModeIsEnabled as error:
        raise DataError(
            "cannot be fetched: HF_HUB_OFFLINE is set", where=name, do="unset it, or leave out --download"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise DataError(
            f"cannot be fetched ({reason})", where=name, do="check the name, your network and your access"
        ) from error
