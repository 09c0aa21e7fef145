"""Finding files, planning results, and running jobs on threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from visionsmith.errors import ConfigError, DataError, OutputError
from visionsmith.image.batch import find_pictures, plan, run_jobs
from visionsmith.image.io import encode_png

PNG = encode_png(np.zeros((4, 4), np.uint8))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = ("b.png", "a.JPG", "notes.txt", ".hidden.png", ".cache/x.png", "deep/er/c.tiff", "deep/a.webp")
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    (tmp_path / "loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return Path("photos")


def found(*inputs: str) -> list[tuple[str, str]]:
    return [(one.path.as_posix(), one.relative.as_posix()) for one in find_pictures(inputs)]


def planned(inputs: list[str], output: str, ending: str | None = None) -> list[tuple[str, str]]:
    return [(job.source.as_posix(), job.target.as_posix()) for job in plan(inputs, output, ending=ending)]


def test_folders_files_and_patterns(photos: Path) -> None:
    inside = [
        ("photos/a.JPG", "a.JPG"),
        ("photos/b.png", "b.png"),
        ("photos/deep/a.webp", "deep/a.webp"),
        ("photos/deep/er/c.tiff", "deep/er/c.tiff"),
    ]
    assert found("photos") == inside
    assert found("photos/notes.txt") == [("photos/notes.txt", "notes.txt")]
    assert found("photos/*.png") == [("photos/b.png", "b.png")]
    assert found("photos/d*/*.webp") == [("photos/deep/a.webp", "deep/a.webp")]
    assert found("photos/**/*.tiff") == [("photos/deep/er/c.tiff", "deep/er/c.tiff")]
    assert found("photos/b.png", "photos", "photos/b.png") == [inside[1], inside[0], *inside[2:]]
    odd = photos / "a[1].png"
    odd.write_bytes(PNG)
    assert found(str(odd)) == [("photos/a[1].png", "a[1].png")]


def test_where_results_go(photos: Path) -> None:
    assert planned(["photos/b.png"], "x.jpg") == [("photos/b.png", "x.jpg")]
    assert planned(["photos/b.png"], "out") == [("photos/b.png", "out/b.png")]
    assert planned(["photos/b.png"], "v1.2/") == [("photos/b.png", "v1.2/b.png")]
    assert planned(["photos/b.png"], "out", ".jpg") == [("photos/b.png", "out/b.jpg")]
    assert planned(["photos/b.png"], "x.jpeg", ".jpg") == [("photos/b.png", "x.jpeg")]
    assert planned(["photos"], "out", ".png")[-1] == ("photos/deep/er/c.tiff", "out/deep/er/c.png")
    assert planned(["photos/*.png"], "out") == [("photos/b.png", "out/b.png")]
    assert planned(["photos"], "photos") == [(name, name) for name, _ in found("photos")]
    assert planned(["photos"], "photos/deep/er") == [
        (name, f"photos/deep/er/{relative}") for name, relative in found("photos") if "er/" not in relative
    ]


@pytest.mark.parametrize(
    ("inputs", "output", "ending", "kind", "says"),
    [
        (["absent.png"], "out", None, DataError, "absent.png: no such file or folder"),
        (["photos/*.gif"], "out", None, DataError, r"photos/\*.gif: no picture has such a name"),
        (["photos/**.png"], "out", None, DataError, r"is no pattern; write \*\* between slashes only"),
        (["empty"], "out", None, DataError, "empty: holds no pictures; give files that end in .bmp"),
        (["photos"], "x.png", None, OutputError, "x.png: is one file, and there may be several pictures"),
        (["photos/a.JPG", "photos/b.png"], "x.png", None, OutputError, "x.png: is one file"),
        (
            ["photos/a.JPG", "photos/deep/a.webp"],
            "out",
            ".png",
            OutputError,
            "both photos/a.JPG and photos/deep/a",
        ),
        (["photos/deep"], "photos", None, DataError, "photos: all pictures lie in the folder for results"),
        (["photos/b.png"], "x.png", ".jpg", OutputError, "x.png: does not end in .jpg, .*; call it x.jpg"),
    ],
)
def test_plans_that_cannot_be(
    photos: Path, inputs: list[str], output: str, ending: str | None, kind: type[Exception], says: str
) -> None:
    Path("empty").mkdir()
    with pytest.raises(kind, match=says):
        plan(inputs, output, ending=ending)
    assert not Path("out").exists()


def test_jobs_run_at_once_and_come_back_in_order() -> None:
    barrier = threading.Barrier(3, timeout=5)

    def work(job: int) -> int:
        barrier.wait()  # passes only when three run at once
        time.sleep(0.01 * (3 - job % 3))
        return job * job

    counted: list[int] = []
    before = cv2.getNumThreads()
    outcome = run_jobs(range(9), work, workers=3, on_done=lambda: counted.append(threading.get_ident()))
    assert outcome.done == [(job, job * job) for job in range(9)]
    assert outcome.failed == []
    assert counted == [threading.get_ident()] * 9
    assert cv2.getNumThreads() == before


def test_what_fails_is_kept_and_the_rest_is_done() -> None:
    def work(job: int) -> int:
        if job % 3 == 1:
            raise DataError(f"number {job}")
        return job

    outcome = run_jobs(range(10), work, workers=2)
    assert [job for job, _ in outcome.done] == [0, 2, 3, 5, 6, 8, 9]
    assert [(job, str(error)) for job, error in outcome.failed] == [
        (job, f"number {job}.") for job in (1, 4, 7)
    ]
    assert run_jobs([], work).done == []


@pytest.mark.parametrize("error", [ConfigError("sigma = -1"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_wrong_setting_a_defect_or_an_interruption_ends_it(error: BaseException) -> None:
    begun: list[int] = []

    def work(job: int) -> None:
        begun.append(job)
        if job == 5:
            raise error
        time.sleep(0.001)

    with pytest.raises(type(error)):
        run_jobs(range(10_000), work, workers=2)
    assert len(begun) < 100
