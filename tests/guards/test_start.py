"""The command line answers at once, and a part of the package does not pull in the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import visionsmith

HEAVY = ("torch", "transformers", "accelerate", "matplotlib", "cv2", "sklearn", "skimage")


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nimport json\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def run_help(*arguments: str) -> str:
    return f"""
from visionsmith.cli import main
try:
    main({[*arguments, "--help"]!r})
except SystemExit as stop:
    assert stop.code == 0, stop.code
"""


@pytest.mark.parametrize(
    "arguments",
    [(), ("train",), ("evaluate",), ("run",), ("run", "clip"), ("claims",), ("data",), ("data", "pack")],
)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    found = loaded_after(run_help(*arguments))
    assert "typer" in found
    assert found.isdisjoint(HEAVY), found & set(HEAVY)


def test_list_loads_nothing_heavy() -> None:
    found = loaded_after(
        "from visionsmith.cli import main\ntry:\n    main(['list', '--json'])\nexcept SystemExit: pass"
    )
    assert found.isdisjoint(HEAVY), found & set(HEAVY)


def test_import_of_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import visionsmith; visionsmith.papers()").isdisjoint(HEAVY)


def test_no_code_loads_pickles_or_remote_code() -> None:
    package = Path(visionsmith.__file__).parent
    checked = 0
    for file in package.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        checked += 1
        assert "trust_remote_code=True" not in text, file
        if file.name not in ("vet.py", "unpickle.py"):
            assert "torch.load(" not in text, file
            assert "import pickle" not in text, file
    assert checked > 50
