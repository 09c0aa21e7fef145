"""Environments made for tests: site-packages folders and roots of file systems with planted contents."""

from __future__ import annotations

from pathlib import Path

HOST_MEMORY = "MemTotal:       65843044 kB\nMemFree: 1 kB\n"

SOUND = {
    "torch": "2.13.0",
    "torchvision": "0.28.0",
    "transformers": "5.17.0",
    "diffusers": "0.42.1",
    "accelerate": "1.15.0",
    "peft": "0.21.2",
    "huggingface_hub": "1.33.0",
    "numpy": "2.4.6",
    "opencv_python_headless": "5.0.0.93",
    "pillow": "13.0.0",
    "nvidia_nccl_cu12": "2.27.5",
}
REQUIRES = {
    "torch": [
        "nvidia-nccl-cu12==2.27.5; platform_system == 'Linux'",
        "filelock",
        "opt-einsum; extra == 'opt-einsum'",
    ],
    "torchvision": ["torch==2.13.0", "numpy"],
    "transformers": ["huggingface-hub<2.0,>=1.31.0", "numpy>=1.17"],
}


def plant(folder: Path, versions: dict[str, str], requires: dict[str, list[str]] | None = None) -> Path:
    """A site-packages folder with the metadata of some packages."""
    for name, version in versions.items():
        entry = folder / f"{name}-{version}.dist-info"
        entry.mkdir(parents=True)
        needs = "".join(f"Requires-Dist: {need}\n" for need in (requires or {}).get(name, []))
        text = (
            f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{needs}\nRequires-Dist: not-a-header\n"
        )
        (entry / "METADATA").write_text(text, encoding="utf-8")
    return folder


def plant_build(folder: Path, name: str, version: str, cuda: str | None) -> None:
    """The version file of torch or torchvision as their wheels have it."""
    (folder / name).mkdir(exist_ok=True)
    label = "cpu" if cuda is None else "cu" + cuda.replace(".", "")
    value = "None" if cuda is None else repr(cuda)
    kind = ": Optional[str]" if name == "torch" else ""
    text = f"from typing import Optional\n\n__version__ = '{version}+{label}'\ndebug = False\ncuda{kind} = {value}\n"
    (folder / name / "version.py").write_text(text, encoding="utf-8")


def write(root: Path, files: dict[str, str]) -> Path:
    """A root of a file system with some files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root
