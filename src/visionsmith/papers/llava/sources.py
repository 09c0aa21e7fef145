"""Where conversations come from: the built-in world, and a user's own data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from visionsmith.data.progress import DelayedBar
from visionsmith.data.records import RecordStore
from visionsmith.data.sample import Sample
from visionsmith.data.sampler import Key, generator
from visionsmith.data.sources.conversations import ANSWERS, ASKS, CONVERSATIONS, is_turns
from visionsmith.data.world import SEEN, Scene, caption, draw, make_scene
from visionsmith.errors import DataError, VisionsmithError
from visionsmith.image.io import decode
from visionsmith.losses.language import IGNORED
from visionsmith.papers.clip import resize_and_crop
from visionsmith.papers.llava.conversation import IMAGE_MARK, Layout, Turn, encode
from visionsmith.papers.llava.dialogue import Dialogue, converse, detailed
from visionsmith.papers.llava.instruct import InstructConfig

__all__ = ["Stored", "WorldCaptions", "WorldConversations", "open_stored", "placed"]

EPOCH = 4096
"""Built-in conversations that make an epoch; every epoch has new ones."""


class WorldCaptions:
    """Scenes with captions that name every thing: half of them in the order of their places, half in any."""

    def __init__(self, count: int | None, side: int, seed: int) -> None:
        """Make the source.

        Args:
            count: pictures, the same in every epoch; None: every epoch has new ones.
            side: of the pictures, pixels.
            seed: of everything.
        """
        self.count, self.side, self.seed = count, side, seed

    def __len__(self) -> int:
        return self.count or EPOCH

    def pictures(self, key: Key) -> list[np.ndarray]:
        """See `Conversations`."""
        return [draw(self._scene(key), self.side)]

    def turns(self, key: Key) -> list[Turn]:
        """See `Conversations`."""
        scene, rng = self._scene(key), generator(self.seed + 1, *key)
        # In order each word follows from the picture; out of order a place is found by its thing, a thing by its place.
        said = caption(scene) if rng.random() < 0.5 else detailed(scene, rng)[1]
        return [(IMAGE_MARK, said)]

    def _scene(self, key: Key) -> Scene:
        epoch = 0 if self.count else key[0]
        return make_scene(generator(self.seed, epoch, key[1]), pairs=SEEN)


class WorldConversations:
    """Conversations about scenes (second stage), new ones in every epoch."""

    def __init__(self, mix: InstructConfig, side: int, seed: int) -> None:
        self.mix, self.side, self.seed = mix, side, seed
        self._last: tuple[Key, Dialogue, list[Turn]] | None = None

    def __len__(self) -> int:
        return EPOCH

    def pictures(self, key: Key) -> list[np.ndarray]:
        """See `Conversations`."""
        return [draw(scene, self.side) for scene in self._made(key)[0].scenes]

    def turns(self, key: Key) -> list[Turn]:
        """See `Conversations`."""
        return self._made(key)[1]

    def _made(self, key: Key) -> tuple[Dialogue, list[Turn]]:
        if self._last is None or self._last[0] != key:
            rng = generator(self.seed, *key)
            dialogue = converse(rng, self.mix)
            self._last = key, dialogue, dialogue.with_pictures(rng)
        return self._last[1:]


class Stored:
    """Conversations or captions of a record store."""

    def __init__(self, store: RecordStore, indices: list[int], side: int, seed: int) -> None:
        """Make the source.

        Args:
            store: of pictures with conversations or captions.
            indices: records that are used.
            side: of the pictures, pixels.
            seed: of where the picture stands in the first turn.
        """
        self.store, self.indices, self.side, self.seed = store, indices, side, seed

    def __len__(self) -> int:
        return len(self.indices)

    def pictures(self, key: Key) -> list[np.ndarray]:
        """See `Conversations`."""
        number = self.indices[key[1]]
        record = self.store[number]
        if not record.image:
            return []
        return [resize_and_crop(decode(record.image, where=f"{self.store.path}[{number}]"), self.side)]

    def turns(self, key: Key) -> list[Turn]:
        """See `Conversations`."""
        number = self.indices[key[1]]
        record = self.store[number]
        turns = stored_turns(record.meta, record.caption)
        return placed(turns, int(bool(record.image)), generator(self.seed, key[0], number))


def stored_turns(meta: Mapping[str, Any], caption: str) -> list[Turn]:
    """The turns of a record; a caption alone is the answer to the picture.

    Raises:
        DataError: a turn has no answer, or the conversation does not begin with a question.
    """
    said = meta.get(CONVERSATIONS)
    if not is_turns(said):
        return [(IMAGE_MARK, caption)] if caption else []
    assert isinstance(said, list), "is_turns has looked"
    said = [turn for turn in said if turn["from"] != "system"]
    speakers = [turn["from"] for turn in said]
    if speakers != [ASKS, ANSWERS] * (len(said) // 2):
        raise DataError(
            f"its conversation is not questions and answers in turn ({', '.join(map(str, speakers[:5]))})",
            do=f"let {ASKS} and {ANSWERS} speak in turn",
        )
    return [(said[at]["value"], said[at + 1]["value"]) for at in range(0, len(said), 2)]


def placed(turns: list[Turn], pictures: int, rng: np.random.Generator) -> list[Turn]:
    """The turns with the picture before or after the first question, at random (sec. 3, eq. 2).

    With several marks, or a mark in another turn, the writer's places stay.
    """
    if not turns or pictures != 1:
        return turns
    marks = [question.count(IMAGE_MARK) for question, _ in turns]
    if marks[0] > 1 or any(marks[1:]):
        return turns
    (question, answer), *rest = turns
    words = question.replace(IMAGE_MARK, "").strip()
    first = rng.random() < 0.5
    joined = "\n".join([IMAGE_MARK, words] if first else [words, IMAGE_MARK]) if words else IMAGE_MARK
    return [(joined, answer), *rest]


def open_stored(
    store: RecordStore, layout: Layout, side: int, seed: int, *, progress: bool = False
) -> tuple[Stored, list[tuple[str, str]]]:
    """The usable conversations of a store, and why the others are left out: (key, reason).

    Left out is what cannot be encoded, and what would train on nothing: without an answer, or with none that fits into
    the model's context.

    Raises:
        DataError: none is left.
    """
    usable, left_out = [], []
    with DelayedBar("reading conversations", len(store), show=progress) as bar:
        for number in range(len(store)):
            record = store[number]
            reason = _useless(record, layout, generator(seed, 0, number))
            if reason is None:
                usable.append(number)
            else:
                left_out.append((record.key, reason))
            bar.advance()
    if not usable:
        key, reason = left_out[0]
        raise DataError(
            f"none of the {len(left_out):,} conversations can be trained on; the first, '{key}': {reason}",
            where=store.path,
            do="mend the data",
        )
    return Stored(store, usable, side, seed), left_out


def _useless(record: Sample, layout: Layout, rng: np.random.Generator) -> str | None:
    """Why a record cannot be trained on, or None."""
    pictures = int(bool(record.image))
    try:
        turns = stored_turns(record.meta, record.caption)
        if not any((answer or "").strip() for _, answer in turns):
            return "it has no answer"
        encoded = encode(placed(turns, pictures, rng), layout, pictures=pictures)
    except VisionsmithError as error:
        return error.what
    learned = bool((encoded.labels[1:] != IGNORED).any())
    return None if learned else "nothing of its answers fits into the model"
