"""Pipelines by a hub id: all that opening needs is fetched, and not the same weights twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from tests.papers.ip_adapter.test_flux import make_flux
from visionsmith.errors import CheckpointError
from visionsmith.papers.ip_adapter import FluxPainter, open_painter
from visionsmith.papers.latent_diffusion import Painter, load_painter
from visionsmith.papers.model_folder import pipeline_kind


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of repositories, and one that stands for the cache."""
    (tmp_path / "hub").mkdir()

    def fetch(name: str, *, allow_patterns: list[str], local_files_only: bool, **_: Any) -> str:
        there, cached = tmp_path / "hub" / name, tmp_path / "cache" / name
        if local_files_only:
            if not cached.is_dir():
                raise LocalEntryNotFoundError("not in the cache")
            return str(cached)
        names = [file.relative_to(there).as_posix() for file in there.rglob("*") if file.is_file()]
        cached.mkdir(parents=True, exist_ok=True)
        for wanted in filter_repo_objects(names, allow_patterns=allow_patterns):
            (cached / wanted).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(there / wanted, cached / wanted)
        return str(cached)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    return tmp_path / "hub"


def test_a_pipeline_of_stable_diffusion_is_fetched_whole(hub: Path, painter: Painter) -> None:
    painter.save_pretrained(hub / "some" / "painter")
    (hub / "some" / "painter" / "all-in-one.safetensors").write_bytes(b"the same weights again")
    with pytest.raises(CheckpointError, match="nor a hub id in the local cache"):
        load_painter("some/painter")
    fetched = open_painter("some/painter", download=True)
    assert np.array_equal(fetched.paint(["a square"], steps=2), painter.paint(["a square"], steps=2))
    assert not (hub.parent / "cache" / "some" / "painter" / "all-in-one.safetensors").exists()
    assert isinstance(load_painter("some/painter"), Painter)


def test_a_pipeline_of_flux_is_known_by_its_index_alone(hub: Path) -> None:
    make_flux().pipeline.save_pretrained(hub / "some" / "flux")
    assert pipeline_kind("some/flux", download=True) == "FluxPipeline"
    cached = hub.parent / "cache" / "some" / "flux"
    assert [file.name for file in cached.rglob("*") if file.is_file()] == ["model_index.json"]
    assert isinstance(open_painter("some/flux", download=True), FluxPainter)


def test_a_damaged_part_is_named(hub: Path, painter: Painter) -> None:
    painter.save_pretrained(hub / "broken")
    (file,) = (hub / "broken" / "text_encoder").glob("*.safetensors")
    file.write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError, match="cannot be opened as a StableDiffusionPipeline"):
        load_painter(hub / "broken")
