"""A look that imports: torch and its neighbours, each in a child process of its own.

A child that crashes takes nothing with it; what it printed is read for a known cause.
"""

from __future__ import annotations

import json
import subprocess
import sys

from visionsmith.data.progress import DelayedBar
from visionsmith.doctor.facts import Facts
from visionsmith.doctor.finding import Finding, fine, problem
from visionsmith.doctor.match import diagnose

__all__ = ["examine_deep"]

PATIENCE = 180
"""Seconds that one child may take."""

TORCH = """
import json, torch
device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
name = torch.cuda.get_device_name() if device == "cuda" else device
ones = torch.ones(64, 32, device=device) @ torch.ones(32, 16, device=device)
image = torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8, device=device), torch.ones(4, 3, 3, 3, device=device))
print(json.dumps({
    "version": torch.__version__, "device": name, "devices": torch.cuda.device_count(),
    "cudnn": torch.backends.cudnn.version() if device == "cuda" else None,
    "matmul": ones.unique().tolist(), "convolution": image.unique().tolist(),
}))
"""
EXPECTED = {"matmul": [32.0], "convolution": [27.0]}
"""Ones times ones: 32 products a cell; 3 x 3 x 3 products a pixel."""

# Libraries that import late need a name that makes them do it.
IMPORTS = {
    "numpy": "import numpy",
    "opencv-python": "import cv2",
    "opencv-python-headless": "import cv2",
    "torchvision": "import torchvision",
    "transformers": "from transformers import CLIPImageProcessor, PreTrainedModel",
    "accelerate": "from accelerate import Accelerator",
    "diffusers": "from diffusers import DiffusionPipeline",
    "peft": "from peft import LoraConfig",
}


def examine_deep(facts: Facts, *, progress: bool = False) -> list[Finding]:
    """Import what is installed and compute a little; problems first.

    Args:
        facts: a snapshot; its environment is the children's.
        progress: show a bar when it takes long.
    """
    names = [name for name in IMPORTS if facts.packages.get(name) is not None]
    findings = []
    with DelayedBar("importing", len(names) + 1, show=progress) as bar:
        if facts.packages.get("torch") is not None:
            findings.append(_judge_torch(facts))
        bar.advance()
        for name in names:
            findings.append(_judge_import(facts, name))
            bar.advance()
    return sorted(findings, key=lambda finding: finding.severity == "fine")


def _judge_torch(facts: Facts) -> Finding:
    done = _run(facts, TORCH)
    if isinstance(done, str) or done.returncode != 0:
        return _failure("torch computes", done)
    values = json.loads(done.stdout.splitlines()[-1])
    cudnn = f", cuDNN {values['cudnn']}" if values["cudnn"] else ""
    count = f" ({values['devices']} of them)" if values["devices"] > 1 else ""
    found = f"torch {values['version']} on {values['device']}{count}{cudnn}"
    if any(values[name] != expected for name, expected in EXPECTED.items()):
        return problem(
            "torch computes",
            found,
            cause=f"products of ones gave {values['matmul']} and {values['convolution']}",
            consequence="every result of this machine is in doubt",
            fix="pip install --force-reinstall torch; then test the memory and the GPU",
        )
    return fine("torch computes", f"{found}; a product and a convolution are right")


def _judge_import(facts: Facts, name: str) -> Finding:
    check = f"import {name}"
    done = _run(facts, IMPORTS[name])
    if isinstance(done, str) or done.returncode != 0:
        return _failure(check, done)
    return fine(check, f"{facts.packages.found[name].version} imports")


def _run(facts: Facts, code: str) -> subprocess.CompletedProcess[str] | str:
    """What a child printed, or why there is nothing."""
    environment = {**facts.environment, "HF_HUB_OFFLINE": "1", "PYTHONFAULTHANDLER": "1"}
    command = [facts.executable or sys.executable, "-c", code]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE} seconds"
    except OSError as error:
        return f"{command[0]} cannot be run ({error.strerror})"


def _failure(check: str, done: subprocess.CompletedProcess[str] | str) -> Finding:
    if isinstance(done, str):
        return problem(
            check, done, cause="unknown", consequence="it cannot be used", fix="run the import by hand"
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    ended = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    found = lines[-1].strip()[:200] if lines and done.returncode > 0 else ended
    recognised = diagnose(done.stderr)
    if not recognised:
        return problem(
            check,
            found,
            cause="not a known one",
            consequence="it cannot be used",
            fix=f"python -c '{IMPORTS.get(check.removeprefix('import '), 'import torch')}' shows the whole error",
        )
    first = recognised[0]
    return problem(check, found, cause=first.what, consequence=first.cause.consequence, fix=first.fix)
