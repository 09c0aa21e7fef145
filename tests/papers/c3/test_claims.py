"""The claims end to end on tiny trainings, and that each can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.papers.c3.common import WORDS, mini
from visionsmith.data.texts import Texts
from visionsmith.papers.c3 import claims as module
from visionsmith.papers.c3.claims import MIDDLE, STRIDES, claims, short_recipe


def test_claims_run_and_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = Texts((" ".join(WORDS * 30),), (" ".join(reversed(WORDS * 4)),), {"sha256": "x"})
    monkeypatch.setattr("visionsmith.data.texts.open_texts", lambda data, progress: texts)
    monkeypatch.setattr(module, "SEEDS", (0,))
    monkeypatch.setattr(module, "STRIDES", (2, 4))
    monkeypatch.setattr(
        module,
        "short_recipe",
        lambda stride, seed: mini(stride=stride, latents=16 // stride, steps=1, batch_size=4),
    )
    found = claims(output=tmp_path, progress=False)
    assert [claim.statement.split()[0] for claim in found] == ["The", "Errors", "Shuffled", "Latents"]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = claims(output=tmp_path, progress=False)
    assert [claim.plain() for claim in again] == [claim.plain() for claim in found]
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}


def test_recipes_differ_in_the_ratio_alone() -> None:
    for stride in STRIDES:
        model = short_recipe(stride, 1).model
        assert model.latents * stride == model.chunk == short_recipe(MIDDLE, 1).model.chunk
    assert short_recipe(MIDDLE, 1).train.seed == 1


def measured(**changes: list[float]) -> module.Found:
    plain = {"characters": [0.9], "tokens": [0.9], "first": [0.95], "last": [0.8], "difference": [1e-6]}
    values = {**plain, "shuffled": [0.88], "random": [0.87], **changes}
    found = {(stride, name): list(value) for stride in STRIDES for name, value in values.items()}
    for place, stride in enumerate(STRIDES):
        found[stride, "characters"] = [value - 0.1 * place for value in values["characters"]]
    return found


@pytest.mark.parametrize(
    ("judge", "failing"),
    [
        (module._ratio, {"characters": [0.5, 0.9]}),
        (module._position, {"last": [0.95]}),
        (module._order, {"random": [0.8]}),
        (module._cached, {"difference": [0.1]}),
    ],
)
def test_each_claim_holds_and_fails(judge, failing: dict[str, list[float]]) -> None:
    assert judge(measured()).holds
    assert not judge(measured(**failing)).holds
