"""Dialogues as token ids: where pictures and thoughts go, and which tokens are learned.

A dialogue is rendered once as text (Qwen's ChatML) and encoded once. Which tokens are supervised follows from the
places of characters, so it is right for any number of turns and any tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from visionsmith.config import override
from visionsmith.errors import DataError
from visionsmith.losses.language import IGNORED
from visionsmith.papers.swimbird.config import SwimBirdConfig
from visionsmith.papers.swimbird.patches import Patches, cut, join, square
from visionsmith.papers.vocabulary import token_id

__all__ = ["IMAGE", "SPECIAL", "SYSTEM", "THOUGHT", "TOKENS", "Encoded", "Turn", "encode_chat", "with_ids"]

IMAGE = "<image>"
"""Stands in a user's text where a picture goes."""
THOUGHT = "<thought>"
"""Stands in an answer where a thought picture goes."""

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|latent|>",
    "<|latent_start|>", "<|latent_end|>",
)  # fmt: skip
"""Tokens that text may not contain; the last three are SwimBird's own."""

TOKENS = {
    "image_id": "<|image_pad|>",
    "vision_start_id": "<|vision_start|>",
    "vision_end_id": "<|vision_end|>",
    "latent_id": "<|latent|>",
    "latent_start_id": "<|latent_start|>",
    "latent_end_id": "<|latent_end|>",
    "end_id": "<|im_end|>",
}
"""Setting of `SwimBirdConfig` -> the token whose id it holds."""

SYSTEM = (
    "You think before you answer, in words, in latent thoughts, or in both, as the question needs. "
    "Write <reason>the steps</reason>, then <answer>the answer</answer>."
)
"""What a dialogue begins with, unless another text is given."""


@dataclass(frozen=True)
class Turn:
    """What one side says."""

    role: str
    """"user" or "assistant"."""
    text: str
    """With `IMAGE` (user) or `THOUGHT` (assistant) where its pictures go; a user's pictures that have no place come
    first."""
    pictures: tuple[np.ndarray, ...] = ()
    """RGB HWC uint8."""


@dataclass(frozen=True)
class Encoded:
    """A dialogue, ready for a batch."""

    ids: Tensor
    """int64 `t`."""
    labels: Tensor
    """int64 `t`; `IGNORED` but where an answer, its end, or the start or end of a span is learned."""
    pictures: Patches | None
    thoughts: Patches | None
    known: Tensor | None = None
    """In place of the thought pictures: what the tower saw in them, `m d`."""


def encode_chat(
    turns: Sequence[Turn],
    tokenizer: Tokenizer,
    config: SwimBirdConfig,
    *,
    system: str = SYSTEM,
    answer: bool = False,
    known: Sequence[Tensor] | None = None,
) -> Encoded:
    """Encode a dialogue.

    Args:
        turns: in order.
        tokenizer: knows the tokens of `SPECIAL`.
        config: ids and budgets.
        system: what it begins with; empty for nothing.
        answer: whether it ends where the assistant is to go on.
        known: what the tower saw in each thought picture, `k d`; the answers then need not carry them.

    Raises:
        DataError: a special token in a text, or a picture without a place.
    """
    merge = config.vision.spatial_merge_size
    pictures: list[Patches] = []
    thoughts: list[Patches] = []
    pieces: list[tuple[str, bool]] = []
    waiting = list(known or ())
    if system:
        pieces.append((f"<|im_start|>system\n{_plain(system)}<|im_end|>\n", False))
    for turn in turns:
        mark, most = (
            (IMAGE, config.max_image_token) if turn.role == "user" else (THOUGHT, config.max_latent_token)
        )
        least = config.min_image_token if turn.role == "user" else 1
        if turn.role != "user" and known is not None:
            own, waiting = waiting[: turn.text.count(mark)], waiting[turn.text.count(mark) :]
            counts = [len(seen) for seen in own]
        else:
            shown = turn.pictures
            if turn.role != "user" and config.fixed_latent:
                shown = tuple(square(picture, config.vision, most=most) for picture in shown)
            cuts = [cut(picture, config.vision, least=least, most=most) for picture in shown]
            (pictures if turn.role == "user" else thoughts).extend(cuts)
            counts = [part.tokens(merge)[0] for part in cuts]
        body = "".join(_spelt(turn, mark, counts))
        pieces.append((f"<|im_start|>{turn.role}\n", False))
        pieces.append((f"{body}<|im_end|>", turn.role == "assistant"))
        pieces.append(("\n", False))
    if answer:
        pieces.append(("<|im_start|>assistant\n", False))
    text = "".join(piece for piece, _ in pieces)
    learned = np.concatenate([np.full(len(piece), flag) for piece, flag in pieces])
    encoded = tokenizer.encode(text, add_special_tokens=False)
    ids = torch.tensor(encoded.ids)
    starts = torch.tensor([start for start, _ in encoded.offsets])
    keep = torch.from_numpy(learned)[starts]
    if not config.supervise_stay:
        keep &= ids != config.latent_id
    labels = torch.where(keep, ids, IGNORED)
    return Encoded(ids, labels, join(pictures), join(thoughts), torch.cat(list(known)) if known else None)


def _spelt(turn: Turn, mark: str, tokens: Sequence[int]) -> Iterator[str]:
    """The parts of a turn's text, pictures and thoughts written as so many tokens."""
    text, waiting = turn.text, list(tokens)
    missing = len(tokens) - text.count(mark)
    if turn.role == "user" and missing > 0:
        text = mark * missing + text
    first, *others = text.split(mark)
    if len(others) != len(tokens):
        raise DataError(
            f"a turn has {len(others)} places for {len(tokens)} pictures",
            do=f"write {mark} once for each picture",
        )
    yield _plain(first)
    for part in others:
        count = waiting.pop(0)
        if turn.role == "user":
            yield f"<|vision_start|>{'<|image_pad|>' * count}<|vision_end|>"
        else:
            yield f"<|latent_start|>{'<|latent|>' * count}<|latent_end|>"
        yield _plain(part)


def _plain(text: str) -> str:
    for token in SPECIAL:
        if token in text:
            raise DataError(f"a text contains the token {token}", do="leave it out")
    return text


def with_ids(config: SwimBirdConfig, tokenizer: Tokenizer, *, where: Path | None = None) -> SwimBirdConfig:
    """The config with a tokenizer's ids of the special tokens, and a vocabulary that has room for them.

    Raises:
        CheckpointError: the tokenizer lacks one.
    """
    ids = {name: token_id(tokenizer, token, where=where) for name, token in TOKENS.items()}
    size = max(config.text.vocab_size, tokenizer.get_vocab_size(), max(ids.values()) + 1)
    return override(config, {"text": {"vocab_size": size}, **ids})
