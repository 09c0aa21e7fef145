"""The paper's measure of open answers: another language model scores two of them, 1 to 10 (sec. 5.1).

The judge gets what is known of the picture in words, the question and both answers. The result is relative: the sum of
the scores of the one as a share of the sum of the other's, with mean and standard deviation of each. What the judge
writes without two scores is reported and counts nowhere.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from visionsmith.data.progress import DelayedBar
from visionsmith.errors import DataError
from visionsmith.papers.endpoint import Endpoint

__all__ = ["Case", "Verdict", "judge", "scores_in", "summary"]

_ASKS = (
    "Two assistants have answered a question about a picture that you cannot see; what is known of it stands above the "
    "question. Score how helpful, relevant, accurate and detailed each answer is, from 1 to 10; the order of the two "
    "means nothing. Write the two scores on the first line, with a space between them and nothing else, and then your "
    "reasons."
)
_NUMBER = r"(10(?:\.0+)?|[1-9](?:\.\d+)?)"
_SCORES = re.compile(rf"^\s*{_NUMBER}(?:\s*/\s*10)?[\s,;]+{_NUMBER}(?:\s*/\s*10)?\s*\.?\s*$")


@dataclass(frozen=True)
class Case:
    """A question with two answers."""

    key: str
    kind: str
    """Of question: conversation, detail, reasoning, or any other."""
    context: str
    """What is known of the picture."""
    question: str
    reference: str
    """The answer that the other is measured by."""
    answer: str


@dataclass(frozen=True)
class Verdict:
    """What the judge said of a case."""

    case: Case
    scores: tuple[float, float] | None
    """Of the reference and of the answer; None where the judge gave none that can be read."""
    text: str


def judge(
    cases: Iterable[Case], endpoint: Endpoint, *, temperature: float = 0.2, progress: bool = False
) -> list[Verdict]:
    """Have every case scored.

    Args:
        cases: questions with two answers.
        endpoint: the judge.
        temperature: of its sampling.
        progress: whether to show a bar.

    Raises:
        EndpointError: it gave up; what it answered is in its cache.
    """
    held = list(cases)
    verdicts = []
    with DelayedBar("judging", len(held), show=progress) as bar:
        for case in held:
            asked = (
                f"[Known]\n{case.context}\n\n[Question]\n{case.question}\n\n"
                f"[Answer 1]\n{case.reference}\n\n[Answer 2]\n{case.answer}\n\n{_ASKS}"
            )
            text = endpoint.chat([{"role": "user", "content": asked}], temperature=temperature).text
            verdicts.append(Verdict(case, scores_in(text), text))
            bar.advance()
    return verdicts


def scores_in(text: str) -> tuple[float, float] | None:
    """The two scores on the first line of a judge's answer; None where it has not exactly two, each 1 to 10."""
    lines = [line for line in text.splitlines() if line.strip()]
    found = _SCORES.match(lines[0]) if lines else None
    return (float(found[1]), float(found[2])) if found else None


def summary(verdicts: Iterable[Verdict]) -> Mapping[str, Any]:
    """Relative score, means and deviations, by kind of question and over "all".

    Returns:
        Name -> "relative" (percent), "reference" and "answer" (each "mean" and "std"), "scored"; and "unreadable", the
        keys of the cases without scores.

    Raises:
        DataError: nothing was scored.
    """
    held = list(verdicts)
    scored = [(verdict.case.kind, verdict.scores) for verdict in held if verdict.scores is not None]
    unreadable = [verdict.case.key for verdict in held if verdict.scores is None]
    if not scored:
        raise DataError(
            f"none of the judge's {len(held)} answers begins with two scores", do="choose another judge"
        )
    kinds = list(dict.fromkeys(kind for kind, _ in scored))
    result: dict[str, Any] = {
        kind: _summed([scores for own, scores in scored if own == kind]) for kind in kinds
    }
    return {**result, "all": _summed([scores for _, scores in scored]), "unreadable": unreadable}


def _summed(scores: list[tuple[float, float]]) -> dict[str, Any]:
    reference, answer = [first for first, _ in scores], [second for _, second in scores]
    return {
        "relative": 100 * sum(answer) / sum(reference),
        "reference": _spread(reference),
        "answer": _spread(answer),
        "scored": len(scores),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
