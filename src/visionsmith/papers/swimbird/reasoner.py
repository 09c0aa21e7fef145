"""SwimBird as a user meets it: pictures and a question in, a way of thinking and an answer out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from visionsmith.config import encode
from visionsmith.errors import ConfigError
from visionsmith.papers.swimbird.answers import Answer, read_answer
from visionsmith.papers.swimbird.chat import SYSTEM, Turn, encode_chat
from visionsmith.papers.swimbird.generate import Replace, Sampling, Written, generate
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.objective import collate_chats
from visionsmith.papers.vocabulary import vocabulary_file

if TYPE_CHECKING:
    from visionsmith.train.task import Export

__all__ = ["Reasoner"]

Asked = tuple[str, Sequence[np.ndarray]]
"""A question and its pictures (RGB HWC uint8)."""


class Reasoner:
    """A SwimBird with its vocabulary.

    bird = visionsmith.load("swimbird")
    bird.ask("What is in the middle?", ["scene.png"]).text      # "a red cat"
    """

    def __init__(self, model: SwimBird, tokenizer: Tokenizer, *, system: str = SYSTEM) -> None:
        """Put it together.

        Args:
            model: put into evaluation mode where it only answers.
            tokenizer: knows the tokens of `chat.SPECIAL`.
            system: what its dialogues begin with.
        """
        self.model, self.tokenizer, self.system = model, tokenizer, system

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def to(self, device: str | torch.device) -> Reasoner:
        """Move the model."""
        self.model.to(device)
        return self

    def ask(
        self, question: str, pictures: Sequence[str | Path | np.ndarray] = (), *, most: int = 256
    ) -> Answer:
        """Answer one question about any number of pictures."""
        from visionsmith.image.io import read_image

        read = [picture if isinstance(picture, np.ndarray) else read_image(picture) for picture in pictures]
        return self.ask_all([(question, read)], most=most)[0][0]

    def ask_all(
        self,
        asked: Sequence[Asked],
        *,
        batch: int = 16,
        most: int = 256,
        sampling: Sampling | None = None,
        replace: Replace | None = None,
    ) -> list[tuple[Answer, Written]]:
        """Answer many questions, so many at a time.

        Args:
            asked: questions with their pictures.
            batch: rows that are written together.
            most: most tokens an answer, thoughts included.
            sampling: how tokens are chosen; None: the most probable.
            replace: changes what is fed back as a thought.

        Raises:
            ConfigError: an empty question.
            DataError: a special token in a question, or a picture that fits no grid.
        """
        if any(not question.strip() for question, _ in asked):
            raise ConfigError("a question is empty", do='ask something, as in --ask "What is in the middle?"')
        # Of like lengths together, so that little is padding.
        order = sorted(range(len(asked)), key=lambda place: (len(asked[place][1]), len(asked[place][0])))
        found: list[tuple[Answer, Written] | None] = [None] * len(asked)
        for places in _parts(order, batch):
            for place, written in zip(
                places, self._write([asked[place] for place in places], most, sampling, replace), strict=True
            ):
                answer = read_answer(written, self.tokenizer, self.model.config)
                found[place] = (answer, written)
        return [each for each in found if each is not None]

    def _write(
        self, asked: Sequence[Asked], most: int, sampling: Sampling | None, replace: Replace | None
    ) -> list[Written]:
        config = self.model.config
        chats = [
            encode_chat(
                [Turn("user", question, tuple(pictures))],
                self.tokenizer,
                config,
                system=self.system,
                answer=True,
            )
            for question, pictures in asked
        ]
        longest = max(len(chat.ids) for chat in chats)
        if (room := config.text.max_position_embeddings - longest) < 1:
            raise ConfigError(
                f"a question takes {longest:,} tokens, and the model reads {config.text.max_position_embeddings:,}",
                do="give fewer or smaller pictures, or a shorter question",
            )
        batch = collate_chats(chats, pad=config.end_id, left=True)
        moved = {name: value.to(self.device) for name, value in batch.items()}
        was_training = self.model.training
        self.model.eval()
        try:
            return generate(self.model, moved, most=min(most, room), sampling=sampling, replace=replace)
        finally:
            self.model.train(was_training)

    def export(self, state: dict[str, Tensor]) -> Export:
        """The checkpoint of a state dict of this model: matrices in float16, what training leaves of them."""
        from visionsmith.train.task import Export

        tied = self.model.config.tie_word_embeddings
        tensors = {
            name: value.half() if value.ndim > 1 and value.is_floating_point() else value
            for name, value in state.items()
            if not (tied and name == "qwen.lm_head.weight")
        }
        settings = {"model": encode(self.model.config), "system": self.system}
        return Export(config=settings, tensors=tensors, files=vocabulary_file(self.tokenizer))


def _parts(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
