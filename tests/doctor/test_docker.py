"""The Dockerfiles were not built here: no engine runs. What can be read off them is checked."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import visionsmith

ROOT = Path(visionsmith.__file__).parents[2]
FILES = ["Dockerfile", "Dockerfile.cuda"]
KNOWN = {"FROM", "ARG", "ENV", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]
    assert {word for word, _ in found} <= KNOWN, f"{name}: an instruction that this test does not know"
    return found


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_base_is_pinned(name: str) -> None:
    parts = instructions(name)
    (base,) = [rest for word, rest in parts if word == "FROM"]
    for key, value in (rest.split("=", 1) for word, rest in parts if word == "ARG"):
        base = base.replace(f"${{{key}}}", value)
    image, colon, tag = base.partition(":")
    assert colon, f"{base} has no tag"
    assert tag != "latest"
    assert re.search(r"\d", tag)
    assert image == {"Dockerfile": "python", "Dockerfile.cuda": "nvidia/cuda"}[name]


def test_the_time_zone_is_a_build_argument_and_never_asked_for(name: str) -> None:
    parts = instructions(name)
    place = {text: number for number, text in enumerate(f"{word} {rest}" for word, rest in parts)}
    argument = next(number for text, number in place.items() if text.startswith("ARG TZ="))
    install = next(number for text, number in place.items() if "apt-get install" in text)
    assert argument < install
    run = parts[install][1]
    assert "DEBIAN_FRONTEND=noninteractive" in run
    assert "tzdata" in run
    assert "/usr/share/zoneinfo/${TZ}" in run
    assert run.index("apt-get update") < run.index("apt-get install") < run.index("rm -rf /var/lib/apt/lists")
    assert any("TZ=${TZ}" in rest for word, rest in parts if word == "ENV")


def test_it_does_not_run_as_root(name: str) -> None:
    parts = instructions(name)
    users = [rest for word, rest in parts if word == "USER"]
    assert users == ["smith"]
    assert any(word == "RUN" and "useradd" in rest and "smith" in rest for word, rest in parts)
    after = [word for word, _ in parts[[word for word, _ in parts].index("USER") :]]
    assert after == ["USER", "WORKDIR", "ENTRYPOINT", "CMD"]


def test_the_packages_have_a_layer_below_the_source(name: str) -> None:
    parts = instructions(name)
    texts = [f"{word} {rest}" for word, rest in parts]
    pins = texts.index("COPY pyproject.toml constraints.txt ./")
    install = next(number for number, text in enumerate(texts) if "--requirement requirements.txt" in text)
    source = texts.index("COPY src ./src")
    assert pins < install < source
    for text in texts:
        if "pip install" in text:
            assert "--mount=type=cache,target=/root/.cache/pip" in text
            assert "--constraint constraints.txt" in text


def test_nothing_is_fetched_and_run_and_no_file_is_added_unseen(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"(?:curl|wget)\b", text)
    assert "ADD " not in text
    assert "COPY . " not in text
    assert "--trusted-host" not in text


def test_it_runs_the_command(name: str) -> None:
    parts = dict(instructions(name))
    assert json.loads(parts["ENTRYPOINT"]) == ["visionsmith"]
    assert json.loads(parts["CMD"]) == ["--help"]


def test_the_list_of_packages_is_the_projects(name: str, tmp_path: Path) -> None:
    run = next(rest for word, rest in instructions(name) if word == "RUN" and "requirements.txt" in rest)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    code = re.search(r'python -c "(.+?)" >', run)[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert done.stdout.splitlines() == project["dependencies"]


def test_what_is_copied_exists_and_is_not_ignored(name: str) -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert rules[0] == "*", "everything is left out unless it is named"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    checked = 0
    for word, rest in instructions(name):
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in kept
                checked += 1
    assert checked == 6
    for private in (".git", ".venv", "runs", ".env", "demo"):
        assert not any(fnmatch.fnmatch(private, rule) for rule in kept)


def test_what_the_build_needs_is_copied(name: str) -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, hatch = config["project"], config["tool"]["hatch"]
    needed = {project["readme"], *project["license-files"], hatch["version"]["path"]}
    needed |= {*hatch["build"]["targets"]["wheel"]["force-include"]}
    copied = [source for word, rest in instructions(name) if word == "COPY" for source in rest.split()[:-1]]
    assert len(needed) == 4
    for file in needed:
        assert any(Path(file).is_relative_to(source) for source in copied), f"{file} is not copied"


def test_both_files_pin_alike() -> None:
    first, second = ([part for part in instructions(name) if "pip install" in part[1]] for name in FILES)
    assert first == second
