"""The folder of a training run: everything that made it and everything it made.

RUN/
  config.yaml         {paper, preset, data, recipe}: `visionsmith train PAPER --config RUN/config.yaml` replays it
  environment.json    versions, platform, command, seed
  log.jsonl           one line a log or evaluation step
  checkpoints/step-00000200/   states that the run can resume from
  model/              the finished checkpoint for use
  samples.png  plots/  report.html  tensorboard/
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from visionsmith import checkpoint, config
from visionsmith.errors import CheckpointError, ConfigError, OutputError

__all__ = ["RunFolder"]

FREE_TO_CHANGE = frozenset({"workers", "log_every", "save_every", "keep"})
"""Settings of `train` that a resumed run may change, because the weights do not depend on them."""


class RunFolder:
    """One run's folder. Opening it decides whether a run starts or goes on."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.log_file = self.path / "log.jsonl"

    def start(self, *, paper: str, data: Path | None, recipe: Any, resume: bool) -> None:
        """Make the folder, or check that it holds the run to go on with.

        Raises:
            OutputError: the folder holds something already, or cannot be written.
            ConfigError: the run to resume was made with other settings; names the first that differs.
        """
        file = self.path / "config.yaml"
        wanted = {
            "paper": paper,
            "data": str(data.resolve()) if data else None,
            "recipe": config.encode(recipe),
        }
        begun = self.log_file.exists() or any(self.checkpoints.glob("step-*"))
        if file.exists() and begun:
            if not resume:
                raise OutputError(
                    "holds a run already", where=self.path, do="add --resume, or choose another folder"
                )
            self._refuse_other(config.read_yaml(file), wanted)
            return
        if not file.exists() and self.path.exists() and any(self.path.iterdir()):
            raise OutputError("is not empty and holds no run", where=self.path, do="choose another folder")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            head = yaml.safe_dump({"paper": paper, "data": wanted["data"]}, sort_keys=False)
            body = "".join(f"  {line}\n" for line in config.to_yaml(recipe).splitlines())
            file.write_text(f"{head}recipe:\n{body}", encoding="utf-8")
            (self.path / "environment.json").write_text(json.dumps(_environment(), indent=2) + "\n")
        except OSError as error:
            raise OutputError(
                f"cannot be written ({error.strerror})",
                where=self.path,
                do="choose a folder that you may write to",
            ) from error

    def _refuse_other(self, made: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        for key, old, new in _differences(made, wanted):
            if key.rpartition(".")[2] not in FREE_TO_CHANGE:
                raise ConfigError(
                    f"this run was made with {key} = {old!r}, not {new!r}",
                    where=self.path,
                    do="resume with the same settings, or choose another --output",
                )

    def state_folder(self, step: int) -> Path:
        """Where the state after `step` steps belongs."""
        return self.checkpoints / f"step-{step:08d}"

    def latest_state(self) -> tuple[Path | None, list[str]]:
        """The newest undamaged state, and a sentence for each damaged one that was passed over."""
        passed_over: list[str] = []
        for folder in sorted(self.checkpoints.glob("step-*"), reverse=True):
            damage = checkpoint.verify(folder)
            if damage is None:
                return folder, passed_over
            passed_over.append(f"{folder.name} is damaged ({damage}); the one before it is used")
        if passed_over:
            raise CheckpointError(
                f"every saved state is damaged: {passed_over[0].partition(';')[0]}",
                where=self.checkpoints,
                do="start again in another folder",
            )
        return None, []

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep` states, and what a killed writer left."""
        for folder in sorted(self.checkpoints.glob("step-*"))[:-keep]:
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self.checkpoints.glob(".step-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append a line to the log."""
        try:
            with self.log_file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OutputError(f"the log cannot be written ({error.strerror})", where=self.log_file) from error

    def story(self, about: Mapping[str, Any]) -> dict[str, bytes]:
        """How the model came to be, to travel with its checkpoint: card.json, and the log.

        Args:
            about: what the card says of the data.
        """
        log = self.log_file.read_bytes() if self.log_file.exists() else b""
        lines = [json.loads(line) for line in log.decode().splitlines() if line.endswith("}")]
        environment = json.loads((self.path / "environment.json").read_text())
        measured = [line["evaluate"] for line in lines if "evaluate" in line]
        times = [line["time"] for line in lines if "lr" in line]
        card = {
            "command": environment["command"],
            "recipe": config.read_yaml(self.path / "config.yaml"),
            "minutes": round(times[-1] / 60, 1) if times else None,
            "machine": f"{environment['processor']}, {environment['cores']} cores, {environment['platform']}",
            "commit": environment["git"],
            "versions": environment["versions"],
            "measured": measured[-1] if measured else {},
            "data": dict(about),
        }
        return {"card.json": (json.dumps(card, indent=2) + "\n").encode(), "log.jsonl": log}


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    found = []
    for key in sorted({*old, *new}):
        left, right = old.get(key), new.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append((f"{prefix}{key}", left, right))
    return found


def _environment() -> dict[str, Any]:
    names = (
        "visionsmith",
        "torch",
        "accelerate",
        "transformers",
        "numpy",
        "safetensors",
        "lmdb",
        "opencv-python-headless",
    )
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": " ".join(["visionsmith", *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "versions": versions,
        "git": _git(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _git() -> str | None:
    """The project's commit, with "+" when its files have changed since; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = _output("git", "-C", str(here), "rev-parse", "--short", "HEAD")
        return commit + ("+" if _output("git", "-C", str(here), "status", "--porcelain", "-uno", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
