"""What the benchmarks share: turns, the lines that are printed last, and the result file.

    figures = alternate({"ours": time_ours, "peer": time_peer}, repeats=5)     # {"ours": [...], "peer": [...]}
    speedup = median(figures["peer"]) / median(figures["ours"])
    report("clip_step", {"seconds": figures}, {"clip_step": (speedup, 1.0)})    # last: prints one line a ratio

A target is what the project promises; a ratio above it is better.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["alternate", "growth_of", "peak", "report"]

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "opencv-python-headless", "simplejpeg", "lmdb", "webdataset", "transformers")


def alternate(functions: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call the functions in turns, so that a slow minute of the machine hits them alike.

    Args:
        functions: by name; each measures once and returns its figure.
        repeats: rounds that count; one before them warms up. Each round begins with another function.

    Returns:
        The figures of each function, in the order of the rounds.
    """
    figures: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for turn in range(repeats + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            figure = functions[name]()
            if turn:
                figures[name].append(figure)
    return figures


def growth_of(*arguments: str) -> float:
    """What the running script prints when it is called again with other arguments: MiB, see `peak`.

    A process of its own for each figure, since memory that was once taken is not given back.
    """
    command = [sys.executable, sys.argv[0], *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak() -> float:
    """Largest resident size of this process so far, MiB (`ru_maxrss` would count the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def report(name: str, figures: Mapping[str, Any], ratios: Mapping[str, tuple[float, float]]) -> None:
    """Write `results/NAME.json` and print, last, one line a ratio in the form that other programs read.

    Args:
        name: of the script.
        figures: whatever was measured.
        ratios: by name: the value, and the target beside which it is judged.
    """
    listed = {key: {"value": value, "target": target} for key, (value, target) in ratios.items()}
    _write_result(name, figures, listed)
    for key, (value, target) in ratios.items():
        print(f"RATIO {key} {value:.3f} TARGET {target:g}")


def _write_result(name: str, figures: Mapping[str, Any], ratios: Mapping[str, Any]) -> None:
    """The figures and ratios, and the command, commit, versions and machine that made them."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    installed = {package.name: package.version for package in metadata.distributions()}
    cpus = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name")]
    result = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "versions": {"python": platform.python_version()}
        | {p: installed[p] for p in PACKAGES if p in installed},
        "machine": {
            "cpus": os.cpu_count(),
            "cpu": models[0] if models else platform.processor(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "ratios": ratios,
        "figures": figures,
    }
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(RESULTS.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
