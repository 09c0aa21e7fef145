"""One seed and one thread for every test, and a cache folder of the session's own."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _fixed_seed():
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One packed copy of the built-in data for all workers of the session."""
    base = tmp_path_factory.getbasetemp()
    # The workers of one session share what lies above their own folders; what lies above a session is of other days.
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "visionsmith-cache"


@pytest.fixture(autouse=True)
def _cache_folder(monkeypatch: pytest.MonkeyPatch, _shared_cache: Path) -> None:
    monkeypatch.setenv("VISIONSMITH_CACHE", str(_shared_cache))
