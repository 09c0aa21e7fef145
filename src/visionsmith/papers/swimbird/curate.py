"""Choosing training dialogues, and how each is thought, by what a model can do with and without the hint (sec. 4.1).

    collect -> drop what is answered without thinking -> k tries without and k with the hint picture -> judge
            -> drop where the hint does not help -> "vision" where it nearly always does, "interleaved" elsewhere
            -> add dialogues in words only

Everything that is dropped is listed with its reason.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.config import config
from visionsmith.errors import ConfigError, DataError
from visionsmith.papers.swimbird.answers import Mode
from visionsmith.papers.swimbird.chat import IMAGE, THOUGHT
from visionsmith.papers.swimbird.dialogues import Dialogue, read_dialogues

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.papers.endpoint import Endpoint
    from visionsmith.papers.swimbird.reasoner import Reasoner

__all__ = [
    "Curated",
    "CurationConfig",
    "curate",
    "endpoint_judge",
    "endpoint_solver",
    "exact_judge",
    "local_solver",
]

Solver = Callable[[str, Sequence["np.ndarray"], int], str]
"""Question, pictures, number of the try -> an answer."""
Judge = Callable[[str, str, str], bool]
"""Question, true answer, an answer -> whether they agree."""


@config
class CurationConfig:
    """The thresholds; the defaults are the paper's."""

    tries: int = 8
    """k of pass@k, with and without the hint."""
    easy: float = 1.0
    """Share of right tries without the hint from which on a dialogue is too easy."""
    vision: float = 0.75
    """Share of right tries with the hint from which on looking is all it takes."""

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ConfigError(f"tries = {self.tries} is not positive", do="choose at least 1")
        for name in ("easy", "vision"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(
                    f"{name} = {getattr(self, name)} is out of range", do="choose a share up to 1"
                )


@dataclass
class Curated:
    """What came of it."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    """Items in the published layout with "mode", "pass_base" and "pass_hint"."""
    dropped: list[tuple[int, str]] = field(default_factory=list)
    """Place in the list, and why."""

    @property
    def modes(self) -> dict[str, int]:
        """How many of each mode were kept."""
        return dict(Counter(item["mode"] for item in self.kept))

    @property
    def reasons(self) -> dict[str, int]:
        """How many were dropped for what."""
        return dict(Counter(reason for _, reason in self.dropped).most_common())


def curate(
    source: Path,
    output: Path,
    *,
    solve: Solver,
    judge: Judge,
    settings: CurationConfig | None = None,
    workers: int = 1,
    progress: bool = True,
) -> Curated:
    """Curate a list of dialogues.

    Args:
        source: a list as `dialogues.read_dialogues` takes it, with "answer"; "reasoning_image" is the hint.
        output: the list to write, not there yet.
        solve: the model that tries.
        judge: whether an answer is right.
        settings: thresholds; None: the paper's.
        workers: dialogues that are worked on at a time, in threads; more than one helps a solver that waits.
        progress: whether to show a bar.

    Raises:
        DataError: the list cannot be read, nothing was kept, or `output` is there.
    """
    from visionsmith.data.progress import DelayedBar
    from visionsmith.durable import write_whole

    if output.exists():
        raise DataError("is there already", where=output, do="name another file")
    settings = settings or CurationConfig()
    dialogues, found = read_dialogues(source), Curated()
    pool = ThreadPoolExecutor(workers)
    try:
        with DelayedBar("curating", len(dialogues), show=progress) as bar:
            items = pool.map(lambda dialogue: _judged(dialogue, solve, judge, settings), dialogues)
            for place, item in enumerate(items):
                if isinstance(item, str):
                    found.dropped.append((place, item))
                else:
                    found.kept.append(_relative(item, output.parent))
                bar.advance()
    finally:
        pool.shutdown(cancel_futures=True)
    if not found.kept:
        raise DataError(
            f"of {len(dialogues)} dialogues none is left ({', '.join(found.reasons)})",
            where=source,
            do="check the model, the judge and the thresholds",
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, (json.dumps(found.kept, indent=1, ensure_ascii=False) + "\n").encode())
    return found


def _judged(
    dialogue: Dialogue, solve: Solver, judge: Judge, settings: CurationConfig
) -> dict[str, Any] | str:
    """The item that is kept, or why none is."""
    if not dialogue.answer:
        return "no answer to compare with"
    turns = dialogue.read()
    question = turns[0].text.replace(IMAGE, "").strip()
    hints = [picture for turn in turns if turn.role == "assistant" for picture in turn.pictures]
    if not turns[0].pictures and not hints:
        return _item(dialogue, "text", None, None)
    base = _passes(question, turns[0].pictures, dialogue.answer, solve, judge, settings.tries)
    if base >= settings.easy:
        return "answered without thinking"
    if not hints:
        return "no hint picture"
    pictures = [*turns[0].pictures, *hints]
    hinted = _passes(question, pictures, dialogue.answer, solve, judge, settings.tries)
    if hinted < base:
        return "the hint misleads"
    if hinted == 0:
        return "never answered, even with the hint"
    return _item(dialogue, "vision" if hinted >= settings.vision else "interleaved", base, hinted)


def _passes(
    question: str, pictures: Sequence[np.ndarray], answer: str, solve: Solver, judge: Judge, tries: int
) -> float:
    """Share of tries that are right."""
    return sum(judge(question, answer, solve(question, pictures, number)) for number in range(tries)) / tries


def _item(dialogue: Dialogue, mode: Mode, base: float | None, hinted: float | None) -> dict[str, Any]:
    """In the published layout; of a "vision" item the answers lose their words, but not their looks."""
    conversations, files = [], {"user": [], "assistant": []}  # type: ignore[var-annotated]
    for role, text, own in dialogue.turns:
        if role == "assistant" and mode == "vision":
            text = f"<reason>{THOUGHT * len(own)}</reason><answer>{dialogue.answer}</answer>"
        said = text.replace(THOUGHT, "<reasoning_image>")
        conversations.append({"from": "human" if role == "user" else "gpt", "value": said})
        files[role] += own
    item: dict[str, Any] = {
        "conversations": conversations,
        "image": files["user"],
        "reasoning_image": files["assistant"],
        "answer": dialogue.answer,
        "mode": mode,
    }
    return item if base is None else item | {"pass_base": base, "pass_hint": hinted}


def _relative(item: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The item with its files named from the folder of the new list."""
    named = {
        key: [Path(os.path.relpath(file, folder)).as_posix() for file in item[key]]
        for key in ("image", "reasoning_image")
    }
    return item | named


def exact_judge(question: str, wanted: str, found: str) -> bool:
    """Whether two answers are equal apart from case, articles, punctuation and spaces."""
    return _bare(wanted) == _bare(found)


def endpoint_judge(endpoint: Endpoint) -> Judge:
    """A judge that asks a language model; an exact answer is not asked about."""

    def judge(question: str, wanted: str, found: str) -> bool:
        if exact_judge(question, wanted, found):
            return True
        asked = (
            f"Question: {question}\nTrue answer: {wanted}\nAnswer to judge: {found}\n"
            "Do the two answers mean the same? Reply with yes or no only."
        )
        reply = endpoint.chat([{"role": "user", "content": asked}], most=8)
        return reply.text.strip().lower().startswith("yes")

    return judge


def endpoint_solver(endpoint: Endpoint, *, temperature: float = 1.0) -> Solver:
    """A solver that asks a vision-language model."""

    def solve(question: str, pictures: Sequence[np.ndarray], number: int) -> str:
        content = [endpoint.image(picture) for picture in pictures]
        content.append({"type": "text", "text": f"{question}\nAnswer in as few words as possible."})
        asked: list[Mapping[str, Any]] = [{"role": "user", "content": content}]
        return endpoint.chat(asked, temperature=temperature, most=64, sample=number).text

    return solve


def local_solver(bird: Reasoner, *, temperature: float = 1.0) -> Solver:
    """A solver that asks a SwimBird of this machine."""
    from visionsmith.papers.swimbird.generate import Sampling

    def solve(question: str, pictures: Sequence[np.ndarray], number: int) -> str:
        sampling = Sampling(temperature=temperature, seed=number)
        return bird.ask_all([(question, pictures)], sampling=sampling)[0][0].text

    return solve


def _bare(text: str) -> str:
    words = re.sub(r"[^\w\s]", " ", text.casefold()).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))
