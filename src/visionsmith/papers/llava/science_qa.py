"""Accuracy on ScienceQA (Lu et al. 2022) from its problems.json and a file of predictions (sec. 5.2, table 7)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionsmith.errors import DataError

__all__ = ["chosen", "science_qa"]

_LETTERS = "ABCDEFGHIJ"
_SUBJECTS = {"natural science": "NAT", "social science": "SOC", "language science": "LAN"}
_SAYS = re.compile(r"answer is\s*:?\s*\(?([A-J])\b", re.I)


def science_qa(problems: Path, predictions: Path) -> Mapping[str, Any]:
    """Shares of right choices, as the paper's table has them.

    Args:
        problems: {id: {"question", "choices", "answer" (number from 0), "subject", "grade", "image", "hint", ...}}.
        predictions: {id: text of the answer or number of the choice}, or the same under "outputs" or "results".

    Returns:
        "NAT", "SOC", "LAN" (subject), "TXT", "IMG", "NO" (context: text, picture, neither), "G1-6", "G7-12", "average":
        shares from 0 to 1; "problems"; "unreadable": ids whose choice could not be told. They count as wrong.

    Raises:
        DataError: a file cannot be read, or predictions are for problems that there are not, or none.
    """
    asked, answers = _read(problems), _predictions(_read(predictions))
    if unknown := [key for key in answers if key not in asked]:
        raise DataError(
            f"answers problem '{unknown[0]}', which is not among the problems",
            where=predictions,
            do="give its problems.json",
        )
    if not answers:
        raise DataError("holds no predictions", where=predictions, do="give {id: answer}")
    right: dict[str, list[bool]] = {}
    unreadable = []
    for key, answer in answers.items():
        problem = asked[key]
        try:
            choice = chosen(answer, len(problem["choices"]))
            hit = choice == int(problem["answer"])
            groups = _groups(problem)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"problem '{key}' is not one of ScienceQA ({error!r})", where=problems) from error
        if choice is None:
            unreadable.append(key)
        for group in (*groups, "average"):
            right.setdefault(group, []).append(hit)
    names = (*_SUBJECTS.values(), "TXT", "IMG", "NO", "G1-6", "G7-12", "average")
    shares = {name: sum(right[name]) / len(right[name]) for name in names if name in right}
    return {**shares, "problems": len(answers), "unreadable": unreadable}


def chosen(answer: object, choices: int) -> int | None:
    """The number of the choice in an answer: a number, a letter, or "The answer is B."; None where it has none."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < choices else None
    text = str(answer).strip()
    said = _SAYS.search(text)
    if said is None:
        said = re.fullmatch(r"\(?([A-J])\)?[.:]?", text) or re.match(r"\(?([A-J])[.):]\s", text)
    if said is None:
        return None
    number = _LETTERS.index(said[1].upper())
    return number if number < choices else None


def _groups(problem: Mapping[str, Any]) -> list[str]:
    """The columns of the table that a problem belongs to; with text and picture it is in both of theirs."""
    groups = [_SUBJECTS[problem["subject"]]] if problem.get("subject") in _SUBJECTS else []
    contexts = [
        name for name, there in (("TXT", problem.get("hint")), ("IMG", problem.get("image"))) if there
    ]
    groups += contexts or ["NO"]
    if match := re.fullmatch(r"grade(\d+)", str(problem.get("grade", ""))):
        groups.append("G1-6" if int(match[1]) <= 6 else "G7-12")
    return groups


def _predictions(content: dict[str, Any]) -> dict[str, Any]:
    for name in ("outputs", "results"):
        if isinstance(content.get(name), dict):
            held: dict[str, Any] = content[name]
            return held
    return content


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot be read ({reason})", where=file, do="give a JSON file") from error
    if not isinstance(content, dict):
        raise DataError("holds no mapping of ids", where=file, do="give {id: ...}")
    return content
