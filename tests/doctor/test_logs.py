"""Recorded failures are named by their root cause, and sound logs are left alone."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from tests.doctor.provoke import KNOWN, SNIPPETS, provoke
from visionsmith.doctor.causes import read_causes
from visionsmith.doctor.match import diagnose, read_log, read_stream
from visionsmith.errors import ConfigError, DataError

LOGS = KNOWN.parent
RECORDINGS = sorted(KNOWN.glob("*.txt"))
SOUND = sorted((LOGS / "sound").glob("*.txt"))
CAUSES = read_causes()
IDS = {cause.id for cause in CAUSES}


def expected(recording: Path) -> str:
    """The root cause that a recording shows: its name up to the variant."""
    return recording.stem.partition("--")[0]


def named(text: str) -> list[str]:
    return [one.cause.id for one in diagnose(text)]


def test_every_recording_is_named_by_its_root_cause() -> None:
    assert len(RECORDINGS) >= 40
    wrong = {file.name: found for file in RECORDINGS if (found := named(read(file)))[:1] != [expected(file)]}
    assert not wrong


def test_nothing_is_named_in_sound_or_unrelated_logs() -> None:
    assert len(SOUND) >= 20
    false = {file.name: found for file in SOUND if (found := named(read(file)))}
    assert not false


def read(file: Path) -> str:
    return file.read_bytes().decode("utf-8")


def test_what_is_named_besides_the_root_follows_from_it() -> None:
    several = 0
    for file in RECORDINGS:
        first, *others = diagnose(read(file))
        for other in others:
            assert first.cause.id in other.follows, f"{file.name}: {other.cause.id}"
            several += 1
    assert several >= 4


def test_every_cause_is_recorded_and_the_list_says_how() -> None:
    assert len(CAUSES) >= 40
    assert len(IDS) == len(CAUSES)
    assert {expected(file) for file in RECORDINGS} == IDS
    listed = re.findall(
        r"^\| `([\w-]+)` \|", (LOGS / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert sorted(listed) == sorted(file.stem for file in (*RECORDINGS, *SOUND))


def test_the_causes_that_the_plan_names_are_there() -> None:
    assert {
        "meta-tensor-copied",
        "empty-cache-wakes-gpu",
        "position-ids-key",
        "force-hooks",
        "diffusers-keys-missing",
        "two-nccl",
        "cmake-missing",
        "numpy-abi",
        "module-init-order",
        "cudnn-no-algorithm",
        "concatenate-arguments",
        "target-dtype",
        "array-read-only",
        "opencv-filter-depth",
        "docker-socket-permission",
        "time-zone-missing",
        "ssh-password",
        "torchvision-other-torch",
    } <= IDS


def test_patterns_hold_no_marks_of_one_run() -> None:
    checked = 0
    for cause in CAUSES:
        for pattern in (*cause.raised, *cause.printed, *cause.unless):
            marks = r"/home|/usr/|site-packages|train\.py|line \d|pid \d|0x[0-9a-f]{4}|python3\.\d|\d{4}-\d\d"
            assert not re.search(marks, pattern), f"{cause.id}: {pattern}"
            checked += 1
    assert checked > 100


def test_causes_are_complete_and_refer_to_each_other() -> None:
    for cause in CAUSES:
        assert set(cause.follows) <= IDS - {cause.id}, cause.id
        assert cause.sources, cause.id
        for text in (cause.cause, cause.consequence, cause.fix):
            assert 10 <= len(text) <= 400, cause.id
        assert cause.cause.endswith("."), cause.id
        for source in cause.sources:
            issue = re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", source)
            assert issue or re.match(r"documentation of |YAML 1\.1", source), f"{cause.id}: {source}"
        names = {
            name
            for pattern in (*cause.raised_patterns, *cause.printed_patterns)
            for name in pattern.groupindex
        }
        used = set(re.findall(r"\{(\w+)\}", cause.cause + cause.fix))
        assert used <= names, f"{cause.id}: {used - names}"


def coloured(text: str) -> str:
    return "\n".join(f"\x1b[31m{line}\x1b[0m" for line in text.split("\n"))


def of_a_rank(text: str) -> str:
    return "\n".join(f"[rank3]: {line}" for line in text.split("\n"))


def with_windows_ends(text: str) -> str:
    return text.replace("\n", "\r\n")


def after_a_sound_run(text: str) -> str:
    return "\n".join(read(file) for file in SOUND) + "\n" + text


def behind_a_progress_bar(text: str) -> str:
    return " 10%|#         | 1/10\r 20%|##        | 2/10\n" + text


@pytest.mark.parametrize(
    "change", [coloured, of_a_rank, with_windows_ends, after_a_sound_run, behind_a_progress_bar]
)
def test_how_a_log_is_printed_changes_nothing(change) -> None:
    for file in RECORDINGS:
        assert named(change(read(file)))[:1] == [expected(file)], file.name


def test_messages_that_a_terminal_wrapped_are_found() -> None:
    def wrap(text: str) -> str:
        return "\n".join(re.sub(r"(.{70}\S*) ", r"\1\n", line) for line in text.split("\n"))

    missed = [file.stem for file in RECORDINGS if named(wrap(read(file)))[:1] != [expected(file)]]
    assert len(missed) <= len(RECORDINGS) // 20, missed


def test_the_line_and_the_count_are_those_of_the_log() -> None:
    log = "a\n\nb\nRuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)\n" * 3
    (one,) = diagnose(log)
    assert (one.line, one.count) == (4, 3)
    assert one.text.startswith("RuntimeError: mat1")
    assert "made for 4 features got 3" in one.what
    assert "in_features=3" in one.fix


def test_what_failed_first_comes_first() -> None:
    disk, shapes = (read(KNOWN / f"{name}.txt") for name in ("disk-full", "matmul-shapes"))
    assert named(disk + shapes) == ["disk-full", "matmul-shapes"]
    assert named(shapes + disk) == ["matmul-shapes", "disk-full"]


def test_a_consequence_comes_after_its_cause_wherever_it_stands() -> None:
    timeout, killed = (read(KNOWN / f"{name}.txt") for name in ("nccl-timeout", "process-killed"))
    found = diagnose(timeout + killed)
    assert [one.cause.id for one in found] == ["process-killed", "nccl-timeout"]
    assert found[1].follows == ("process-killed",)


def test_a_log_of_any_length_takes_bounded_memory_and_keeps_its_line_numbers() -> None:
    filler = b"step 100 loss 2.31\n" * 200_000
    log = read_stream(io.BytesIO(filler + read(KNOWN / "matmul-shapes.txt").encode()), limit=2**20)
    assert len(filler) > 3 * 2**20
    assert len(log.text) <= 2**20 + 2**16
    alone = diagnose(read(KNOWN / "matmul-shapes.txt"))
    assert diagnose(log)[0].line == 200_000 + alone[0].line


def test_other_encodings_are_read(tmp_path: Path) -> None:
    text = read(KNOWN / "matmul-shapes.txt")
    for name, content in {
        "utf16": text.encode("utf-16"),
        "utf16-big": b"\xfe\xff" + text.encode("utf-16-be"),
        "mark": text.encode("utf-8-sig"),
        "broken": b"\xff\xfe\xfa caf\xe9\n".replace(b"\xff\xfe", b"\xfd") + text.encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert [one.cause.id for one in diagnose(read_log(tmp_path / name))] == ["matmul-shapes"], name


def test_a_failed_tests_source_is_passed_over_and_what_it_raised_is_not() -> None:
    message = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"
    quoted = f'    text = "{message}"\n'
    title = "=== FAILURES ===\n___ test_a ___\n"
    assert named(title + quoted + "E   AssertionError: x\n") == []
    assert named(title + f"E   {message}\n") == ["matmul-shapes"]
    assert named(title + quoted + f"--- Captured stdout call ---\n{message}\n") == ["matmul-shapes"]
    assert named(title + quoted + f"=== short test summary info ===\n{message}\n") == ["matmul-shapes"]
    assert named(f"___ a title ___\n{message}\n") == ["matmul-shapes"], "no test failed in this log"


def test_an_empty_log_shows_nothing() -> None:
    assert diagnose("") == []
    assert diagnose(read_stream(io.BytesIO(b""))) == []


def test_control_characters_of_a_log_do_not_reach_the_terminal() -> None:
    (one,) = diagnose(
        "\x1b]0;title\x07ImportError: cannot import name 'x' from 'transformers.\x1b[2Ja\x08b' (y)\n"
    )
    assert not re.search(r"[\x00-\x1f\x7f]", one.text + one.what + one.fix)


def test_no_pattern_is_slow_on_text_made_against_it() -> None:
    hostile = (
        "RuntimeError: "
        + "a " * 5_000
        + "\n"
        + "Error: [" * 1_000
        + "\nMissing key(s) in state_dict: " * 2_000
    )
    assert len(diagnose(hostile + "size mismatch for " * 1_000)) < 5


def test_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_log(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="directory"):
        read_log(tmp_path)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('[a]\nprinted = ["x"]\ncauze = "c"', "cauze"),
        ('[a]\ncause = "c"\nconsequence = "c"\nfix = "f"\nsources = ["s"]', "no pattern"),
        ('[a]\nprinted = ["x"]\ncause = "c"\nconsequence = "c"\nfix = "f"', "sources"),
    ],
)
def test_a_cause_with_a_mistake_is_refused(tmp_path: Path, table: str, complaint: str) -> None:
    (tmp_path / "more.toml").write_text(table)
    with pytest.raises(ConfigError, match=complaint):
        read_causes(tmp_path)


@pytest.mark.parametrize(
    "name", ["concatenate-arguments", "array-read-only", "opencv-filter-depth", "lmdb-opened-twice"]
)
def test_an_error_that_is_provoked_now_is_named(name: str) -> None:
    assert named(provoke(name))[:1] == [name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SNIPPETS)
def test_every_error_that_can_be_provoked_here_is_named(name: str) -> None:
    assert named(provoke(name))[:1] == [name.partition("--")[0]]


def test_the_page_counts_right() -> None:
    page = " ".join(
        (Path(__file__).parents[2] / "docs" / "guides" / "doctor.md").read_text(encoding="utf-8").split()
    )
    how = re.findall(
        r"^\| `[\w-]+` \| (\w+) \|", (LOGS / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    seen = sum(word in ("scripted", "recorded") for word in how[: len(RECORDINGS)])
    assert f"{len(CAUSES)} causes are known" in page
    assert f"Of {len(RECORDINGS)} recordings" in page
    assert f"none of {len(SOUND)} sound" in page
    assert (
        f"{seen} of the recordings are what a failing program printed here, {len(RECORDINGS) - seen} were"
        in page
    )
