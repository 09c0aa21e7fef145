"""Training samples: a conversation as ids, with its pictures or with what the tower has seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from visionsmith.data.sampler import Key, generator
from visionsmith.losses.language import IGNORED
from visionsmith.papers.llava.conversation import Encoded, Layout, Turn, encode
from visionsmith.papers.llava.dialogue import converse, tell
from visionsmith.papers.llava.instruct import InstructConfig

__all__ = ["ConversationCollate", "ConversationDataset", "Conversations", "Sample", "ToldDataset"]


@dataclass(frozen=True)
class Sample:
    """A conversation and its pictures."""

    encoded: Encoded
    images: list[np.ndarray] = field(default_factory=list)
    """RGB HWC uint8, all of one side."""
    features: list[np.ndarray] = field(default_factory=list)
    """Instead: what the tower sees in them, float16 `n c`."""


class Conversations(Protocol):
    """Where conversations come from; every random choice from the key."""

    def __len__(self) -> int:
        """Conversations of an epoch."""

    def pictures(self, key: Key) -> list[np.ndarray]:
        """RGB HWC uint8, of the model's side."""

    def turns(self, key: Key) -> list[Turn]:
        """Questions and answers, with a mark for each picture."""


class ConversationDataset(Dataset[Sample]):
    """`dataset[(epoch, index)]` -> a `Sample` with pictures."""

    def __init__(self, source: Conversations, layout: Layout) -> None:
        self.source, self.layout = source, layout

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: Key) -> Sample:
        images = self.source.pictures(key)
        return Sample(encode(self.source.turns(key), self.layout, pictures=len(images)), images=images)


class ToldDataset(Dataset[Sample]):
    """Conversations of the built-in world with the scene told in words: what is learned before anything is seen.

    Every token is learned, as a language model learns; an assistant it becomes later.
    """

    def __init__(self, layout: Layout, mix: InstructConfig, seed: int) -> None:
        self.layout, self.mix, self.seed = layout, mix, seed

    def __getitem__(self, key: Key) -> Sample:
        rng = generator(self.seed, *key)
        dialogue = converse(rng, self.mix)
        (question, answer), *rest = dialogue.turns
        told = "\n".join(tell(scene, rng) for scene in dialogue.scenes)
        encoded = encode([(f"{told}\n{question}", answer), *rest], self.layout)
        return Sample(replace(encoded, labels=encoded.ids))


class ConversationCollate:
    """Samples -> {"ids", "labels": int64 `b t`, and "images" uint8 `p h w 3` or "features" float16 `p n c`}.

    Rows are padded at the right.
    """

    def __init__(self, pad_token: int) -> None:
        self.pad_token = pad_token

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """See the class."""
        ids = [sample.encoded.ids for sample in samples]
        labels = [sample.encoded.labels for sample in samples]
        batch = {
            "ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_token),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        }
        for name in ("images", "features"):
            if found := [array for sample in samples for array in getattr(sample, name)]:
                batch[name] = torch.from_numpy(np.stack(found))
        return batch
