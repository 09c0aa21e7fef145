"""Checks of the installed packages against each other."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from visionsmith.doctor.facts import Facts
from visionsmith.doctor.finding import Finding, caution, fine, problem
from visionsmith.doctor.packages import Package

__all__ = [
    "check_advisories",
    "check_leftovers",
    "check_nccl",
    "check_numpy",
    "check_opencv",
    "check_pairs",
    "check_python",
    "check_requirements",
    "check_torch_companions",
    "known",
]

OLDEST_PYTHON = (3, 11)
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
COMPANIONS = ("torchvision", "torchaudio")
JUDGED = frozenset(
    {
        "accelerate",
        "compressed-tensors",
        "datasets",
        "diffusers",
        "huggingface-hub",
        "llmcompressor",
        "numpy",
        "peft",
        "pillow",
        "safetensors",
        "tokenizers",
        "torch",
        "torchao",
        "torchaudio",
        "torchvision",
        "transformers",
        "visionsmith",
    }
)
"""Packages whose requirements on each other are judged; `pip check` looks at all of them."""


@functools.cache
def known() -> dict[str, Any]:
    """What `known.toml` says of versions."""
    return tomllib.loads((Path(__file__).parent / "known.toml").read_text(encoding="utf-8"))


def check_python(facts: Facts) -> list[Finding]:
    """Whether Python is new enough."""
    found = ".".join(map(str, facts.python)) + f", {facts.platform}"
    if facts.python >= OLDEST_PYTHON:
        return [fine("Python", found)]
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return [
        problem(
            "Python",
            found,
            cause=f"visionsmith needs Python {oldest} or later",
            consequence="it does not install",
            fix=f"python{oldest} -m venv .venv",
        )
    ]


def check_torch_companions(facts: Facts) -> list[Finding]:
    """Whether torchvision and torchaudio were built for the installed torch, judged by metadata alone."""
    torch = facts.packages.get("torch")
    if torch is None:
        return [
            problem(
                "torch",
                "not installed",
                cause="torch is missing",
                consequence="nothing trains or runs",
                fix="pip install torch",
            )
        ]
    findings = [fine("torch", f"{torch.version} ({torch.build or 'build unknown'})")]
    for companion in facts.packages.named(COMPANIONS):
        findings.append(_judge_companion(torch, companion))
    return findings


def _judge_companion(torch: Package, companion: Package) -> Finding:
    found = f"{companion} ({companion.build or 'build unknown'}) beside {torch} ({torch.build or 'build unknown'})"
    wanted = next((need for need in companion.requires if need.name == "torch"), None)
    consequence = (
        f"import {companion.name} stops, and with it libraries that use it, under misleading names "
        "('operator torchvision::nms does not exist')"
    )
    fix = f"pip uninstall -y {companion.name}, or reinstall the pair in one command from one index"
    if wanted is not None and not wanted.specifier.contains(torch.version, prereleases=True):
        cause = f"{companion.name} {companion.version} was built for torch {wanted.specifier}"
        return problem(companion.name, found, cause=cause, consequence=consequence, fix=fix)
    if torch.build and companion.build and torch.build != companion.build:
        cause = f"{companion.name} was built for {companion.build}, torch for {torch.build}"
        return problem(companion.name, found, cause=cause, consequence=consequence, fix=fix)
    if torch.build == "cpu" and not companion.build:
        cause = f"torch computes on the CPU only, and the build of {companion.name} cannot be told"
        return caution(
            companion.name, found, cause=cause, consequence=consequence, fix="visionsmith doctor --deep"
        )
    return fine(companion.name, found)


def check_nccl(facts: Facts) -> list[Finding]:
    """Whether NVIDIA's libraries are there for one CUDA release only."""
    findings = []
    for library in ("nccl", "cudnn"):
        several = facts.packages.named(f"nvidia-{library}-cu{major}" for major in (11, 12, 13))
        if len(several) > 1:
            torch = facts.packages.get("torch")
            needs = [need for need in torch.requires if f"-{library}-" in need.name] if torch else []
            keep = str(needs[0]).partition(";")[0].strip() if needs else "the one that torch requires"
            names = " ".join(package.name for package in several)
            findings.append(
                problem(
                    f"NVIDIA {library}",
                    ", ".join(map(str, several)),
                    cause=f"{len(several)} packages write the same files under nvidia/{library}",
                    consequence=f"torch loads another {library} than it was built with (ncclInvalidArgument)"
                    if library == "nccl"
                    else f"torch loads another {library} than it was built with",
                    fix=f"pip uninstall -y {names} && pip install --force-reinstall --no-deps '{keep}'",
                )
            )
        elif several:
            findings.append(fine(f"NVIDIA {library}", str(several[0])))
    return findings


def check_requirements(facts: Facts) -> list[Finding]:
    """Whether the packages that matter here meet each other's stated requirements."""
    findings = []
    for package in facts.packages.named(sorted(JUDGED)):
        for need in package.requires:
            name = canonicalize_name(need.name)
            met = facts.packages.get(name)
            if name not in JUDGED or (package.name in COMPANIONS and name == "torch") or met is None:
                continue
            if not need.specifier.contains(met.version, prereleases=True):
                findings.append(
                    problem(
                        package.name,
                        f"{package} beside {met}",
                        cause=f"{package.name} {package.version} needs {name}{need.specifier}",
                        consequence="its import stops, or a call fails later",
                        fix=f"pip install '{name}{need.specifier}', or pip install --upgrade {package.name}",
                    )
                )
    return findings


def check_pairs(facts: Facts) -> list[Finding]:
    """Releases that are known not to work together although their metadata allow it."""
    findings = []
    for pair in known()["pair"]:
        old, new = (_installed(facts, Requirement(pair[side])) for side in ("old", "new"))
        if old is not None and new is not None:
            findings.append(
                problem(
                    old.name,
                    f"{old} beside {new}",
                    cause=f"{pair['old']} does not work with {pair['new']} ({pair['source']})",
                    consequence=pair["shows"],
                    fix=pair["fix"],
                )
            )
    return findings


def _installed(facts: Facts, requirement: Requirement) -> Package | None:
    """The package that a requirement names, where it is installed in such a version."""
    package = facts.packages.get(canonicalize_name(requirement.name))
    if package is None or not requirement.specifier.contains(package.version, prereleases=True):
        return None
    return package


def check_numpy(facts: Facts) -> list[Finding]:
    """Whether compiled packages were built for the installed NumPy."""
    numpy = facts.packages.get("numpy")
    if numpy is None:
        return []
    findings = [fine("NumPy", str(numpy.version))]
    if numpy.version.major >= 2:
        for name, first in known()["numpy2"].items():
            package = facts.packages.get(name)
            if package is not None and package.version < Version(first):
                findings.append(
                    problem(
                        name,
                        f"{package} beside {numpy}",
                        cause=f"{name} before {first} was built for NumPy 1",
                        consequence="its import fails ('numpy.core.multiarray failed to import'), "
                        "or arrays cannot be passed to it",
                        fix=f"pip install '{name}>={first}'",
                    )
                )
    return findings


def check_opencv(facts: Facts) -> list[Finding]:
    """Whether one OpenCV is installed."""
    wheels = facts.packages.named(OPENCV)
    if len(wheels) < 2:
        return [fine("OpenCV", str(wheels[0]))] if wheels else []
    names = " ".join(package.name for package in wheels)
    return [
        problem(
            "OpenCV",
            ", ".join(map(str, wheels)),
            cause=f"{len(wheels)} wheels write the same folder cv2; the last one installed wins, file by file",
            consequence="functions are missing or windows do not open, and removing one breaks the other",
            fix=f"pip uninstall -y {names} && pip install --force-reinstall --no-deps opencv-python-headless",
        )
    ]


def check_advisories(facts: Facts) -> list[Finding]:
    """Installed versions with a known security advisory."""
    findings = []
    for advisory in known()["advisory"]:
        package = _installed(facts, Requirement(advisory["affected"]))
        if package is not None:
            findings.append(
                caution(
                    package.name,
                    str(package),
                    cause=f"security advisory for {advisory['affected']} ({advisory['id']})",
                    consequence=advisory["what"],
                    fix=f"pip install '{package.name}>={advisory['fixed']}'",
                )
            )
    return findings


def check_leftovers(facts: Facts) -> list[Finding]:
    """What interrupted installations left behind."""
    findings = [
        problem(
            name,
            f"metadata of {' and '.join(versions)}",
            cause="two installations of it lie in one folder, after an interrupted upgrade",
            consequence="files of both are mixed, and its version cannot be told",
            fix=f"pip uninstall -y {name}, until it is gone, then pip install {name}",
        )
        for name, versions in facts.packages.doubled.items()
    ]
    if facts.packages.leftovers:
        some = ", ".join(path.name for path in facts.packages.leftovers[:3])
        findings.append(
            caution(
                "site-packages",
                some,
                cause="pip was interrupted and left folders whose names begin with ~",
                consequence="pip warns of an invalid distribution, and they take space",
                fix=f"rm -r '{facts.packages.leftovers[0].parent}'/~*",
            )
        )
    return findings
