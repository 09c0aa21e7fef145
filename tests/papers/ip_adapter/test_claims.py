"""The claims in miniature: every arm is trained and judged, and an interrupted check goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from visionsmith.image.io import decode
from visionsmith.papers.ip_adapter import claims
from visionsmith.papers.latent_diffusion import open_world


@pytest.mark.slow
def test_claims_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"STEPS": 2, "TUNE_STEPS": 2, "SEEDS": (0, 1), "PROMPTS": 3, "PAINT_STEPS": 2, "SCALES": (0.0, 1.0)}
    for name, value in few.items():
        monkeypatch.setattr(claims, name, value)
    for paper in ("ip_adapter", "latent_diffusion"):
        monkeypatch.setattr(f"visionsmith.papers.{paper}.train.QUICK", 4)
        monkeypatch.setattr(f"visionsmith.papers.{paper}.train.QUICK_STEPS", 2)
    found = claims.claims(output=tmp_path, progress=False)
    assert len(found) == 4
    arms = [
        f"{arm}-seed{seed}" for arm in ("concatenated", "decoupled", "gray", "sixteen") for seed in (0, 1)
    ]
    kept = ["features.safetensors", "gray.records", "latents.safetensors"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*arms, *kept])
    for claim in found:
        assert claim.measured
        assert all(isinstance(value, float) for _, value in claim.values)
        assert claim.plain()["command"] == "visionsmith claims ip_adapter"
    curve = dict(found[3].values)
    assert curve["picture_0"] != curve["picture_1"]
    written = {name: (tmp_path / name / "log.jsonl").stat().st_mtime_ns for name in arms}
    assert [each.measured for each in claims.claims(output=tmp_path, progress=False)] == [
        each.measured for each in found
    ]
    assert {name: (tmp_path / name / "log.jsonl").stat().st_mtime_ns for name in arms} == written


def test_gray_pictures_have_no_colour_and_stand_where_they_stood() -> None:
    world = open_world(None, size=64)
    samples = claims._gray(world)
    for index, gray in zip(range(3), samples, strict=False):
        assert gray.key == world.store[index].key
        assert gray.caption == world.store[index].caption
        picture = decode(gray.image, where=gray.key)
        assert claims._colour(picture[None]) == 0
        assert np.ptp(picture) > 0
