"""Precision "auto" is settled by the machine, recorded, and slow choices are owned up to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.train.test_resume import train
from tests.train.toys import toy_config
from visionsmith.papers.clip.recipes import tiny
from visionsmith.train import loop, precision
from visionsmith.train.precision import has_bfloat16, settle_precision


@pytest.mark.parametrize(("has", "wanted"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_the_machine_has(monkeypatch: pytest.MonkeyPatch, has: bool, wanted: str) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    assert settle_precision(toy_config(precision="auto")).precision == wanted
    assert settle_precision(tiny().train).precision == wanted, "the tiny preset asks for it"
    for asked in ("fp32", "bf16", "fp16"):
        assert settle_precision(toy_config(precision=asked)).precision == asked


def test_the_processor_itself_agrees() -> None:
    try:
        flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    except OSError:
        flags = set()
    if "sse2" not in flags:
        pytest.skip("not Linux on x86")
    assert has_bfloat16(torch.device("cpu")) == ({"avx512bw", "avx512vl", "avx512dq"} <= flags)
    assert not has_bfloat16(torch.device("meta"))


def test_a_run_says_when_bfloat16_is_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    said: list[str] = []
    monkeypatch.setattr(loop.TrainingProgress, "say", lambda self, sentence: said.append(sentence))
    for has in (True, False):
        monkeypatch.setattr(loop, "has_bfloat16", lambda device, has=has: has)
        train(tmp_path / str(has), toy_config(precision="bf16", steps=3))
        assert any("emulates bf16" in sentence for sentence in said) != has


def test_a_run_records_what_it_computed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    from visionsmith.config import override
    from visionsmith.papers.clip import train as clip

    class Stop(Exception):
        pass

    def stop(*arguments: object, **options: object) -> None:
        raise Stop

    monkeypatch.setattr(clip, "make_task", stop)
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    with pytest.raises(Stop):
        clip.train(override(tiny(), ["steps=2"]), data=None, output=tmp_path / "run", progress=False)
    made = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert made["recipe"]["train"]["precision"] == "fp32"
