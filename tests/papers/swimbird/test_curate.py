"""Curation with solvers whose skill is known: what is kept, as what, and why the rest is not."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.papers.test_endpoint import completion, server
from visionsmith.cli.app import app
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.io import write_image
from visionsmith.papers.swimbird.curate import CurationConfig, curate, exact_judge
from visionsmith.papers.swimbird.dialogues import read_dialogues

# Skill by question: right tries of eight without the hint, and with it.
SKILL = {"easy?": (8, 8), "look?": (2, 7), "both?": (1, 4), "misleads?": (5, 1), "never?": (0, 0)}


def item(question: str, *, picture: bool = True, hint: bool = True, answer: str = "the cat") -> dict:
    told = "<reason>It is <reasoning_image> there.</reason>" if hint else "<reason>So.</reason>"
    return {
        "conversations": [
            {"from": "human", "value": f"<image>\n{question}" if picture else question},
            {"from": "gpt", "value": f"{told}<answer>{answer}</answer>"},
        ],
        "image": ["pictures/whole.png"] if picture else [],
        "reasoning_image": ["pictures/hint.png"] if hint else [],
        "answer": answer,
    }


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "raw" / "pictures").mkdir(parents=True)
    for name, side in (("whole", 48), ("hint", 24)):
        write_image(tmp_path / "raw" / "pictures" / f"{name}.png", np.zeros((side, side, 3), np.uint8))
    items = [item(question) for question in SKILL]
    items += [item("words?", picture=False, hint=False), item("plain?", hint=False), item("open?", answer="")]
    path = tmp_path / "raw" / "list.json"
    path.write_text(json.dumps(items), encoding="utf-8")
    return path


def skilled(question: str, pictures, number: int) -> str:
    base, hinted = SKILL.get(question, (0, 0))
    return "The cat." if number < (hinted if len(pictures) == 2 else base) else "a dog"


def test_what_is_kept_and_why(listed: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "kept.json"
    found = curate(listed, output, solve=skilled, judge=exact_judge, progress=False)
    assert dict(found.dropped) == {
        0: "answered without thinking",
        3: "the hint misleads",
        4: "never answered, even with the hint",
        6: "no hint picture",
        7: "no answer to compare with",
    }
    kept = json.loads(output.read_text(encoding="utf-8"))
    assert [(one["mode"], one.get("pass_base"), one.get("pass_hint")) for one in kept] == [
        ("vision", 0.25, 0.875),
        ("interleaved", 0.125, 0.5),
        ("text", None, None),
    ]
    assert found.modes == {"vision": 1, "interleaved": 1, "text": 1}
    # Looking is all it takes: the words are gone, the look is not.
    assert (
        kept[0]["conversations"][1]["value"] == "<reason><reasoning_image></reason><answer>the cat</answer>"
    )
    assert kept[1]["conversations"][1]["value"].startswith("<reason>It is <reasoning_image> there.")
    # The new list opens from its own folder.
    dialogues = read_dialogues(output)
    assert [len(dialogue.read()[1].pictures) for dialogue in dialogues] == [1, 1, 0]
    with pytest.raises(DataError, match="is there already"):
        curate(listed, output, solve=skilled, judge=exact_judge, progress=False)


def test_threads_keep_the_same(listed: Path, tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=20)

    def slow(question: str, pictures, number: int) -> str:
        # Four dialogues at a time, or this never goes on.
        if number == 0 and len(pictures) == 1 and question in list(SKILL)[:4]:
            together.wait()
        return skilled(question, pictures, number)

    one = curate(listed, tmp_path / "a.json", solve=skilled, judge=exact_judge, progress=False)
    four = curate(listed, tmp_path / "b.json", solve=slow, judge=exact_judge, workers=4, progress=False)
    assert four == one


def test_thresholds(listed: Path, tmp_path: Path) -> None:
    settings = CurationConfig(tries=8, easy=0.2, vision=0.5)
    found = curate(
        listed, tmp_path / "a.json", solve=skilled, judge=exact_judge, settings=settings, progress=False
    )
    assert found.reasons["answered without thinking"] == 3
    assert found.modes == {"vision": 1, "text": 1}
    short = tmp_path / "raw" / "short.json"
    short.write_text(json.dumps([item("never?")]), encoding="utf-8")
    with pytest.raises(DataError, match="none is left"):
        curate(short, tmp_path / "b.json", solve=skilled, judge=exact_judge, progress=False)
    assert not (tmp_path / "b.json").exists()


def test_answers_are_compared_by_their_words() -> None:
    assert exact_judge("?", "the red cat", "A red, Cat.")
    assert not exact_judge("?", "the red cat", "the blue cat")


def test_from_the_command_line_through_an_endpoint(listed: Path, tmp_path: Path) -> None:
    def respond(_, body: dict, __):
        content = body["messages"][0]["content"]
        if body["model"] == "judge":
            return completion("yes" if "kitten" in content else "No.")
        question = content[-1]["text"].splitlines()[0]
        answer = skilled(question, content[:-1], body.get("seed", 0))
        return completion(answer.replace("The cat", "A kitten"))

    with server(respond) as (url, received):
        command = ["data", "curate", str(listed), str(tmp_path / "kept.json"), "--endpoint", url, "--model", "solver",
                   "--judge", "judge", "--cache", str(tmp_path / "cache"), "--json"]  # fmt: skip
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert (found["kept"], found["modes"]) == (3, {"vision": 1, "interleaved": 1, "text": 1})
        assert found["requests"] == len(received)
        # Again, after the list is lost: everything comes from the cache.
        (tmp_path / "kept.json").unlink()
        again = json.loads(CliRunner().invoke(app, command).stdout)
        assert again["requests"] == 0
        assert again["modes"] == found["modes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conversations": []}, "item 0: has no conversations"),
        ({"conversations": [{"from": "robot", "value": "?"}]}, "without speaker or text"),
        ({"image": ["absent.png"]}, "names a picture that is not there"),
        ({"reasoning_image": []}, "names 1 pictures in a turn and has 0 files"),
        ({"reasoning_image": ["pictures/hint.png"] * 2}, "1 thought pictures that no answer has a place for"),
        (
            {"conversations": [{"from": "human", "value": "?"}], "reasoning_image": []},
            "no answer to learn from",
        ),
    ],
)
def test_malformed_items_are_named(listed: Path, change: dict, message: str) -> None:
    listed.write_text(json.dumps([item("look?") | change]), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_dialogues(listed)


def test_mistakes_on_the_command_line(listed: Path, tmp_path: Path) -> None:
    for extra, message in (
        (["--endpoint", "http://localhost"], "belong together"),
        (["--judge", "j"], "a judge needs an endpoint"),
        (["--vision", "2", "--endpoint", "http://localhost", "--model", "m"], "out of range"),
    ):
        done = CliRunner().invoke(app, ["data", "curate", str(listed), str(tmp_path / "x.json"), *extra])
        assert isinstance(done.exception, ConfigError)
        assert message in str(done.exception)
