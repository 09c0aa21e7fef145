"""Conversations about pictures: metadata.jsonl in LLaVA's form or as chat messages, and a folder of pictures.

A sample without a conversation becomes one: the picture, then its caption as the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from visionsmith.data.exports.pictures import write_picture
from visionsmith.data.sample import Sample
from visionsmith.data.sources.conversations import (
    ANSWERS,
    ASKS,
    CONVERSATIONS,
    PICTURE_MARK,
    SPEAKERS,
    derived_caption,
    is_turns,
)
from visionsmith.data.sources.problems import OnProblem

__all__ = ["write_llava", "write_messages"]

_ROLES = {speaker: role for role, speaker in SPEAKERS.items()}

Row = dict[str, Any]


def write_llava(samples: Iterable[Sample], folder: Path, cannot_hold: OnProblem) -> None:
    """Write samples in LLaVA's form into an empty folder; there is a place for every sample."""
    _write(samples, folder, _llava)


def write_messages(samples: Iterable[Sample], folder: Path, cannot_hold: OnProblem) -> None:
    """Write samples as chat messages into an empty folder; there is a place for every sample."""
    _write(samples, folder, _messages)


def _write(samples: Iterable[Sample], folder: Path, row: Callable[[str | None, list[Row]], Row]) -> None:
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as stream:
        for sample in samples:
            picture = write_picture(sample, folder) if sample.image else None
            turns, others = _turns(sample)
            line: Row = {"id": sample.key, **row(picture, turns)}
            if sample.caption != derived_caption(turns):
                line["caption"] = sample.caption or None
            if others:
                line["meta"] = others
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def _turns(sample: Sample) -> tuple[list[Row], Row]:
    """The conversation of a sample, and what else its metadata hold."""
    others = dict(sample.meta)
    if is_turns(others.get(CONVERSATIONS)):
        return others.pop(CONVERSATIONS), others
    if not sample.caption:
        return [], others
    return [{"from": ASKS, "value": PICTURE_MARK}, {"from": ANSWERS, "value": sample.caption}], others


def _llava(picture: str | None, turns: list[Row]) -> Row:
    return {**({"image": picture} if picture else {}), CONVERSATIONS: turns}


def _messages(picture: str | None, turns: list[Row]) -> Row:
    return {"images": [picture] if picture else [], "messages": [_message(turn) for turn in turns]}


def _message(turn: Mapping[str, Any]) -> Row:
    others = {name: value for name, value in turn.items() if name not in ("from", "value")}
    return {"role": _ROLES.get(turn["from"], turn["from"]), "content": turn["value"], **others}
