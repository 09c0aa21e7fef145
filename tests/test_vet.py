from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from visionsmith import unpickle
from visionsmith.errors import CheckpointError, OutputError
from visionsmith.vet import convert_pickle, is_pickle, read_foreign, refuse_unsafe

STATE = {
    "a.weight": torch.arange(6.0).view(2, 3),
    "a.bias": torch.ones(2, dtype=torch.float16),
    "n": torch.tensor(7),
}


class Harmful:
    """Unpickling it makes the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt", "w.pkl", "W.PT"])
def test_pickles_are_known_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(CheckpointError, match="visionsmith convert official clip"):
        refuse_unsafe(tmp_path / name, paper="clip")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_known_by_content(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps({"a": 1}, protocol=protocol))
    with pytest.raises(CheckpointError, match="could run code"):
        refuse_unsafe(path)


def test_archives_and_legacy_files_are_known_by_content(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.safetensors"
        torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
        assert is_pickle(path)


def test_no_safetensors_file_is_taken_for_a_pickle(tmp_path: Path) -> None:
    # A header of 0x0280 bytes begins like a pickle of protocol 2.
    path = tmp_path / "w.safetensors"
    for padding in range(700):
        save_file({"w": torch.ones(2)}, path, metadata={"note": "x" * padding})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert not is_pickle(path)
    refuse_unsafe(path)
    assert read_foreign(path)["w"].tolist() == [1, 1]


def test_a_legacy_state_dict_reads(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert_equal(unpickle.read(tmp_path / "w.pt")[0], STATE)


def test_a_state_dict_converts(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt")
    conversion = convert_pickle(tmp_path / "w.pt", tmp_path / "w.safetensors")
    assert conversion.tensors == 3
    assert_equal(load_file(tmp_path / "w.safetensors"), STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pt", "w.safetensors"]


def test_wrappers_prefixes_nesting_and_shared_memory(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in STATE.items()}}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    tensors, notes = unpickle.read(tmp_path / "wrapped.pt")
    assert "epoch" in notes[0]
    assert "module." in notes[1]
    assert_equal(tensors, STATE)

    torch.save(
        {"x": {"a": shared, "b": shared[1:3], "lr": 0.1}, "y": shared.view(2, 2).T}, tmp_path / "nested.pt"
    )
    conversion = convert_pickle(tmp_path / "nested.pt", tmp_path / "nested.safetensors")
    assert "x.lr" in conversion.notes[0]
    expected = {"x.a": shared, "x.b": shared[1:3], "y": shared.view(2, 2).T}
    assert_equal(load_file(tmp_path / "nested.safetensors"), expected)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("steps", torch.tensor(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Inner(), nn.Sequential(Inner(), nn.BatchNorm1d(4))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) * self.scale


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_a_torchscript_archive_converts_without_running(tmp_path: Path, traced: bool, half: bool) -> None:
    module = Outer().eval()
    module = module.half() if half else module
    example = torch.ones(2, 3, dtype=torch.float16 if half else torch.float32)
    script = torch.jit.trace(module, example) if traced else torch.jit.script(module)
    script.save(str(tmp_path / "script.pt"))
    assert_equal(unpickle.read(tmp_path / "script.pt")[0], module.state_dict())
    if traced and half:  # as the published files are
        assert_equal(read_foreign(tmp_path / "script.pt"), module.state_dict())


def malicious_torchscript(path: Path, marker: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"a": Harmful(marker)}, protocol=2))
        archive.writestr("m/constants.pkl", pickle.dumps((), protocol=2))


def malicious_archive(path: Path, marker: Path) -> None:
    torch.save({"a": Harmful(marker)}, path)


def malicious_legacy(path: Path, marker: Path) -> None:
    torch.save({"a": Harmful(marker)}, path, _use_new_zipfile_serialization=False)


def malicious_plain(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Harmful(marker), protocol=2))


@pytest.mark.parametrize(
    "make", [malicious_torchscript, malicious_archive, malicious_legacy, malicious_plain]
)
def test_code_in_a_pickle_does_not_run(tmp_path: Path, make) -> None:
    make(tmp_path / "bad.pt", tmp_path / "marker")
    with pytest.raises(unpickle.RefusedError, match=r"asks for '(posix|nt|os)\.system'"):
        unpickle.read(tmp_path / "bad.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pt"]


def test_code_in_a_pickle_does_not_run_in_the_child_either(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    malicious_torchscript(tmp_path / "bad.pt", marker)
    with pytest.raises(CheckpointError, match="only tensors are read"):
        convert_pickle(tmp_path / "bad.pt", tmp_path / "out.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pt"]
    # The pickle is live: the ordinary loader runs it.
    pickle.loads(zipfile.ZipFile(tmp_path / "bad.pt").read("m/data.pkl"))
    assert marker.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"\x80\x02c__builtin__\neval\nX\x03\x00\x00\x001+1\x85R.",
        b"\x80\x02ctorch.utils\nfoo\n.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02c__torch__\nX\n)\x81}X\x01\x00\x00\x00acos\nsystem\nsb.",
        b"\x80\x02(X\x04\x00\x00\x00trueios\nsystem\n.",
    ],
)
def test_names_that_are_no_tensors_are_refused(tmp_path: Path, body: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("m/data.pkl", body)
        archive.writestr("m/constants.pkl", b"\x80\x02).")
    with pytest.raises(unpickle.RefusedError, match="only tensors are read"):
        unpickle.read(tmp_path / "bad.pt")


def test_a_tensor_outside_of_its_storage_is_refused(tmp_path: Path) -> None:
    rebuild = b"\x80\x02c__torch__\nX\n)\x81}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n("
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
    for length, sound in ((2, True), (3, False)):
        path = tmp_path / f"{length}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            body = rebuild + storage + b"K\x00K" + bytes([length]) + b"\x85K\x01\x85\x89}tRsb."
            archive.writestr("m/data.pkl", body)
            archive.writestr("m/data/0", torch.tensor([1.0, 2.0]).numpy().tobytes())
            archive.writestr("m/constants.pkl", b"\x80\x02).")
        if sound:
            assert unpickle.read(path)[0]["a"].tolist() == [1, 2]
        else:
            with pytest.raises(RuntimeError, match="out of bounds"):
                unpickle.read(path)


def test_a_tensor_beyond_memory_is_refused(tmp_path: Path) -> None:
    torch.save({"huge": torch.zeros(1).expand(6 * 2**30)}, tmp_path / "bomb.pt")
    with pytest.raises(CheckpointError, match=r"bomb\.pt: it unfolds to far more memory"):
        convert_pickle(tmp_path / "bomb.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_damaged_missing_and_foreign_files(tmp_path: Path) -> None:
    output = tmp_path / "out.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        convert_pickle(tmp_path / "absent.pt", output)
    with pytest.raises(CheckpointError, match="no such file"):
        read_foreign(tmp_path / "absent.pt")
    torch.save(STATE, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r"cut\.pt: it is damaged"):
        convert_pickle(tmp_path / "cut.pt", output)
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(unpickle.RefusedError, match=r"not a file of torch\.save"):
        unpickle.read(tmp_path / "text.pt")
    assert not output.exists()


def test_an_existing_or_impossible_output_is_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt")
    (tmp_path / "out.safetensors").write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        convert_pickle(tmp_path / "w.pt", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_text() == "precious"
    with pytest.raises(OutputError, match="cannot be written"):
        convert_pickle(tmp_path / "w.pt", tmp_path / "w.pt" / "out.safetensors")


ATTEMPTS = """
import os, runpy, socket, subprocess, sys
module = runpy.run_path(sys.argv[1])
sys.addaudithook(module["_forbid"])
attempts = [
    lambda: open(sys.argv[2], "w"),
    lambda: os.open(sys.argv[2], os.O_CREAT),
    lambda: os.remove(sys.argv[1]),
    lambda: os.system("true"),
    lambda: subprocess.run(["true"]),
    lambda: socket.socket(),
]
for attempt in attempts:
    try:
        attempt()
    except module["RefusedError"]:
        sys.stdout.write("refused ")
open(sys.argv[1]).close()
"""


def test_the_child_may_neither_write_nor_start_programs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ATTEMPTS, unpickle.__file__, str(tmp_path / "target")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * 6
    assert not any(tmp_path.iterdir())
