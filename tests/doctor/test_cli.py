"""The command as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doctor.planted import SOUND, plant
from tests.doctor.provoke import KNOWN
from visionsmith.cli import main
from visionsmith.doctor.deep import examine_deep
from visionsmith.doctor.facts import Facts, gather
from visionsmith.doctor.packages import read_packages

GUARDED = """
import os, socket, subprocess, sys
def refuse(*arguments, **options):
    raise AssertionError(f"not allowed: {arguments}")
socket.socket.connect = socket.getaddrinfo = subprocess.Popen = os.system = refuse
from visionsmith.cli import main
try:
    main(ARGUMENTS)
except SystemExit as stop:
    assert stop.code in (0, 2), stop.code
heavy = {"torch", "transformers", "accelerate", "cv2", "matplotlib", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""


def run(*arguments: str) -> int:
    """The exit code of a command within this process."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize(
    "arguments", [["doctor"], ["doctor", "--json"], ["doctor", "--log", str(KNOWN / "two-nccl.txt")]]
)
def test_it_runs_nothing_and_uses_no_network_and_imports_nothing_heavy(arguments: list[str]) -> None:
    # The kernel names no driver here, and nvidia-smi, the one program that may be asked, is not on this PATH.
    environment = {**os.environ, "PATH": "/nowhere"}
    code = GUARDED.replace("ARGUMENTS", repr(arguments))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "not allowed" not in done.stderr
    assert "defect" not in done.stderr
    assert done.stdout.strip()


def test_json_holds_what_the_text_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = run("doctor", "--json")
    findings = json.loads(capsys.readouterr().out)
    assert {finding["check"] for finding in findings} >= {"Python", "torch", "GPU", "NumPy", "OpenCV", "disk"}
    assert {finding["severity"] for finding in findings} <= {"problem", "caution", "fine"}
    assert (code == 2) == any(finding["severity"] == "problem" for finding in findings)
    run("doctor")
    text = capsys.readouterr().out
    for finding in findings:
        assert f"{finding['severity']:8} {finding['check']}: " in text


def test_a_planted_problem_ends_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path, {"opencv_python": "5.0.0.93"})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run("doctor") == 2
    text = capsys.readouterr().out
    assert text.startswith("problem  OpenCV: ")
    assert "mend: pip uninstall -y opencv-python" in text
    assert "1 problem and" in text


def test_a_log_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--log", str(KNOWN / "main-guard-missing.txt"), "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["id"] == "main-guard-missing"
    assert second["follows"] == ["main-guard-missing"]
    lines = (KNOWN / "main-guard-missing.txt").read_text(encoding="utf-8").splitlines()
    assert first["text"] == lines[first["line"] - 1].strip()
    assert run("doctor", "--log", str(KNOWN / "main-guard-missing.txt")) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"1. main-guard-missing (line {first['line']})")
    assert "   mend: " in text
    assert "follows from main-guard-missing" in text


def test_a_traceback_is_piped_in() -> None:
    script = "import numpy as np; np.concatenate(np.zeros(2), np.zeros(2))"
    failed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    for options, check in (
        ([], b"1. concatenate-arguments (line "),
        (["--json"], b'"id": "concatenate-arguments"'),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "visionsmith", "doctor", "--log", "-", *options],
            input=failed.stderr,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert check in done.stdout


def test_a_log_without_a_known_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.txt").write_text("step 1\nKeyError: 'lr'\n")
    assert run("doctor", "--log", str(tmp_path / "log.txt")) == 0
    assert capsys.readouterr().out == "no known cause in this log\n"
    assert run("doctor", "--log", str(tmp_path / "log.txt"), "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--log", "absent.txt"], "absent.txt: cannot be read (No such file or directory)"),
        (["--log", "."], "cannot be read (Is a directory)"),
        (["--log", "absent.txt", "--deep"], "--deep looks at this environment"),
    ],
)
def test_mistakes_give_one_sentence(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("doctor", *arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_deep_computes_and_names_what_a_broken_import_shows(tmp_path: Path) -> None:
    broken = tmp_path / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::' + 'nms does not exist')\n", encoding="utf-8"
    )
    plant(tmp_path, {"torch": "2.13.0", "torchvision": "0.28.0"})
    facts = Facts(
        executable=sys.executable,
        environment={**os.environ, "PYTHONPATH": str(tmp_path)},
        packages=read_packages([tmp_path]),
    )
    wrong, right = examine_deep(facts)
    assert (wrong.check, wrong.severity) == ("import torchvision", "problem")
    assert "torchvision::nms does not exist" in wrong.found
    assert "built for another torch" in wrong.cause
    assert (right.check, right.severity) == ("torch computes", "fine")
    assert "a product and a convolution are right" in right.found


def test_deep_bears_a_child_that_crashes_and_one_that_fails_unknown(tmp_path: Path) -> None:
    for name, code in {"cv2": "import os; os.abort()", "accelerate": "raise KeyError('what')"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code, encoding="utf-8")
    plant(tmp_path, {"opencv_python_headless": "5.0", "accelerate": "1.15.0"})
    facts = Facts(
        executable=sys.executable,
        environment={**os.environ, "PYTHONPATH": str(tmp_path)},
        packages=read_packages([tmp_path]),
    )
    found = {finding.check: finding for finding in examine_deep(facts)}
    assert found["import opencv-python-headless"].found == "ended by signal 6"
    assert found["import accelerate"].found == "KeyError: 'what'"
    assert {finding.severity for finding in found.values()} == {"problem"}


def test_gather_reads_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = gather()
    assert facts.python == sys.version_info[:3]
    assert facts.processors >= 1
    assert {"torch", "numpy", "visionsmith"} <= set(facts.packages.found)
    assert len(SOUND) > 5
