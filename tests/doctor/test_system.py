"""Planted roots of file systems: /proc, control groups, time zones, sockets, disks."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.doctor.planted import HOST_MEMORY, SOUND, plant, write
from visionsmith.doctor import system
from visionsmith.doctor.facts import Facts, gather
from visionsmith.doctor.finding import Finding
from visionsmith.doctor.live import examine

GIB = 2**30


def finding_of(facts: Facts, check: str) -> Finding:
    (found,) = [finding for finding in examine(facts) if finding.check == check]
    return found


def test_memory_without_a_limit(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {"proc/meminfo": HOST_MEMORY, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"},
    )
    assert system.read_memory(root) == system.Memory(65843044 * 1024, None)
    assert system.read_memory(tmp_path / "absent") == system.Memory(None, None)


def test_memory_limit_of_version_2_in_a_container(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": HOST_MEMORY,
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
    }
    memory = system.read_memory(write(tmp_path, files))
    assert memory.limit == 4 * GIB
    finding = finding_of(Facts(memory=memory), "memory")
    assert finding.severity == "caution"
    assert "4.0 GiB of the machine's 62.8 GiB" in finding.found


def test_the_lowest_limit_on_the_way_up_holds(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/user.slice/job.scope"
    files = {
        "proc/self/cgroup": "0::/user.slice/job.scope\n",
        f"{group}/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/memory.max": f"{16 * GIB}\n",
    }
    assert system.read_memory(write(tmp_path, files)).limit == 16 * GIB


@pytest.mark.parametrize("path", ["/", "/docker/8e1f"])
def test_memory_limit_of_version_1(tmp_path: Path, path: str) -> None:
    files = {
        "proc/self/cgroup": f"5:cpu,cpuacct:{path}\n4:memory:{path}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
    }
    assert system.read_memory(write(tmp_path, files)).limit == 2 * GIB
    files["sys/fs/cgroup/memory/memory.limit_in_bytes"] = "9223372036854771712\n"
    assert system.read_memory(write(tmp_path, files)).limit is None


@pytest.mark.parametrize(
    ("options", "size", "severity"),
    [
        ("rw,nosuid,size=65536k", 2**26, "caution"),
        ("rw,size=8g", 8 * GIB, "fine"),
        ("rw,size=1048576", 2**20, "caution"),
    ],
)
def test_shared_memory(tmp_path: Path, options: str, size: int, severity: str) -> None:
    root = write(tmp_path, {"proc/mounts": f"proc /proc proc rw 0 0\nshm /dev/shm tmpfs {options} 0 0\n"})
    assert system.read_shared_memory(root) == size
    finding = finding_of(Facts(shared_memory=size, in_container=True, processors=4), "shared memory")
    assert f"room for {size // 77_070_336} loader workers" in finding.found
    assert finding.severity == severity
    assert ("--shm-size" in finding.fix) == (severity == "caution")


def test_shared_memory_of_a_mount_without_a_size_is_that_of_the_file_system(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/mounts": "tmpfs /dev/shm tmpfs rw,nosuid 0 0\n"})
    assert system.read_shared_memory(root) is None
    (root / "dev/shm").mkdir(parents=True)
    assert system.read_shared_memory(root)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\nGCC version: 11.4.0\n",
            "535.104.05",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n", "570.86.10"),
        ("", ""),
    ],
)
def test_the_driver_is_read_from_the_kernel(tmp_path: Path, text: str, version: str) -> None:
    assert system.read_driver(write(tmp_path, {"proc/driver/nvidia/version": text})) == version


def test_nvidia_smi_is_asked_where_the_kernel_is_silent(tmp_path: Path) -> None:
    program = (
        write(tmp_path, {"bin/nvidia-smi": "#!/bin/sh\necho 551.23\necho 551.23\n"}) / "bin" / "nvidia-smi"
    )
    program.chmod(0o755)
    look = {
        "root": tmp_path,
        "folders": [],
        "environment": {"PATH": str(program.parent), "HOME": str(tmp_path)},
    }
    assert gather(**look).driver == "551.23"
    program.write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    assert gather(**look).driver == ""


@pytest.mark.parametrize(
    ("files", "variable", "known"),
    [
        ({}, "", False),
        ({"etc/localtime": "TZif"}, "", True),
        ({}, "Asia/Seoul", False),
        ({"usr/share/zoneinfo/Asia/Seoul": "TZif"}, "Asia/Seoul", True),
        ({"usr/share/zoneinfo/Asia/Seoul": "TZif"}, ":Asia/Seoul", True),
        ({}, "KST-9", True),
        ({}, "<+09>-9", True),
    ],
)
def test_time_zone(tmp_path: Path, files: dict[str, str], variable: str, known: bool) -> None:
    zone = system.read_time_zone(write(tmp_path, files), {"TZ": variable} if variable else {})
    assert zone.known == known
    for container in (True, False):
        finding = finding_of(Facts(time_zone=zone, in_container=container), "time zone")
        assert finding.severity == ("fine" if known else "caution")
        assert known or ("docker" in finding.fix) == container


@pytest.mark.parametrize(
    ("files", "inside"),
    [
        ({".dockerenv": ""}, True),
        ({"run/.containerenv": ""}, True),
        ({"proc/1/cgroup": "0::/kubepods/burstable/pod1\n"}, True),
        ({"proc/1/cgroup": "0::/init.scope\n"}, False),
    ],
)
def test_containers_are_recognised(tmp_path: Path, files: dict[str, str], inside: bool) -> None:
    assert system.runs_in_container(write(tmp_path, files)) == inside


@pytest.mark.parametrize(
    ("mode", "uid", "groups", "admitted"),
    [
        (0o660, 1000, [1000], False),
        (0o660, 1000, [1000, 998], True),
        (0o660, 0, [0], True),
        (0o666, 1000, [], True),
        (0o600, 7, [], True),
        (0o640, 1000, [998], False),
    ],
)
def test_who_may_use_dockers_socket(mode: int, uid: int, groups: list[int], admitted: bool) -> None:
    where = system.Socket(Path("/var/run/docker.sock"), mode, uid=7, gid=998)
    facts = Facts(docker_socket=where, user=system.User(uid, frozenset(groups)))
    assert where.admits(facts.user) == admitted
    finding = finding_of(facts, "Docker")
    assert finding.severity == ("fine" if admitted else "caution")
    assert admitted or "usermod -aG docker" in finding.fix


def test_a_real_socket_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may have about a hundred characters only
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        Path("s").chmod(0o660)
        found = system.read_socket(Path("s"))
    assert found is not None
    assert found.mode & 0o777 == 0o660
    write(tmp_path, {"plain": ""})
    assert system.read_socket(tmp_path / "plain") is None
    assert system.read_socket(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("free", "severity"), [(50 * GIB, "fine"), (5 * GIB, "caution"), (GIB // 2, "problem")]
)
def test_disks(free: int, severity: str) -> None:
    finding = finding_of(Facts(disks=(system.Disk("temporary files", Path("/tmp"), free),)), "disk")
    assert finding.severity == severity


def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    (disk,) = system.read_disks({"the cache": tmp_path / "not" / "yet"})
    assert disk.free > 0


def test_the_hubs_cache_is_where_the_hub_says(tmp_path: Path) -> None:
    import json
    import os
    import subprocess
    import sys

    code = "import json; from huggingface_hub.constants import HF_HUB_CACHE; print(json.dumps(HF_HUB_CACHE))"
    for variables in (
        {},
        {"XDG_CACHE_HOME": str(tmp_path / "x")},
        {"HF_HOME": str(tmp_path / "h"), "XDG_CACHE_HOME": str(tmp_path / "x")},
        {"HF_HUB_CACHE": str(tmp_path / "c"), "HF_HOME": str(tmp_path / "h")},
    ):
        hidden = ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HUGGINGFACE_HUB_CACHE")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        environment |= {"HOME": str(tmp_path), **variables}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert system.read_cache(environment, tmp_path).path == Path(json.loads(done.stdout))


def test_the_size_of_the_cache_counts_no_file_twice(tmp_path: Path) -> None:
    cache = write(tmp_path, {"hub/models--a/blobs/1": "x" * 1000}) / "hub"
    (cache / "models--a/snapshots").mkdir()
    (cache / "models--a/snapshots/w").symlink_to(cache / "models--a/blobs/1")
    found = system.read_cache({"HF_HUB_CACHE": str(cache)}, tmp_path)
    assert found.exists
    assert found.counted
    assert 1000 <= found.bytes < 1200
    finding = finding_of(Facts(cache=replace(found, writable=False)), "hub cache")
    assert finding.severity == "problem"


@pytest.mark.parametrize(
    ("encoding", "severity"), [("UTF-8", "fine"), ("utf8", "fine"), ("ISO-8859-1", "caution")]
)
def test_encoding(encoding: str, severity: str) -> None:
    assert finding_of(Facts(encoding=encoding), "text encoding").severity == severity


def test_build_tools_are_named_but_no_fault() -> None:
    finding = finding_of(Facts(tools={"g++": "/usr/bin/g++"}), "build tools")
    assert finding.severity == "fine"
    assert "no cmake" in finding.found


def test_a_whole_planted_machine(tmp_path: Path) -> None:
    root = write(
        tmp_path / "root",
        {
            "proc/meminfo": HOST_MEMORY,
            "proc/self/cgroup": "0::/\n",
            "proc/mounts": "shm /dev/shm tmpfs rw,size=65536k 0 0\n",
            "sys/fs/cgroup/memory.max": f"{2 * GIB}\n",
            ".dockerenv": "",
        },
    )
    site = plant(tmp_path / "site", {**SOUND, "opencv_python": "5.0.0.93"})
    facts = gather(
        root=root,
        folders=[site],
        environment={"HOME": str(tmp_path), "PATH": ""},
        user=system.User(1000, frozenset([1000])),
    )
    wrong = {finding.check: finding.severity for finding in examine(facts) if finding.severity != "fine"}
    assert wrong == {
        "OpenCV": "problem",
        "memory": "caution",
        "shared memory": "caution",
        "time zone": "caution",
    }
    assert not facts.tools
