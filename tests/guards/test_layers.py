"""Imports point one way, and a paper imports another only by its public name and only if it says so."""

from __future__ import annotations

import ast
from pathlib import Path

from visionsmith.papers.paper import FOLDER, get_paper

PACKAGE = FOLDER.parent
ORDER = [
    {"cli"},
    {"papers"},
    {"train", "evaluate", "report", "memory", "doctor"},
    {"data"},
    {"nn", "losses", "image", "diffusion", "single_file"},
    {"vet"},
    {"checkpoint", "keys"},
    {"config", "durable"},
    {"errors"},
    {"_version"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def imports() -> list[tuple[Path, list[str]]]:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                names = [node.module or ""]
                if node.module == "visionsmith":
                    names = [f"visionsmith.{alias.name}" for alias in node.names]
            found += [(file, name.split(".")) for name in names if name.startswith("visionsmith.")]
    return found


def test_layers() -> None:
    checked = 0
    for file, name in imports():
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):  # the package's own door may look in anywhere
            continue
        target = name[1]
        if room != target:
            assert RANK[room] < RANK[target], f"{file.relative_to(PACKAGE)} imports {'.'.join(name)}"
            checked += 1
    assert checked > 100, f"only {checked} edges were checked"


def test_papers_name_what_they_build_on() -> None:
    checked = 0
    shared = {file.stem for file in (PACKAGE / "papers").glob("*.py")}
    for file, name in imports():
        parts = file.relative_to(PACKAGE).parts
        if parts[0] != "papers" or len(parts) < 3:
            continue
        checked += 1
        if name[1] == "papers" and len(name) > 2 and name[2] not in {*shared, parts[1]}:
            assert name[2] in get_paper(parts[1]).builds_on, f"{file} imports {'.'.join(name)} undeclared"
            assert len(name) == 3, f"{file} reaches into {'.'.join(name)}; import the public name"
    assert checked > 30, f"only {checked} edges were checked"


def test_no_shared_file_names_a_paper() -> None:
    names = {folder.parent.name for folder in FOLDER.glob("*/paper.toml")}
    checked = 0
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).parts
        if parts[0] == "papers" and len(parts) > 2:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                texts = [
                    c.value
                    for c in ast.walk(node)
                    if isinstance(c, ast.Constant) and isinstance(c.value, str)
                ]
                assert not names & set(texts), (
                    f"{file.relative_to(PACKAGE)}:{node.lineno} decides by a paper's name"
                )
                checked += 1
    assert checked > 50
