"""A model visits a device and comes back; a cache is emptied where it is.

No GPU is needed: what is asked of torch.cuda is recorded. Where two GPUs are, they are measured.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from visionsmith.errors import ConfigError
from visionsmith.memory.devices import empty_cache, on_device, require_device


class Recorder:
    """Stands for torch.cuda: which device was current when the cache was emptied."""

    def __init__(self, started: bool) -> None:
        self.started, self.current, self.emptied = started, 0, []

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device.index if device.index is not None else self.current
        yield
        self.current = before

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Recorder:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: self.started)
        monkeypatch.setattr(torch.cuda, "device", self.device)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: self.emptied.append(self.current))
        return self


def test_the_cache_is_emptied_with_its_own_device_set(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Recorder(started=True).install(monkeypatch)
    for device in ("cuda:1", torch.device("cuda", 3), "cuda"):
        empty_cache(device)
    assert cuda.emptied == [1, 3, 0]
    assert cuda.current == 0


def test_a_process_that_used_no_gpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Recorder(started=False).install(monkeypatch)
    empty_cache("cuda:1")
    assert cuda.emptied == []


def test_the_cpu_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Recorder(started=True).install(monkeypatch)
    empty_cache("cpu")
    assert cuda.emptied == []


def test_a_model_visits_and_comes_back() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with on_device(model, "cpu") as visiting:
        assert visiting is model
        visiting(torch.ones(4, 2))
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
    assert torch.equal(model.state_dict()["0.weight"], before["0.weight"])


class Journey(nn.Module):
    """Says where it was moved; "meta" stands for another device, whose weights cannot come back."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.places: list[str] = []

    def to(self, device: torch.device) -> Journey:
        self.places.append(str(device))
        return self


@pytest.mark.parametrize("fails", [False, True])
def test_it_comes_back_and_the_cache_is_emptied_last(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    events: list[str] = []
    model = Journey()
    monkeypatch.setattr(
        "visionsmith.memory.devices.empty_cache", lambda device: events.append(f"emptied {device}")
    )
    monkeypatch.setattr(gc, "collect", lambda: events.append("collected"))

    def visit() -> None:
        with on_device(model, "meta"):
            if fails:
                raise KeyError("inside")

    if fails:
        with pytest.raises(KeyError, match="inside"):
            visit()
    else:
        visit()
    assert model.places == ["meta", "cpu"]
    assert events == ["collected", "emptied meta"]


def test_what_refers_to_itself_is_collected() -> None:
    class Held:
        pass

    held = Held()
    held.itself = held
    gone = weakref.ref(held)
    del held
    gc.disable()
    try:
        with on_device(Journey(), "meta"):
            assert gone() is not None
        assert gone() is None
    finally:
        gc.enable()


def test_a_model_on_several_devices_is_refused() -> None:
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2, device="meta")])
    with pytest.raises(ConfigError, match=r"several devices \(cpu, meta\)"), on_device(model, "cpu"):
        pass


def test_a_model_without_weights_may_visit() -> None:
    with on_device(nn.ReLU(), "cpu") as model:
        assert model(torch.tensor([-1.0])).item() == 0


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("cuda:99", "there is no device 'cuda:99'"),
        ("gpu", "'gpu' is not a device"),
        ("xpu:7", "there is no device"),
    ],
)
def test_devices_that_are_not_there(name: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        require_device(name)
    with pytest.raises(ConfigError, match=complaint), on_device(nn.ReLU(), name):
        pass


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_gpu_0_stays_asleep() -> None:
    import subprocess
    import sys

    code = """
import torch
from visionsmith.memory.devices import empty_cache, on_device
model = torch.nn.Linear(1000, 1000)
with on_device(model, "cuda:1"):
    model(torch.ones(1, 1000, device="cuda:1"))
empty_cache("cuda:1")
assert torch.cuda.memory_reserved(1) == 0
assert not torch._C._cuda_hasPrimaryContext(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
