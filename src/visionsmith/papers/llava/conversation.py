"""How a conversation is written, and which of its tokens are learned.

A conversation is written out whole, with the characters of every answer noted, and encoded once. A token is learned
when it holds a character of an answer or of the mark that ends it. So no piece is encoded apart from its surroundings,
and no count of tokens has to come out right, whatever the tokenizer joins or adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from visionsmith.errors import ConfigError, DataError
from visionsmith.losses.language import IGNORED

__all__ = ["IMAGE_MARK", "TEMPLATES", "Encoded", "Layout", "Template", "Turn", "encode", "write"]

IMAGE_MARK = "<image>"
"""Where a picture stands in the text of a turn."""

Turn = tuple[str, str | None]
"""A question and its answer; None for the answer that is still to come."""


@dataclass(frozen=True)
class Template:
    """How turns are joined."""

    system: str
    """What stands before the first turn."""
    before_question: str
    before_answer: str
    """Stands right before the answer, which begins with `space`."""
    space: str
    after_answer: str
    """Ends an answer, and is learned with it."""
    wraps_system: bool = False
    """Whether the system's words stand inside the first question, as in Llama 2."""


_VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
_LLAMA = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)

TEMPLATES = {
    "plain": Template("", "", "", "", "\n"),
    "v0": Template(f"{_HUMAN}###", "Human: ", "###Assistant:", " ", "###"),
    "v1": Template(f"{_VICUNA} ", "USER: ", " ASSISTANT:", " ", "</s>"),
    "llama_2": Template(
        f"<<SYS>>\n{_LLAMA}\n<</SYS>>\n\n", "[INST] ", " [/INST]", " ", " </s>", wraps_system=True
    ),
}
"""The published layouts: "plain" for the captions of the first stage, the others by the model that is instructed."""


@dataclass(frozen=True)
class Layout:
    """A template with a tokenizer: all that it takes to go from turns to ids."""

    template: str
    tokenizer: Tokenizer
    image_token: int
    """Id that `IMAGE_MARK` is encoded as."""
    patches: int
    """Tokens that a picture takes."""
    context: int
    """Most tokens of a conversation, those of its pictures included."""
    start_token: int | None
    """Id that every conversation begins with, if any."""
    system: str | None = None
    """Other words before the first turn; None: the template's own."""


@dataclass(frozen=True)
class Encoded:
    """A conversation as ids; every picture is `patches` times the image token."""

    ids: Tensor
    """int64 `t`."""
    labels: Tensor
    """int64 `t`; `IGNORED` but at answers."""
    pictures: int


def write(
    turns: Sequence[Turn], template: str, system: str | None = None
) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation, and where its answers and the marks that end them are: (first, last + 1) character.

    Args:
        turns: questions with answers; the last answer may be None: then the text ends where it is to begin.
        template: of `TEMPLATES`.
        system: words before the first turn; None: the template's own.
    """
    form = TEMPLATES[template]
    opening = form.system if system is None else system
    text, spans = "" if form.wraps_system else opening, []
    for number, (question, answer) in enumerate(turns):
        inside = opening if form.wraps_system and number == 0 else ""
        if template == "plain":
            # A caption follows the picture alone; what was asked is left out (stage 1 of the public code).
            question = IMAGE_MARK * question.count(IMAGE_MARK)
        text += f"{form.before_question}{inside}{question}{form.before_answer}"
        if answer is None:
            break
        start = len(text)
        text += f"{form.space}{answer}{form.after_answer}"
        spans.append((start, len(text)))
    return text, spans


def encode(turns: Sequence[Turn], layout: Layout, *, pictures: int | None = None) -> Encoded:
    """A conversation as ids and labels.

    What does not fit into the context is cut off at the end, never inside of a picture; of a conversation that waits
    for an answer nothing is.

    Args:
        turns: questions with answers; the last answer may be None.
        layout: how it is written and encoded.
        pictures: how many there are; None: as many as the text has marks.

    Raises:
        DataError: the text has another number of marks than there are pictures, a picture does not fit, or a
            conversation that waits for an answer does not.
    """
    text, spans = write(turns, layout.template, layout.system)
    marks = text.count(IMAGE_MARK)
    if pictures is not None and marks != pictures:
        raise DataError(
            f"the text has {marks} {IMAGE_MARK} for {pictures} pictures",
            do=f"write one {IMAGE_MARK} for each picture",
        )
    found = layout.tokenizer.encode(text, add_special_tokens=False)
    ids = torch.tensor(found.ids, dtype=torch.int64)
    labels = torch.where(_learned(found.offsets, spans), ids, IGNORED)
    if layout.start_token is not None:
        ids = torch.cat([torch.tensor([layout.start_token]), ids])
        labels = torch.cat([torch.tensor([IGNORED]), labels])
    if (held := int((ids == layout.image_token).sum())) != marks:
        raise ConfigError(
            f"the tokenizer made {held} image tokens of {marks} marks",
            do=f"add {IMAGE_MARK} to its special tokens",
        )
    return _expand(ids, labels, layout, marks, may_cut=not turns or turns[-1][1] is not None)


def _learned(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> Tensor:
    """Which tokens hold a character of a span."""
    first, last = torch.tensor(offsets, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
    learned = torch.zeros(len(first), dtype=torch.bool)
    for start, end in spans:
        learned |= (last > start) & (first < end) & (last > first)
    return learned


def _expand(ids: Tensor, labels: Tensor, layout: Layout, pictures: int, *, may_cut: bool) -> Encoded:
    """Repeat every image token once a patch, and cut what is too long."""
    repeats = torch.where(ids == layout.image_token, layout.patches, 1)
    ends = repeats.cumsum(0)
    if len(ids) and (length := int(ends[-1])) > layout.context:
        if not may_cut:
            raise DataError(
                f"the conversation has {length:,} tokens and the model takes {layout.context:,}",
                do="ask a shorter question, or begin a new conversation",
            )
        kept = int((ends <= layout.context).sum())
        if (ids[kept:] == layout.image_token).any():
            raise DataError(
                f"its {pictures} pictures of {layout.patches} tokens do not fit into {layout.context} tokens",
                do="give fewer pictures, or shorter text before them",
            )
        ids, labels, repeats = ids[:kept], labels[:kept], repeats[:kept]
    return Encoded(ids.repeat_interleave(repeats), labels.repeat_interleave(repeats), pictures)
