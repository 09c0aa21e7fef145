"""Training samples: the built-in exercises without end, or a user's dialogues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer
from torch.utils.data import Dataset

from visionsmith.data.sampler import Key, generator
from visionsmith.papers.swimbird.chat import SPECIAL, Encoded, Turn, encode_chat
from visionsmith.papers.swimbird.config import SwimBirdConfig
from visionsmith.papers.swimbird.recipes import ROUND, SwimBirdRecipe
from visionsmith.papers.swimbird.tasks import (
    KINDS,
    SEEING,
    WORDS,
    describe_scene,
    dialogue,
    exercise,
    name_things,
)
from visionsmith.papers.vocabulary import learn_byte_pairs

__all__ = ["WorldChats", "learn_vocabulary"]

_TEXTS = 1500
"""Exercises whose texts the vocabulary is learned from."""

_NAMED = 6
"""Things of a dialogue that names them."""
_MANY = 4
"""Things of a picture from which on more is asked than what is where."""
_PLAIN, _THOUGHT = 6, 3
"""Questions about a picture that are answered at once, and after thinking: about equally many words."""


class WorldChats(Dataset[Any]):
    """Dialogues about the built-in world; each (epoch, index) is another one."""

    def __init__(self, recipe: SwimBirdRecipe, config: SwimBirdConfig, tokenizer: Tokenizer) -> None:
        """Make it.

        Args:
            recipe: what is taught, and when.
            config: of the model; budgets and ids.
            tokenizer: its vocabulary.
        """
        self.recipe, self.config, self.tokenizer = recipe, config, tokenizer
        self.name_epochs = recipe.name_steps // ROUND
        self.sight_epochs = self.name_epochs + recipe.sight_steps // ROUND

    def __getitem__(self, key: Key) -> Encoded:
        epoch, index = key
        rng = generator(self.recipe.train.seed, epoch, index)
        side = self.recipe.side
        turns: list[Turn]
        if epoch < self.name_epochs:
            turns = name_things(rng, _NAMED, side=side)
        elif epoch < self.sight_epochs:
            most = 1 + (epoch - self.name_epochs) * ROUND // self.recipe.lesson
            if most < _MANY or self._turn(key, self.recipe.caption_share):
                turns = describe_scene(rng, side=side, most=min(most, 5))
            else:
                turns = dialogue(rng, _PLAIN, side=side, think=False)
        else:
            # What needs no picture is only learned together with its reasons.
            kinds = WORDS if self._turn(key, len(WORDS) / len(KINDS)) else SEEING
            turns = dialogue(rng, _THOUGHT, side=side, think=True, looks=self.recipe.looks, kinds=kinds)
        return encode_chat(turns, self.tokenizer, self.config, system=self.recipe.system)

    def _turn(self, key: Key, share: float) -> bool:
        """Whether a sample's batch is one of a share of the batches, which are evenly spread.

        A batch is as long as its longest dialogue. With short and long ones in all batches, half of the work was done
        on nothing.
        """
        epoch, index = key
        batch = epoch * ROUND + index // self.recipe.train.batch_size
        return int((batch + 1) * share) > int(batch * share)


def learn_vocabulary(size: int) -> Tokenizer:
    """A vocabulary learned from the texts of the built-in exercises: always the same one."""
    return learn_byte_pairs(_texts(), size=size, special=SPECIAL)


def _texts() -> Iterator[str]:
    for index in range(_TEXTS):
        rng = generator(26_02, 0, index)
        turns = describe_scene(rng, side=32)
        turns += exercise(KINDS[index % len(KINDS)], rng, side=32).turns()
        yield from (turn.text.replace("<thought>", "") for turn in turns)
