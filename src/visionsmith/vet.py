"""Nothing that is loaded may run code: pickles are refused, or converted in a process of their own.

The child process is `unpickle.py`: it reads tensors only, may not use the network, start programs or open a
file for writing, and has limits on memory and time.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionsmith.checkpoint import read_tensors
from visionsmith.errors import CheckpointError, OutputError

__all__ = ["Conversion", "convert_pickle", "is_pickle", "read_foreign", "refuse_unsafe"]

SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
CHILD = Path(__file__).with_name("unpickle.py")
PASSED_ON = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "TMPDIR", "TEMP", "TMP")
"""Environment variables that the child gets; among those it does not get are tokens and proxies."""


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote."""

    tensors: int
    """Number of tensors."""
    notes: tuple[str, ...]
    """What was unwrapped, renamed or left out, in words."""


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or an archive of one, by its name or its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError:
        return False
    if head.startswith(b"PK\x03\x04"):
        return True
    # Pickles since protocol 2 begin with 0x80 and the protocol. So may a safetensors file, whose ninth byte
    # tells.
    return len(head) > 1 and head[0] == 0x80 and head[1] <= 5 and head[8:] != b"{"


def refuse_unsafe(path: Path, *, paper: str = "PAPER") -> None:
    """Refuse a file whose loading could run code.

    Args:
        path: the file.
        paper: the system it is for, named in the advice.

    Raises:
        CheckpointError: it is a pickle; names the command that converts it.
    """
    if is_pickle(path):
        raise CheckpointError(
            "is a pickle, which could run code when it is loaded",
            where=path,
            do=f"convert it once: visionsmith convert official {paper} {shlex.quote(str(path))} OUTPUT",
        )


def read_foreign(path: Path) -> dict[str, Any]:
    """Tensors by name of a safetensors file, or of a pickle, which is converted in a child process first.

    Raises:
        CheckpointError: the file is missing, damaged, or asks for more than tensors.
    """
    if not path.is_file():
        raise CheckpointError("no such file", where=path, do="check the path")
    if not is_pickle(path):
        return read_tensors(path)
    with tempfile.TemporaryDirectory(prefix="visionsmith-") as folder:
        output = Path(folder) / "tensors.safetensors"
        convert_pickle(path, output)
        # The tensors must outlive the file that they may be mapped from.
        return {name: tensor.clone() for name, tensor in read_tensors(output).items()}


def convert_pickle(path: Path, output: Path) -> Conversion:
    """Write the tensors of a pickle (`torch.save` or TorchScript) as safetensors; nothing in it is run.

    Nested mappings become dotted names; a training file's `state_dict` is taken out of its wrapper.

    Args:
        path: the pickle.
        output: the safetensors file to make; appears whole or not at all.

    Raises:
        CheckpointError: the file is missing, damaged, holds no tensors, asks for more than tensors, or hits a
            limit.
        OutputError: the output exists or cannot be written.
    """
    path, output = Path(path), Path(output)
    if not path.is_file():
        raise CheckpointError("no such file", where=path, do="check the path")
    if output.exists():
        raise OutputError("exists already", where=output, do="choose another name")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror})", where=output, do="choose another folder"
        ) from error
    part = Path(name)
    try:
        report = _run_child(path, part)
        _publish(part, output)
    finally:
        part.unlink(missing_ok=True)
    return Conversion(tensors=report["tensors"], notes=tuple(report["notes"]))


def _run_child(path: Path, output: Path) -> dict[str, Any]:
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    seconds = 120 + path.stat().st_size // 2_000_000
    # -I: neither the environment nor the current folder decides what the child imports.
    command = [sys.executable, "-I", str(CHILD), str(path.resolve()), str(output.resolve()), str(seconds)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=2 * seconds,
            check=False,
            cwd=output.parent,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(
            f"took longer than {2 * seconds} s to read", where=path, do="do not trust it"
        ) from error
    try:
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise CheckpointError(
            f"the process that read it {_ending(done)}", where=path, do="copy it again from its source"
        ) from error
    if unwritten := report.get("unwritten"):
        raise OutputError(f"cannot be written ({unwritten})", where=output.parent, do="free some space")
    if refusal := report.get("error"):
        raise CheckpointError(
            refusal, where=path, do="get the weights as safetensors from a source that you trust"
        )
    return report


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        return "used more processor time than such a file needs"
    if done.returncode < 0:
        return f"was ended by signal {-done.returncode}, perhaps for memory"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"failed ({last})"


def _publish(part: Path, output: Path) -> None:
    try:
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(output)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror})", where=output, do="choose another folder"
        ) from error
