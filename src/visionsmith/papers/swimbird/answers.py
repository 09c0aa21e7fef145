"""What an answer says, apart: the reasoning, the answer, and which way the model chose to think."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tokenizers import Tokenizer

from visionsmith.papers.swimbird.config import SwimBirdConfig
from visionsmith.papers.swimbird.generate import Written

__all__ = ["Answer", "Mode", "read_answer"]

Mode = Literal["text", "vision", "interleaved"]
"""Reasoning in words only, in latent thoughts only, or in both."""

_REASON = re.compile(r"<reason>(.*?)(?:</reason>|<answer>|$)", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
_MARK = "\x00"
"""Stands for a span while the text is taken apart; no text that was decoded contains it as a token."""


@dataclass(frozen=True)
class Answer:
    """An answer, read."""

    text: str
    """Between the answer tags; everything outside of the spans where there are none."""
    reason: str
    """Between the reason tags, spans written as "[n thoughts]"."""
    mode: Mode
    lengths: tuple[int, ...]
    """Thoughts of each span."""
    well_formed: bool
    """Whether it ended by itself and has an answer between tags."""


def read_answer(written: Written, tokenizer: Tokenizer, config: SwimBirdConfig) -> Answer:
    """Take an answer apart."""
    outside: list[str] = []
    piece: list[int] = []
    for token in written.ids:
        if token == config.latent_start_id:
            outside.append(tokenizer.decode(piece, skip_special_tokens=True))
            piece = []
        elif token not in (config.latent_id, config.latent_end_id):
            piece.append(token)
    outside.append(tokenizer.decode(piece, skip_special_tokens=True))
    lengths = tuple(span.length for span in written.spans)
    text = _MARK.join(outside)
    reason = found[1] if (found := _REASON.search(text)) else ""
    words = reason.replace(_MARK, " ").strip()
    mode: Mode = "text" if not lengths else "interleaved" if words else "vision"
    answer = _ANSWER.search(text)
    return Answer(
        text=(answer[1] if answer else text).replace(_MARK, " ").strip(),
        reason=_with_counts(reason, text, lengths),
        mode=mode,
        lengths=lengths,
        well_formed=written.ended and answer is not None and "</answer>" in text,
    )


def _with_counts(reason: str, text: str, lengths: tuple[int, ...]) -> str:
    """The reason with each span as "[n thoughts]"."""
    first = text[: text.find(reason)].count(_MARK) if reason else 0
    parts = reason.split(_MARK)
    spans = [f"[{count} thought{'s' * (count != 1)}]" for count in lengths[first : first + len(parts) - 1]]
    joined = parts[0] + "".join(span + part for span, part in zip(spans, parts[1:], strict=True))
    return re.sub(r"\s+", " ", joined).strip()
