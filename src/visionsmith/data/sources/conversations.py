r"""Conversations about a picture: rows as LLaVA, ShareGPT and chat "messages" write them.

    LLaVA, ShareGPT   {"id": ..., "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\n..."},
                       {"from": "gpt", "value": ...}, ...]}
    messages          {"images": ["a.jpg"], "messages": [{"role": "user", "content": ...},
                       {"role": "assistant", "content": ...}, ...]}

A sample keeps them in LLaVA's form under "conversations" in its metadata. Its caption is the first answer,
unless the row has a "caption". A bare `<image>` with one answer is a caption and no conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "ANSWERS",
    "ASKS",
    "CONVERSATIONS",
    "PICTURE_MARK",
    "SPEAKERS",
    "derived_caption",
    "is_turns",
    "plain_row",
]

CONVERSATIONS = "conversations"
"""Entry of a sample's metadata that holds the turns: [{"from": "human", "value": ...}, ...]."""
PICTURE_MARK = "<image>"
"""Stands for the picture in the text of a turn."""
ASKS, ANSWERS = "human", "gpt"
SPEAKERS = {"user": ASKS, "assistant": ANSWERS}
"""Roles of messages by the names that LLaVA gives them; others ("system") are the same in both."""

_FORMS = (("from", "value"), ("role", "content"))
_USED = frozenset({"id", "image", "images", "caption", "meta", CONVERSATIONS, "messages"})

Turn = dict[str, Any]


def plain_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with a conversation as a plain one: "image", "meta", and where they are known "key" and "caption".

    A row without a conversation comes back as it is.

    Raises:
        ValueError: a turn has no speaker or text, or there is more than one picture.
    """
    name = next((name for name in (CONVERSATIONS, "messages") if isinstance(row.get(name), list)), None)
    if name is None:
        return row
    turns = [_turn(number, turn) for number, turn in enumerate(row[name], 1)]
    plain: dict[str, Any] = {"image": _picture(row)}
    if isinstance(row.get("id"), str | int):
        plain["key"] = str(row["id"])
    caption = row["caption"] if "caption" in row else derived_caption(turns) or None
    if caption is not None:
        plain["caption"] = caption
    meta = dict(row["meta"]) if isinstance(row.get("meta"), dict) else {}
    meta |= {key: value for key, value in row.items() if key not in _USED}
    if turns and not _is_caption(turns):
        meta[CONVERSATIONS] = turns
    return {**plain, "meta": meta}


def derived_caption(turns: Sequence[Mapping[str, Any]]) -> str:
    """The first answer of a conversation; empty when there is none."""
    return next((str(turn["value"]) for turn in turns if turn["from"] == ANSWERS), "")


def is_turns(value: object) -> bool:
    """Whether a value of the metadata is a conversation as `plain_row` makes it."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, dict)
            and isinstance(turn.get("from"), str)
            and isinstance(turn.get("value"), str)
            for turn in value
        )
    )


def _is_caption(turns: Sequence[Turn]) -> bool:
    if len(turns) != 2 or any(set(turn) != {"from", "value"} for turn in turns):
        return False
    return turns[0] == {"from": ASKS, "value": PICTURE_MARK} and turns[1]["from"] == ANSWERS


def _turn(number: int, turn: object) -> Turn:
    if isinstance(turn, dict):
        for speaker, text in _FORMS:
            if isinstance(turn.get(speaker), str) and text in turn:
                others = {key: value for key, value in turn.items() if key not in (speaker, text)}
                name = SPEAKERS.get(turn[speaker], turn[speaker])
                return {"from": name, "value": _text(number, turn[text]), **others}
    raise ValueError(f"turn {number} of its conversation has no from and value, or role and content")


def _text(number: int, content: object) -> str:
    """The text of a turn; of parts, joined, with a mark where the picture stands."""
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for part in content if isinstance(content, list) else [None]:
        entry = part if isinstance(part, dict) else {}
        if entry.get("type") in ("image", "image_url"):
            parts.append(PICTURE_MARK)
        elif entry.get("type") == "text" and isinstance(entry.get("text"), str):
            parts.append(entry["text"])
        else:
            raise ValueError(f"turn {number} of its conversation is neither text nor parts of text and image")
    return "\n".join(parts)


def _picture(row: Mapping[str, Any]) -> object:
    """The path of the picture, or None for a conversation without one."""
    images = row.get("image", row.get("images"))
    if not isinstance(images, list):
        return images or None
    if len(images) > 1:
        raise ValueError(f"it has {len(images)} pictures; a record holds one")
    picture = images[0] if images else None
    return picture.get("path") if isinstance(picture, dict) else picture
