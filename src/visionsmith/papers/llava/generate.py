"""Making instructions from captions and boxes, with a language model that sees no picture, or with a grammar (sec. 3).

Whatever is made is checked: its form, its length, that it does not talk of captions and boxes, and that it says of no
object to be there which the facts do not have. What fails is kept aside, with the reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionsmith.data.exports.pictures import write_picture
from visionsmith.data.progress import DelayedBar
from visionsmith.data.sample import Sample
from visionsmith.data.sampler import generator
from visionsmith.data.world import KINDS as WORLD_KINDS
from visionsmith.durable import write_whole
from visionsmith.errors import ConfigError, DataError, OutputError
from visionsmith.papers.endpoint import Endpoint
from visionsmith.papers.llava.conversation import IMAGE_MARK
from visionsmith.papers.llava.facts import Facts, invented, of_data, of_world
from visionsmith.papers.llava.grammar import written
from visionsmith.papers.llava.spread import Made, Spread, Writer, in_turn

__all__ = [
    "KINDS",
    "Generated",
    "Rejected",
    "by_endpoint",
    "by_grammar",
    "checked",
    "generate",
    "open_facts",
]

KINDS = ("conversation", "detail", "reasoning")
"""The three types of instructions."""

LIST, REJECTED, REPORT = "conversations.json", "rejected.jsonl", "report.json"

_COMMON = (
    "You are shown what is known of a picture: sentences that describe it, and objects with boxes (x, y, width, "
    "height, as shares of the picture's sides, from its top left corner). Write as if you saw the picture itself. Say "
    "nothing that does not follow from what is known, name no other objects, and do not mention sentences, captions, "
    "boxes or their numbers. "
    'Answer with JSON alone: a list of {"question": ..., "answer": ...}.'
)
_ASKS = {
    "conversation": "Write three to five questions of a person about the picture, each with its short and definite "
    "answer: what is there, how many, of what colour, where, in which relation. Leave out what cannot be told for "
    "certain.",
    "detail": "Write one question that asks for a detailed description of the picture, and that description as "
    "its answer.",
    "reasoning": "Write one question about the picture whose answer needs reasoning beyond what is directly seen, and "
    "an answer that gives the reasons step by step.",
}
_LEAKS = re.compile(
    r"\b(captions?|bounding|box(es)?|coordinates?|x-axis|y-axis|the description|described)\b|\d\.\d\d", re.I
)
_OPEN = re.compile(r"\s*(is|are|was|were|do|does|did|has|have|can|could|how many)\b", re.I)
"""Questions that name what may not be there."""
_FENCE = re.compile(r"^```[a-z]*\s*|\s*```$")


@dataclass(frozen=True)
class Rejected:
    """What was made and is not used."""

    key: str
    kind: str
    reason: str
    text: str
    """All of it."""


@dataclass(frozen=True)
class Generated:
    """What a call of `generate` made."""

    count: int
    kinds: dict[str, int]
    """Conversations of each type."""
    turns: int
    rejected: list[Rejected]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Pictures without facts: key and reason."""

    def reasons(self) -> dict[str, int]:
        """How often each reason was met, the frequent ones first."""
        return dict(Counter(entry.reason.partition(":")[0] for entry in self.rejected).most_common())


def generate(
    facts: Iterable[Facts],
    output: Path,
    write: Writer,
    *,
    spread: Spread = in_turn,
    kinds: Sequence[str] = KINDS,
    names: Iterable[str] = (),
    left_out: list[tuple[str, str]] | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Generated:
    """Write conversations in LLaVA's layout, with their pictures.

    Args:
        facts: of each picture.
        output: folder to make: conversations.json, images/, rejected.jsonl, report.json.
        write: makes the text.
        spread: where it works, see `spread`: in turn, in threads, on Ray Data. What is made is the same.
        kinds: of `KINDS`; each picture gets one conversation of each.
        names: of all objects that may be invented; the facts' own are added.
        left_out: a list that the source adds to while it is read.
        overwrite: whether a list that is there may be replaced.
        progress: whether to show a bar.

    Raises:
        ConfigError: a kind that there is not.
        OutputError: the place is taken or cannot be written.
        EndpointError: the endpoint gave up; what it answered is kept, and the same call goes on.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(
            f"there are no instructions of type '{unknown[0]}'", do=f"choose of {', '.join(KINDS)}"
        )
    if (output / LIST).exists() and not overwrite:
        raise OutputError(
            "holds conversations already", where=output, do="choose another folder, or add --overwrite"
        )
    held = list(facts)
    known = {*names, *(thing.name for each in held for thing in each.things)}
    entries, rejected, counts, turns = [], [], Counter[str](), 0
    jobs = [(each, kind) for each in held for kind in kinds]
    with DelayedBar("writing instructions", len(jobs), show=progress) as bar:
        for (each, kind), (text, found) in zip(jobs, spread(write, jobs), strict=True):
            bar.advance()
            reason = checked(found, each, known, kind)
            if reason is not None or found is None:
                rejected.append(Rejected(each.key, kind, reason or "no turns", text))
                continue
            counts[kind] += 1
            turns += len(found)
            entries.append((each, kind, found))
    result = Generated(len(entries), dict(counts), turns, rejected, left_out or [])
    _save(entries, result, output)
    return result


def open_facts(
    path: Path | None, *, count: int, seed: int
) -> tuple[list[Facts], list[str], list[tuple[str, str]]]:
    """The facts of a source, the names of objects that may be invented besides theirs, and what is left out.

    Args:
        path: of a data set; None for scenes of the built-in world.
        count: scenes.
        seed: of the scenes.

    Raises:
        DataError: the data cannot be read, or none of it has captions or boxes.
    """
    if path is None:
        return list(of_world(count, seed)), list(WORLD_KINDS), []
    left_out: list[tuple[str, str]] = []
    found = list(of_data(path, lambda key, reason: left_out.append((key, reason))))
    if not found:
        reason = f"; the first, '{left_out[0][0]}': {left_out[0][1]}" if left_out else ""
        raise DataError(
            f"has no picture with captions or boxes{reason}",
            where=path,
            do="give COCO annotations, or captions",
        )
    return found, [], left_out


def checked(turns: list[tuple[str, str]] | None, facts: Facts, names: Iterable[str], kind: str) -> str | None:
    """Why turns are not used, or None where nothing is wrong with them."""
    if turns is None:
        return "not the list that was asked for"
    if not 1 <= len(turns) <= 12:
        return f"another number of turns: {len(turns)}"
    if kind != "conversation" and len(turns) > 1:
        return f"more than one turn: {len(turns)}"
    for question, answer in turns:
        if not question.strip() or not answer.strip():
            return "an empty question or answer"
        if len(answer) > 4000 or len(question) > 1000:
            return "too long"
        if IMAGE_MARK in question + answer or "</s>" in question + answer:
            return "a mark of the vocabulary in it"
        if leak := _LEAKS.search(f"{question} {answer}"):
            return f"it tells how it was made: '{leak[0]}'"
        agreed = re.match(r"\s*yes\b", answer, re.I)
        said = f"{question} {answer}" if agreed or not _OPEN.match(question) else answer
        if more := invented(said, facts, names):
            return f"invented: {', '.join(more)}"
    return None


def by_grammar(seed: int = 0) -> Writer:
    """A writer that needs no model: true sentences from boxes and captions, or from the scene where there is one."""

    def write(facts: Facts, kind: str) -> Made:
        turns = written(facts, kind, generator(seed, KINDS.index(kind), sum(facts.key.encode())))
        return json.dumps(turns), turns or None

    return write


def by_endpoint(endpoint: Endpoint, *, temperature: float = 0.7) -> Writer:
    """A writer that asks a language model."""

    def write(facts: Facts, kind: str) -> Made:
        asked = [
            {"role": "system", "content": f"{_COMMON} {_ASKS[kind]}"},
            {"role": "user", "content": facts.told()},
        ]
        text = endpoint.chat(asked, temperature=temperature, most=1024).text
        return text, _turns(text)

    return write


def _turns(text: str) -> list[tuple[str, str]] | None:
    """The turns of an answer; None where it is not what was asked for."""
    try:
        content = json.loads(_FENCE.sub("", text.strip()))
    except ValueError:
        return None
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return None
    turns = []
    for entry in content:
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(name), str) for name in ("question", "answer")
        ):
            return None
        turns.append((entry["question"].strip(), entry["answer"].strip()))
    return turns


def _save(entries: list[tuple[Facts, str, list[tuple[str, str]]]], result: Generated, output: Path) -> None:
    """The pictures first, the list last: a list that is there is whole."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        names: dict[str, str] = {}
        rows: list[dict[str, Any]] = []
        for facts, kind, turns in entries:
            if facts.key not in names:
                names[facts.key] = _picture(facts, output)
            said: list[dict[str, str]] = []
            for number, (question, answer) in enumerate(turns):
                asked = f"{IMAGE_MARK}\n{question}" if number == 0 else question
                said += [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
            rows.append(
                {"id": f"{facts.key}-{kind}", "image": names[facts.key], "type": kind, "conversations": said}
            )
        lines = [json.dumps(entry.__dict__, ensure_ascii=False) + "\n" for entry in result.rejected]
        write_whole(output / REJECTED, "".join(lines).encode())
        report = {
            "conversations": result.count,
            "types": result.kinds,
            "turns": result.turns,
            "rejected": result.reasons(),
            "left_out": [{"key": key, "reason": reason} for key, reason in result.left_out],
        }
        write_whole(output / REPORT, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
        write_whole(output / LIST, (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=output,
            do="free some space or choose another folder",
        ) from error


def _picture(facts: Facts, output: Path) -> str:
    from visionsmith.data.records.pack import file_stem, picture_ending

    name = f"images/{file_stem(facts.key)}{picture_ending(facts.image)}"
    (output / name).unlink(missing_ok=True)
    return write_picture(Sample(facts.key, facts.image), output)
