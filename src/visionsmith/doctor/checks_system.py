"""Checks of the machine or container around Python."""

from __future__ import annotations

import re
import shlex

from visionsmith.doctor.checks_packages import known
from visionsmith.doctor.facts import Facts
from visionsmith.doctor.finding import Finding, caution, fine, problem

__all__ = [
    "check_build_tools",
    "check_cache",
    "check_disks",
    "check_docker",
    "check_driver",
    "check_encoding",
    "check_memory",
    "check_shared_memory",
    "check_time_zone",
]

GIB = 2**30
WORKER = 2 * 64 * 3 * 224 * 224 * 4
"""Shared memory of one loader worker: the two batches that it works ahead, of 64 pictures of 224 x 224 in float32."""
MOST_WORKERS = 8
ENOUGH_MEMORY = 8 * GIB
ENOUGH_DISK = 10 * GIB
TOO_LITTLE_DISK = 1 * GIB


def check_driver(facts: Facts) -> list[Finding]:
    """NVIDIA's driver against the CUDA that torch was built with."""
    torch = facts.packages.get("torch")
    cuda = re.fullmatch(r"cuda (\d+)(?:\.\d+)*", torch.build) if torch is not None else None
    if cuda is None:
        if facts.driver and torch is not None and torch.build == "cpu":
            return [
                caution(
                    "GPU",
                    f"driver {facts.driver}, torch {torch.version} for the CPU",
                    cause="there is an NVIDIA driver, and this torch computes on the CPU only",
                    consequence="the GPU is not used",
                    fix="install the CUDA build of the same torch (the selector on pytorch.org gives the line)",
                )
            ]
        return [
            fine("GPU", f"driver {facts.driver}" if facts.driver else "no NVIDIA driver; torch uses the CPU")
        ]
    assert torch is not None, "a build belongs to a torch"
    found = f"driver {facts.driver or 'none'}, torch {torch.version} for {torch.build}"
    if not facts.driver:
        where = "the container was started without --gpus all" if facts.in_container else "none is loaded"
        return [
            caution(
                "GPU",
                found,
                cause=f"torch was built for CUDA, and no NVIDIA driver is visible: {where}",
                consequence="torch computes on the CPU, or stops at the first .cuda()",
                fix="docker run --gpus all ..."
                if facts.in_container
                else "nvidia-smi, and install the driver",
            )
        ]
    needed = known()["driver"].get(cuda[1])
    if needed is not None and int(facts.driver.partition(".")[0]) < needed:
        return [
            problem(
                "GPU",
                found,
                cause=f"CUDA {cuda[1]} needs driver {needed} or later",
                consequence="'The NVIDIA driver on your system is too old'; the GPU is not used",
                fix=f"update the driver to {needed} or later, or install a torch for an older CUDA",
            )
        ]
    return [fine("GPU", found)]


def check_shared_memory(facts: Facts) -> list[Finding]:
    """Shared memory against what loader workers need."""
    if facts.shared_memory is None:
        return []
    room = facts.shared_memory // WORKER
    found = f"/dev/shm has {_size(facts.shared_memory)}, room for {room} loader workers with batches of 64 x 224 x 224"
    if room >= min(facts.processors, MOST_WORKERS):
        return [fine("shared memory", found)]
    return [
        caution(
            "shared memory",
            found,
            cause="loader workers hand their batches over in /dev/shm"
            + (", and a container has 64 MB of it unless told otherwise" if facts.in_container else ""),
            consequence="'bus error' in a DataLoader worker once batches do not fit",
            fix="docker run --shm-size=8g ..."
            if facts.in_container
            else "sudo mount -o remount,size=8G /dev/shm",
        )
    ]


def check_memory(facts: Facts) -> list[Finding]:
    """The memory limit of the container against the machine's memory."""
    total, limit = facts.memory.total, facts.memory.limit
    if limit is None or (total is not None and limit >= total):
        return [fine("memory", _size(total))] if total is not None else []
    found = f"limit {_size(limit)}" + (f" of the machine's {_size(total)}" if total is not None else "")
    if limit >= ENOUGH_MEMORY:
        return [fine("memory", found)]
    return [
        caution(
            "memory",
            found,
            cause="a control group limits this process, and programs that look at the machine see more",
            consequence=f"what goes over {_size(limit)} is killed without a traceback (exit code 137, signal 9)",
            fix="docker run --memory=16g ..., or fewer loader workers and smaller batches",
        )
    ]


def check_time_zone(facts: Facts) -> list[Finding]:
    """Whether the local time is known."""
    zone = facts.time_zone
    if zone.known:
        return [fine("time zone", zone.name or "that of /etc/localtime")]
    cause = (
        f"TZ is {zone.name!r}, and its data are not there"
        if zone.name
        else "/etc/localtime is missing and TZ not set"
    )
    install = "sudo apt-get install -y tzdata && sudo timedatectl set-timezone Asia/Seoul"
    if facts.in_container:
        install = "docker run -e TZ=Asia/Seoul ..., with the package tzdata in the image"
    return [
        caution(
            "time zone",
            zone.name or "none",
            cause=cause,
            consequence="times in logs and file names are UTC",
            fix=install,
        )
    ]


def check_docker(facts: Facts) -> list[Finding]:
    """Whether this user may use Docker's socket, where there is one."""
    socket = facts.docker_socket
    if socket is None:
        return []
    if socket.admits(facts.user):
        return [fine("Docker", f"{socket.path} may be used")]
    return [
        caution(
            "Docker",
            f"{socket.path} has mode {socket.mode & 0o777:o}, group {socket.gid}",
            cause="this user is not in the group that may use it",
            consequence="'permission denied while trying to connect to the Docker daemon socket'",
            fix="sudo usermod -aG docker $USER, then log in again; whoever is in that group is as good as root",
        )
    ]


def check_build_tools(facts: Facts) -> list[Finding]:
    """What packages that come as source need (dlib)."""
    missing = [name for name in ("cmake", "g++") if name not in facts.tools]
    if not missing:
        return [fine("build tools", "cmake and g++ are there")]
    note = "needed only by packages that come as source, such as dlib: sudo apt-get install cmake g++"
    return [fine("build tools", f"no {' and no '.join(missing)}; {note}")]


def check_disks(facts: Facts) -> list[Finding]:
    """Free space where files grow."""
    findings = []
    for disk in facts.disks:
        found = f"{_size(disk.free)} free for {disk.purpose} ({disk.path})"
        if disk.free >= ENOUGH_DISK:
            findings.append(fine("disk", found))
            continue
        report = problem if disk.free < TOO_LITTLE_DISK else caution
        findings.append(
            report(
                "disk",
                found,
                cause="the disk is nearly full",
                consequence="checkpoints and downloads stop half-way ('No space left on device')",
                fix=f"du -xh --max-depth=2 {shlex.quote(str(disk.path))} | sort -h | tail shows what takes the space",
            )
        )
    return findings


def check_cache(facts: Facts) -> list[Finding]:
    """The hub's cache: where it is, how large, and whether it can be written."""
    cache = facts.cache
    if cache is None:
        return []
    size = f"{_size(cache.bytes)}" + ("" if cache.counted else " or more")
    found = f"{cache.path}, {size if cache.exists else 'not made yet'}"
    if cache.writable:
        return [fine("hub cache", found)]
    return [
        problem(
            "hub cache",
            found,
            cause="this user may not write there",
            consequence="downloads stop, and some libraries stop at import",
            fix="export HF_HOME=/a/folder/of/yours",
        )
    ]


def check_encoding(facts: Facts) -> list[Finding]:
    """Whether text files are read as UTF-8."""
    if facts.encoding.lower().replace("-", "").replace("_", "") == "utf8":
        return [fine("text encoding", facts.encoding)]
    return [
        caution(
            "text encoding",
            facts.encoding,
            cause="the locale is not UTF-8 (LANG or LC_ALL)",
            consequence="captions and paths outside of ASCII fail or come out wrong in programs that name no encoding",
            fix="export LANG=C.UTF-8, or PYTHONUTF8=1",
        )
    ]


def _size(count: int) -> str:
    if count >= GIB:
        return f"{count / GIB:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
