"""The judge's scores against sums done by hand, and ScienceQA against a table counted by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from tests.papers.test_endpoint import completion, server
from visionsmith.errors import DataError
from visionsmith.papers.endpoint import Endpoint
from visionsmith.papers.llava.judge import Case, judge, scores_in, summary
from visionsmith.papers.llava.science_qa import chosen, science_qa


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("8 7\nBecause.", (8.0, 7.0)),
        ("\n 9.5, 10\n", (9.5, 10.0)),
        ("8/10 6/10", (8.0, 6.0)),
        ("Answer 1: 8, Answer 2: 7", None),
        ("8", None),
        ("8 7 6", None),
        ("0 5", None),
        ("11 5", None),
        ("I would give 8 7", None),
        ("", None),
    ],
)
def test_scores_are_read_or_not(text: str, scores: tuple[float, float] | None) -> None:
    assert scores_in(text) == scores


def test_what_cannot_be_read_is_told_and_not_averaged(tmp_path: Path) -> None:
    said = ["8 4\nshort", "10 9", "They are equal.", "6 6"]
    cases = [
        Case(str(number), "detail" if number else "conversation", "a cat", f"What {number}?", "yes", "no")
        for number in range(4)
    ]
    with server(lambda number, body, headers: completion(said[number])) as (url, received):
        verdicts = judge(cases, Endpoint(url, "m", cache=tmp_path))
        again = judge(cases, Endpoint(url, "m", cache=tmp_path))
        assert len(received) == 4, "the second time nothing is asked"
    assert verdicts == again
    asked = received[0]["messages"][0]["content"]
    assert asked.index("a cat") < asked.index("What 0?") < asked.index("\nyes\n") < asked.index("\nno\n")
    found = summary(verdicts)
    assert found["unreadable"] == ["2"]
    assert found["conversation"]["relative"] == 50
    assert found["detail"]["relative"] == pytest.approx(100 * 15 / 16)
    assert found["all"]["relative"] == pytest.approx(100 * 19 / 24)
    assert found["all"]["answer"] == {
        "mean": pytest.approx(19 / 3),
        "std": pytest.approx(statistics.stdev([4, 9, 6])),
    }
    assert found["all"]["scored"] == 3
    with pytest.raises(DataError, match="none of the judge's 1 answers"):
        summary(verdicts[2:3])


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("The answer is B.", 1),
        ("Because it is cold. The answer is (C)", 2),
        ("A", 0),
        ("b", None),
        ("(D)", 3),
        ("B. Berlin", 1),
        (2, 2),
        (7, None),
        ("The answer is J", None),
        ("Apples are red", None),
        (True, None),
    ],
)
def test_choices_are_told(answer: object, number: int | None) -> None:
    assert chosen(answer, 4) == number


def test_science_qa_by_hand(tmp_path: Path) -> None:
    def problem(subject: str, grade: int, answer: int, **more: str) -> dict[str, object]:
        return {"subject": subject, "grade": f"grade{grade}", "choices": ["x", "y"], "answer": answer, **more}

    problems = {
        "1": problem("natural science", 2, 0, image="image.png", hint="a hint"),
        "2": problem("natural science", 8, 1, hint="a hint"),
        "3": problem("social science", 6, 1, image="image.png"),
        "4": problem("language science", 7, 0),
        "5": problem("language science", 1, 0),
    }
    answers = {"1": "The answer is A.", "2": 0, "3": "B", "4": "what?"}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    (tmp_path / "said.json").write_text(json.dumps({"outputs": answers}))
    found = science_qa(tmp_path / "problems.json", tmp_path / "said.json")
    assert found == {
        "NAT": 0.5, "SOC": 1.0, "LAN": 0.0, "TXT": 0.5, "IMG": 1.0, "NO": 0.0, "G1-6": 1.0, "G7-12": 0.0,
        "average": 0.5, "problems": 4, "unreadable": ["4"],
    }  # fmt: skip


def test_science_qa_mistakes(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("{}")
    (tmp_path / "a.json").write_text('{"9": "A"}')
    with pytest.raises(DataError, match="problem '9', which is not among the problems"):
        science_qa(tmp_path / "p.json", tmp_path / "a.json")
    with pytest.raises(DataError, match="holds no predictions"):
        science_qa(tmp_path / "p.json", tmp_path / "p.json")
    (tmp_path / "p.json").write_text('{"9": {"question": "?"}}')
    with pytest.raises(DataError, match="problem '9' is not one of ScienceQA"):
        science_qa(tmp_path / "p.json", tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot be read"):
        science_qa(tmp_path / "none.json", tmp_path / "a.json")
