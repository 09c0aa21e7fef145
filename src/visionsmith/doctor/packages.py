"""Installed packages, read from their metadata without importing any."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

__all__ = ["Package", "Packages", "read_packages"]

_HEAD = 65536
_CUDA = re.compile(r"""^cuda\b[^=\n]*=\s*(?:'([\d.]+)'|"([\d.]+)")""", flags=re.MULTILINE)
_LOCAL = re.compile(r"\+(cpu|cu(\d+)(\d)|rocm[\d.]+|xpu)\b")


@dataclass(frozen=True)
class Package:
    """One installed package."""

    name: str
    """Canonical: lower case, words joined by hyphens."""
    version: Version
    folder: Path
    """The site-packages folder that it is in."""
    requires: tuple[Requirement, ...] = ()
    """What it needs on this Python, without extras."""
    build: str = ""
    """Of torch and its companions: "cpu", "cuda 12.6", "rocm6.2", or empty when that cannot be told."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Packages:
    """The packages that an import would find, and what else lies in their folders."""

    found: Mapping[str, Package] = field(default_factory=dict)
    doubled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Packages with several metadata folders in one place, and the versions that these name."""
    leftovers: tuple[Path, ...] = ()
    """What pip left of an interrupted removal ("~orch")."""

    def get(self, name: str) -> Package | None:
        """The package of a canonical name, or None."""
        return self.found.get(name)

    def named(self, names: Iterable[str]) -> list[Package]:
        """Those of `names` that are installed."""
        return [self.found[name] for name in names if name in self.found]


def read_packages(folders: Iterable[Path]) -> Packages:
    """The packages of some site-packages folders; the first folder that holds one wins, as in an import."""
    found: dict[str, Package] = {}
    doubled: dict[str, tuple[str, ...]] = {}
    leftovers: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            continue
        here: dict[str, list[Package]] = {}
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith("~"):
                leftovers.append(entry)
            elif entry.name.endswith(".dist-info") and (package := _read(entry)) is not None:
                here.setdefault(package.name, []).append(package)
        for name, several in here.items():
            found.setdefault(name, several[-1])
            if len(several) > 1:
                doubled[name] = tuple(str(package.version) for package in several)
    return Packages(found, doubled, tuple(leftovers))


def _read(entry: Path) -> Package | None:
    """A package from its metadata folder, or None when that is not readable as one."""
    stem, _, version = entry.name.removesuffix(".dist-info").rpartition("-")
    try:
        name, parsed = canonicalize_name(stem), Version(version)
    except InvalidVersion:
        return None
    return Package(
        name=name,
        version=parsed,
        folder=entry.parent,
        requires=_requirements(entry / "METADATA"),
        build=_build(entry.parent, name, parsed) if name in ("torch", "torchvision", "torchaudio") else "",
    )


def _requirements(metadata: Path) -> tuple[Requirement, ...]:
    try:
        with metadata.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(_HEAD).partition("\n\n")[0]
    except OSError:
        return ()
    found = []
    for line in head.splitlines():
        field_name, _, value = line.partition(": ")
        if field_name == "Requires-Dist":
            try:
                requirement = Requirement(value)
            except InvalidRequirement:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                found.append(requirement)
    return tuple(found)


def _build(folder: Path, name: str, version: Version) -> str:
    """What a build of torch computes on, by its version file or its version's local part."""
    try:
        text = (folder / name / "version.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    label = _LOCAL.search(text) or _LOCAL.search(str(version))
    if cuda := _CUDA.search(text):
        return f"cuda {cuda[1] or cuda[2]}"
    if label is not None:
        return f"cuda {label[2]}.{label[3]}" if label[2] else label[1]
    return "cpu" if re.search(r"^cuda\b[^=\n]*=\s*None", text, flags=re.MULTILINE) else ""
