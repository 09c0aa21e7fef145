"""The claims in miniature: every arm is trained and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from visionsmith.papers.icedit import adapter_for, claims, load_filler
from visionsmith.papers.paper import shipped_checkpoint


@pytest.mark.slow
def test_claims_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("STEPS", 2), ("SEEDS", (0, 1)), ("FILTERED", 1), ("SAMPLED", 3), ("EARLY", 1)):
        monkeypatch.setattr(claims, name, few)
    monkeypatch.setattr("visionsmith.papers.icedit.train.QUICK", 1)
    found = claims.claims(output=tmp_path, progress=False)
    assert len(found) == 4
    runs = [entry.name for entry in tmp_path.iterdir() if entry.is_dir()]
    assert len(runs) == 8
    assert all(claim.measured and claim.plain()["command"] == "visionsmith claims icedit" for claim in found)
    moved = dict(found[0].values)
    assert moved["published_moved"] == 0, "the public router has no gradient"
    assert moved["experts_moved"] > 0
    assert not found[0].holds


def test_the_plain_arm_has_no_fewer_parameters() -> None:
    transformer = load_filler(shipped_checkpoint("icedit"))[0].transformer
    counts = {
        arm: sum(value.numel() for value in adapter_for(transformer, recipe.adapter).parameters())
        for arm, recipe in claims._arms().items()
    }
    assert counts["plain"] >= counts["experts"] == counts["published"]
    assert counts["plain"] < 1.3 * counts["experts"]
