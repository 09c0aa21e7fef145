"""A user's own dialogues, in the published layout: a JSON list of conversations with pictures and thought pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer
from torch.utils.data import Dataset

from visionsmith.data.sampler import Key
from visionsmith.errors import DataError
from visionsmith.image.io import read_image
from visionsmith.papers.swimbird.chat import IMAGE, THOUGHT, Encoded, Turn, encode_chat
from visionsmith.papers.swimbird.config import SwimBirdConfig

if TYPE_CHECKING:
    from visionsmith.papers.swimbird.reasoner import Reasoner
    from visionsmith.papers.swimbird.thoughts import KeptThoughts

__all__ = ["Dialogue", "DialogueChats", "measure_dialogues", "read_dialogues"]

_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"}
_PLACES = ("<image>", "<reasoning_image>", "<thought>")


@dataclass(frozen=True)
class Dialogue:
    """One item: turns whose pictures are files."""

    turns: tuple[tuple[str, str, tuple[Path, ...]], ...]
    """Role, text with `IMAGE` or `THOUGHT`, files."""
    answer: str
    """What is compared with; empty where the item has none."""

    def read(self, *, questions: bool = True, thoughts: bool = True) -> list[Turn]:
        """The turns with their pictures read: those of the questions, and the thought pictures."""
        wanted = {"user": questions, "assistant": thoughts}
        return [
            Turn(role, text, tuple(map(read_image, files if wanted[role] else ())))
            for role, text, files in self.turns
        ]


def read_dialogues(path: Path) -> list[Dialogue]:
    """Read a list of dialogues.

    Args:
        path: a JSON list, or a folder with one `*.json`. An item has "conversations" (a list of {"from": "human" or
            "gpt", "value": text}), "image" (files of `<image>` in the human's texts), "reasoning_image" (files of
            `<image>`, `<reasoning_image>` or `<thought>` in the answers) and "answer"; files are relative to the list.

    Raises:
        DataError: it cannot be read, is empty, or an item is malformed; names the item.
    """
    if path.is_dir():
        lists = sorted(path.glob("*.json"))
        if len(lists) != 1:
            raise DataError(
                f"holds {len(lists)} JSON files", where=path, do="name the list of dialogues itself"
            )
        path = lists[0]
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"is not a JSON list ({error})", where=path, do="give a list of dialogues") from error
    if not isinstance(items, list) or not items:
        raise DataError("holds no list of dialogues", where=path, do='give [{"conversations": [...]}, ...]')
    return [_read(item, path, place) for place, item in enumerate(items)]


class DialogueChats(Dataset[Any]):
    """Dialogues, encoded when they are asked for."""

    def __init__(
        self,
        dialogues: Sequence[Dialogue],
        config: SwimBirdConfig,
        tokenizer: Tokenizer,
        *,
        system: str,
        kept: KeptThoughts | None = None,
    ) -> None:
        self.dialogues, self.config, self.tokenizer, self.system = dialogues, config, tokenizer, system
        self.kept = kept

    def __getitem__(self, key: Key) -> Encoded:
        _, index = key
        turns = self.dialogues[index].read(thoughts=self.kept is None)
        known = None if self.kept is None else self.kept[index]
        return encode_chat(turns, self.tokenizer, self.config, system=self.system, known=known)


def measure_dialogues(bird: Reasoner, dialogues: Sequence[Dialogue], *, progress: bool) -> Mapping[str, Any]:
    """Share of dialogues whose first question is answered with exactly their "answer", apart from case."""
    from visionsmith.data.progress import DelayedBar

    asked = [dialogue for dialogue in dialogues if dialogue.answer]
    if not asked:
        raise DataError('no dialogue has an "answer" to compare with', do="add one to each item")
    right, modes = 0, dict.fromkeys(("text", "vision", "interleaved"), 0)
    with DelayedBar("dialogues", len(asked), show=progress) as bar:
        for dialogue in asked:
            first = dialogue.read()[0]
            answer, _ = bird.ask_all([(first.text.replace(IMAGE, "").strip(), first.pictures)])[0]
            right += answer.text.casefold() == dialogue.answer.strip().casefold()
            modes[answer.mode] += 1
            bar.advance()
    return {"accuracy": right / len(asked), "dialogues": len(asked), "modes": modes}


def _read(item: Any, path: Path, place: int) -> Dialogue:
    where = f"{path}, item {place}"
    if (
        not isinstance(item, dict)
        or not isinstance(item.get("conversations"), list)
        or not item["conversations"]
    ):
        raise DataError(
            "has no conversations", where=where, do='give "conversations": [{"from": ..., "value": ...}]'
        )
    files = {"user": _files(item, "image", path), "assistant": _files(item, "reasoning_image", path)}
    turns: list[tuple[str, str, tuple[Path, ...]]] = []
    for turn in item["conversations"]:
        role = _ROLES.get(turn.get("from", "")) if isinstance(turn, dict) else None
        if role is None or not isinstance(turn.get("value"), str):
            raise DataError("has a turn without speaker or text", where=where, do='give "from" and "value"')
        mark, text = (IMAGE, turn["value"]) if role == "user" else (THOUGHT, turn["value"])
        for other in _PLACES:
            text = text.replace(other, mark)
        count = text.count(mark)
        own, files[role] = files[role][:count], files[role][count:]
        if len(own) < count:
            raise DataError(f"names {count} pictures in a turn and has {len(own)} files for it", where=where)
        turns.append((role, text, tuple(own)))
    left = len(files["assistant"])
    if files["user"]:
        # Pictures without a place come before the first question.
        role, text, placed = turns[0]
        turns[0] = (role, IMAGE * len(files["user"]) + text, (*files["user"], *placed))
    if left:
        raise DataError(f"has {left} thought pictures that no answer has a place for", where=where)
    if all(role == "user" for role, _, _ in turns):
        raise DataError("has no answer to learn from", where=where, do="give a turn from gpt")
    return Dialogue(tuple(turns), str(item.get("answer") or ""))


def _files(item: Mapping[str, Any], key: str, path: Path) -> list[Path]:
    named = item.get(key) or []
    named = [named] if isinstance(named, str) else named
    found = [path.parent / name for name in named]
    for file in found:
        if not file.is_file():
            raise DataError(
                "a dialogue names a picture that is not there", where=file, do="copy it beside the list"
            )
    return found
