"""Planted site-packages: each fault is found with its cause and what mends it, and a sound one is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.doctor.planted import REQUIRES, SOUND, plant, plant_build
from visionsmith.doctor.checks_packages import OPENCV, known
from visionsmith.doctor.facts import Facts
from visionsmith.doctor.finding import Finding
from visionsmith.doctor.live import CHECKS, examine
from visionsmith.doctor.packages import read_packages


def look(folder: Path, **facts: object) -> list[Finding]:
    """What is wrong by the packages of a folder, on a machine on which all else is right."""
    found = examine(Facts(packages=read_packages([folder]), driver="580.65.06", **facts))
    return [finding for finding in found if finding.severity != "fine"]


def changed(tmp_path: Path, **versions: str | None) -> Path:
    kept = {**SOUND, **versions}
    return plant(tmp_path / "site", {name: version for name, version in kept.items() if version}, REQUIRES)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    (finding,) = findings
    for text in (finding.found, finding.cause, finding.consequence, finding.fix):
        assert text
        assert "\n" not in text
    return finding


def test_a_sound_environment_has_nothing_wrong(tmp_path: Path) -> None:
    site = changed(tmp_path)
    plant_build(site, "torch", "2.13.0", "12.6")
    plant_build(site, "torchvision", "0.28.0", "12.6")
    assert look(site) == []
    looked_at = {
        finding.check for finding in examine(Facts(packages=read_packages([site]), driver="580.65.06"))
    }
    assert {"Python", "torch", "torchvision", "GPU", "NumPy", "OpenCV", "NVIDIA nccl"} <= looked_at


def test_this_environment_is_read_as_its_own_metadata_say() -> None:
    import importlib.metadata
    import sys

    found = read_packages([Path(entry) for entry in sys.path if entry])
    checked = 0
    for name in ("numpy", "torch", "transformers", "pillow", "huggingface-hub", "opencv-python-headless"):
        assert found.found[name].version == Version(importlib.metadata.version(name))
        here = {str(Requirement(need).name).lower() for need in importlib.metadata.requires(name) or []}
        assert {need.name.lower() for need in found.found[name].requires} <= here
        checked += 1
    assert checked == 6
    assert found.found["torch"].requires
    assert not any(need.marker and "extra" in str(need.marker) for need in found.found["torch"].requires)


def test_torchvision_of_another_torch(tmp_path: Path) -> None:
    finding = only(look(changed(tmp_path, torch="2.12.1")))
    assert finding.severity == "problem"
    assert finding.check == "torchvision"
    assert "==2.13.0" in finding.cause
    assert "nms" in finding.consequence


@pytest.mark.parametrize(
    ("torch", "vision", "wrong"),
    [
        (None, "12.6", True),
        ("12.6", None, True),
        ("12.6", "13.0", True),
        ("12.6", "12.6", False),
        (None, None, False),
    ],
)
def test_torchvision_of_another_build(
    tmp_path: Path, torch: str | None, vision: str | None, wrong: bool
) -> None:
    site = changed(tmp_path)
    plant_build(site, "torch", "2.13.0", torch)
    plant_build(site, "torchvision", "0.28.0", vision)
    findings = [finding for finding in look(site) if finding.check == "torchvision"]
    assert bool(findings) == wrong
    if wrong:
        assert "was built for" in only(findings).cause


def test_the_build_shows_in_the_local_version_too(tmp_path: Path) -> None:
    site = changed(tmp_path, torch="2.13.0+cpu", torchvision="0.28.0+cu126")
    found = read_packages([site]).found
    assert (found["torch"].build, found["torchvision"].build) == ("cpu", "cuda 12.6")
    assert only([one for one in look(site) if one.check == "torchvision"]).severity == "problem"


def test_no_torch(tmp_path: Path) -> None:
    finding = only(look(changed(tmp_path, torch=None, torchvision=None)))
    assert finding.check == "torch"
    assert finding.fix == "pip install torch"


@pytest.mark.parametrize(
    ("build", "driver", "severity", "word"),
    [
        ("12.6", "535.104.05", None, ""),
        ("12.6", "470.256.02", "problem", "525"),
        ("13.0", "570.86.10", "problem", "580"),
        ("11.8", "450.80.02", None, ""),
        ("12.6", "", "caution", "no NVIDIA driver"),
        (None, "535.104.05", "caution", "CPU only"),
        (None, "", None, ""),
    ],
)
def test_the_driver_against_torchs_cuda(
    tmp_path: Path, build: str | None, driver: str, severity: str | None, word: str
) -> None:
    site = changed(tmp_path, torchvision=None)
    plant_build(site, "torch", "2.13.0", build)
    found = examine(Facts(packages=read_packages([site]), driver=driver))
    findings = [one for one in found if one.check == "GPU"]
    assert len(findings) == 1
    assert findings[0].severity == (severity or "fine")
    assert word in findings[0].cause + findings[0].fix


def test_a_container_without_gpus_is_told_how_to_get_them(tmp_path: Path) -> None:
    site = changed(tmp_path, torchvision=None)
    plant_build(site, "torch", "2.13.0", "12.6")
    found = examine(Facts(packages=read_packages([site]), in_container=True))
    assert any("--gpus all" in finding.fix for finding in found)


def test_two_nccl(tmp_path: Path) -> None:
    finding = only(look(changed(tmp_path, nvidia_nccl_cu11="2.14.3")))
    assert finding.severity == "problem"
    assert "ncclInvalidArgument" in finding.consequence
    assert "uninstall -y nvidia-nccl-cu11 nvidia-nccl-cu12" in finding.fix
    assert "nvidia-nccl-cu12==2.27.5" in finding.fix, "the one that torch requires comes back"


def test_an_old_requirement_that_is_not_met(tmp_path: Path) -> None:
    finding = only(look(changed(tmp_path, huggingface_hub="0.25.0")))
    assert finding.cause == "transformers 5.17.0 needs huggingface-hub<2.0,>=1.31.0"


def satisfying(text: str) -> str:
    """A version that a requirement of known.toml covers."""
    specifiers = list(Requirement(text).specifier)
    (first,) = [one for one in specifiers if one.operator == ">="] or [
        one for one in specifiers if one.operator == "<"
    ]
    if first.operator == ">=":
        return first.version
    major, *rest = first.version.split(".")
    return ".".join([major, *rest[:-1], str(int(rest[-1]) - 1)]) if int(rest[-1]) else f"{int(major) - 1}.9"


@pytest.mark.parametrize("pair", known()["pair"], ids=lambda pair: pair["old"] + " " + pair["new"])
def test_pairs_that_do_not_work_together(tmp_path: Path, pair: dict[str, str]) -> None:
    old, new = (Requirement(pair[side]) for side in ("old", "new"))
    both = {old.name: satisfying(pair["old"]), new.name.replace("-", "_"): satisfying(pair["new"])}
    site = plant(tmp_path / "both", {"torch": "2.13.0", **both})
    found = [finding for finding in look(site) if finding.consequence == pair["shows"]]
    assert only(found).severity == "problem"
    limit = str(next(iter(old.specifier))).lstrip("<")
    mended = plant(tmp_path / "mended", {"torch": "2.13.0", **both, old.name: limit})
    assert not [finding for finding in look(mended) if finding.consequence == pair["shows"]]


@pytest.mark.parametrize("advisory", known()["advisory"], ids=lambda advisory: advisory["affected"])
def test_advisories(tmp_path: Path, advisory: dict[str, str]) -> None:
    name = Requirement(advisory["affected"]).name.replace("-", "_")
    site = plant(tmp_path / "hit", {"torch": "2.13.0", name: satisfying(advisory["affected"])})
    hits = [finding for finding in look(site) if advisory["id"] in finding.cause]
    assert only(hits).severity == "caution"
    mended = plant(tmp_path / "mended", {"torch": "2.13.0", name: advisory["fixed"]})
    assert not [finding for finding in look(mended) if advisory["id"] in finding.cause]


def test_packages_built_for_numpy_1(tmp_path: Path) -> None:
    finding = only(look(changed(tmp_path, pandas="2.0.3")))
    assert finding.check == "pandas"
    assert finding.fix == "pip install 'pandas>=2.2.2'"
    assert look(plant(tmp_path / "one", {"torch": "2.13.0", "numpy": "1.26.4", "pandas": "2.0.3"})) == []


def test_two_opencv_wheels(tmp_path: Path) -> None:
    finding = only(look(changed(tmp_path, opencv_python="5.0.0.93")))
    assert finding.check == "OpenCV"
    assert all(f"opencv-python{end} " in finding.fix for end in ("", "-headless"))
    assert len(OPENCV) == 4


def test_leftovers_of_interrupted_installations(tmp_path: Path) -> None:
    site = changed(tmp_path)
    plant(site, {"accelerate": "1.2.0"})
    (site / "~orch").mkdir()
    findings = look(site)
    assert {(finding.check, finding.severity) for finding in findings} >= {
        ("accelerate", "problem"),
        ("site-packages", "caution"),
    }


def test_the_first_folder_wins_as_in_an_import(tmp_path: Path) -> None:
    first, second = plant(tmp_path / "a", {"numpy": "2.4.6"}), plant(tmp_path / "b", {"numpy": "1.26.4"})
    found = read_packages([tmp_path / "absent", first, second])
    assert str(found.found["numpy"].version) == "2.4.6"
    assert not found.doubled


def test_broken_metadata_are_passed_over(tmp_path: Path) -> None:
    site = changed(tmp_path)
    (site / "nonsense.dist-info").mkdir()
    (site / "bad-notaversion.dist-info").mkdir()
    (site / "empty-1.0.dist-info").mkdir()
    plant(site, {"odd": "1.0"}, {"odd": ["???", "numpy>=1"]})
    found = read_packages([site]).found
    assert "bad" not in found
    assert found["empty"].requires == ()
    assert [need.name for need in found["odd"].requires] == ["numpy"]


@pytest.mark.parametrize(
    ("version", "severity"), [((3, 10, 14), "problem"), ((3, 11, 0), "fine"), ((3, 13, 2), "fine")]
)
def test_python(version: tuple[int, int, int], severity: str) -> None:
    (finding,) = [one for one in examine(Facts(python=version)) if one.check == "Python"]
    assert finding.severity == severity


def test_every_check_bears_an_environment_of_which_nothing_is_known() -> None:
    assert len(CHECKS) >= 15
    for check in CHECKS:
        check(Facts())
