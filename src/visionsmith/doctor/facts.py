"""A snapshot of an environment: all that the checks judge, taken once and passed to them."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from visionsmith.doctor import system
from visionsmith.doctor.packages import Packages, read_packages

__all__ = ["Facts", "gather"]

_TOOLS = ("cmake", "g++", "docker", "nvidia-smi")
_PATIENCE = 0.5
"""Seconds that nvidia-smi may take."""


@dataclass(frozen=True)
class Facts:
    """What is known of an environment. A field's default stands for a machine on which nothing is wrong."""

    python: tuple[int, int, int] = (3, 11, 0)
    executable: str = "python"
    platform: str = "Linux x86_64"
    encoding: str = "utf-8"
    """Of text files that are opened without naming one."""
    environment: Mapping[str, str] = field(default_factory=dict)
    packages: Packages = field(default_factory=Packages)
    driver: str = ""
    """Version of NVIDIA's driver; empty: none."""
    in_container: bool = False
    memory: system.Memory = field(default_factory=lambda: system.Memory(total=None, limit=None))
    shared_memory: int | None = None
    """Bytes of /dev/shm."""
    processors: int = 1
    time_zone: system.TimeZone = field(default_factory=lambda: system.TimeZone(name="", known=True))
    docker_socket: system.Socket | None = None
    user: system.User = field(default_factory=lambda: system.User(uid=0, groups=frozenset()))
    tools: Mapping[str, str] = field(default_factory=dict)
    """Programs that were found, and where."""
    disks: tuple[system.Disk, ...] = ()
    cache: system.Cache | None = None


def gather(
    *,
    root: Path = Path("/"),
    folders: Iterable[Path] | None = None,
    environment: Mapping[str, str] | None = None,
    user: system.User | None = None,
) -> Facts:
    """Look at an environment. Only files are read; one program is run, nvidia-smi, where the kernel names no driver.

    Args:
        root: the root of the file system that is looked at.
        folders: the site-packages folders; None: those of this process.
        environment: the environment variables; None: those of this process.
        user: who runs it; None: who runs this process.
    """
    environment = dict(os.environ) if environment is None else environment
    folders = [Path(entry) for entry in sys.path if entry] if folders is None else list(folders)
    search = environment.get("PATH", "")
    tools = {name: place for name in _TOOLS if (place := shutil.which(name, path=search))}
    cache = system.read_cache(environment, Path(environment.get("HOME") or Path.home()))
    return Facts(
        python=sys.version_info[:3],
        executable=sys.executable,
        platform=f"{platform.system()} {platform.machine()}",
        encoding=locale.getencoding() if not sys.flags.utf8_mode else "utf-8",
        environment=environment,
        packages=read_packages(folders),
        driver=system.read_driver(root) or _asked(tools.get("nvidia-smi")),
        in_container=system.runs_in_container(root),
        memory=system.read_memory(root),
        shared_memory=system.read_shared_memory(root),
        processors=_processors(),
        time_zone=system.read_time_zone(root, environment),
        docker_socket=system.read_socket(root / "var/run/docker.sock"),
        user=user or _current_user(),
        tools=tools,
        disks=system.read_disks(
            {
                "the working folder": Path.cwd(),
                "temporary files": Path(environment.get("TMPDIR") or tempfile.gettempdir()),
                "the hub's cache": cache.path,
            }
        ),
        cache=cache,
    )


def _asked(program: str | None) -> str:
    """The driver's version as nvidia-smi gives it, on systems whose kernel does not (WSL)."""
    if program is None:
        return ""
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = done.stdout.strip().partition("\n")[0].strip()
    return first if done.returncode == 0 and first[:1].isdigit() else ""


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _current_user() -> system.User:
    if not hasattr(os, "getuid"):
        return system.User(0, frozenset())
    return system.User(os.getuid(), frozenset((os.getgid(), *os.getgroups())))
