"""The claims in miniature: every arm is trained and judged, and an interrupted check goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from visionsmith.data.records import RecordStore
from visionsmith.papers.clip import Clip
from visionsmith.papers.unclip import claims
from visionsmith.papers.unclip.features import embeddings_of


@pytest.mark.slow
def test_claims_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("STEPS", 2), ("SEEDS", (0, 1)), ("PAINTED", 2), ("PAINT_STEPS", 2)):
        monkeypatch.setattr(claims, name, few)
    monkeypatch.setattr("visionsmith.papers.unclip.train.CARD", 4)
    kept: list[Tensor] = []

    def embedded_once(clip: Clip, store: RecordStore, *rest: object, **options: object) -> Tensor:
        kept.extend([embeddings_of(clip, store)] if not kept else [])
        return kept[0]

    # Of all pictures, nine times: most of what this would take.
    monkeypatch.setattr("visionsmith.papers.unclip.features.embeddings_of", embedded_once)
    found = claims.claims(output=tmp_path, progress=False)
    assert len(found) == 3
    assert sorted(folder.name for folder in tmp_path.iterdir()) == [
        "diffusion-seed0", "diffusion-seed1", "regression-seed0", "regression-seed1",
    ]  # fmt: skip
    for claim in found:
        assert claim.measured
        assert all(isinstance(value, float) for _, value in claim.values)
        assert claim.plain()["command"] == "visionsmith claims unclip"
    text, prior = (dict(found[0].values)[f"{arm}_frechet"] for arm in ("text", "prior"))
    assert text != prior
