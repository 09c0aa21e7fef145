"""Pages carry no stale figure, and every command that they show parses."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import visionsmith

ROOT = Path(visionsmith.__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_generated_parts_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "render.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_on_the_pages_exist() -> None:
    from typer.main import get_command

    from visionsmith.cli.app import app

    root = get_command(app)
    checked = 0
    for page in PAGES:
        for line in re.findall(
            r"(?<!import )visionsmith (?:[a-z]+) [^`\n]*", page.read_text(encoding="utf-8")
        ):
            plain = line.partition(" > ")[0].replace("[", "").replace("]", "")
            words = shlex.split(plain, comments=True)[1:]
            command = root.commands.get(words[0])
            assert command is not None, f"{page.name}: {line}"
            if hasattr(command, "get_command") and len(words) > 1 and not words[1].startswith("-"):
                command = command.get_command(None, words[1])
                assert command is not None, f"{page.name}: {line}"
            known = {option for parameter in command.params for option in parameter.opts} | {
                "--help",
                "--debug",
            }
            options = {word for word in words if word.startswith("--")}
            assert options <= known, f"{page.name}: {line}: {options - known}"
            checked += 1
    assert checked >= 20


def test_links_between_pages_lead_somewhere() -> None:
    checked = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
                checked += 1
    assert checked >= 5
