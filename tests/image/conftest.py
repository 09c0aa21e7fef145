"""A user's folder with pictures in it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a photograph and an album."""
    from tests.image.command import make_album

    make_album(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
