"""Edit pairs with exact answers: a picture, an instruction, and the picture that the instruction asks for.

Two kinds of world give them. OpenMoji is a grid of factors: two emoji that differ in one of them are a pair ("make the
skin dark"). And things on a ground are symbols before they are pixels: one more, one less, another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["KINDS", "EditPair", "EditWorld", "builtin_world"]

KINDS = ("skin", "gender", "hair", "role", "colour", "add", "remove", "swap")
"""Of edits, of the built-in world: the first five between emoji, the rest in arranged things."""

HELD_OUT = 40
"""Edits of each kind that are kept to measure with."""
ARRANGED = 900
"""Arrangements of things of each kind that are trained on."""
DIFFERENT = 0.5
"""Mean difference, gray levels, below which two pictures show the same."""
_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "grey", "pink")


@dataclass(frozen=True)
class EditPair:
    """One edit."""

    source: int
    """Place of the picture before among `EditWorld.pictures`."""
    target: int
    """Of the picture after."""
    instruction: str
    kind: str


@dataclass(frozen=True)
class EditWorld:
    """Pictures and the edits between them."""

    pictures: np.ndarray
    """RGB uint8 `n h w 3`."""
    captions: tuple[str, ...]
    """Of each picture; empty where there is none."""
    shown: tuple[int, ...]
    """Pictures that may be trained on. Targets of held-out edits are none of them, but for those of colours, of which
    only the edit is new."""
    train: Mapping[str, tuple[EditPair, ...]]
    """By kind."""
    held_out: tuple[EditPair, ...]
    about: Mapping[str, Any]
    """What a card says of the data."""

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        side: int = self.pictures.shape[1]
        return side


def builtin_world(size: int = 64, *, seed: int = 0, progress: bool = False) -> EditWorld:
    """Edits between emoji and in arranged things.

    What is held out: of emoji, edits whose result is one of the pictures that `data.split.split_combinations` keeps
    from training; of colours, every seventh pair, both ways; of arrangements, ones that were never drawn.

    Args:
        size: side of the pictures, pixels.
        seed: of arrangements, wording and of what is held out.
        progress: whether to show a bar while the emoji are packed.
    """
    from visionsmith.data import openmoji
    from visionsmith.data.builtin import openmoji_store
    from visionsmith.data.split import pictures, split_combinations
    from visionsmith.papers.icedit.arranged import arranged_edit

    store = openmoji_store(size, progress=progress)
    split = split_combinations(store)
    images = list(pictures(store))
    captions = [store[index].caption for index in range(len(store))]
    rng = np.random.default_rng(seed)
    edits = _between_emoji(captions, [dict(store[index].meta) for index in range(len(store))], images, rng)
    kept, trained = set(split.pictures), set(split.train)
    train: dict[str, list[EditPair]] = {kind: [] for kind in KINDS}
    asked: dict[str, list[EditPair]] = {kind: [] for kind in KINDS}
    for pair in edits:
        if pair.kind == "colour":
            into = asked if _every_seventh(pair, captions) else train
            into[pair.kind].append(pair)
        elif pair.target in kept and pair.source in trained:
            asked[pair.kind].append(pair)
        elif pair.target in trained and pair.source in trained:
            train[pair.kind].append(pair)
    shown = sorted(trained)
    held_out = [pair for kind in KINDS for pair in _some(asked[kind], HELD_OUT, rng)]
    for kind in ("add", "remove", "swap"):
        for place in range(ARRANGED + HELD_OUT):
            edit = arranged_edit(kind, rng, size)
            pair = EditPair(len(images), len(images) + 1, edit.instruction, kind)
            images += [edit.before, edit.after]
            captions += [edit.caption_before, edit.caption_after]
            if place < ARRANGED:
                train[kind].append(pair)
                shown += [pair.source, pair.target]
            else:
                held_out.append(pair)
    about = {
        "edits": {kind: len(found) for kind, found in train.items()},
        "held_out": len(held_out),
        **openmoji.ATTRIBUTES,
        "size": size,
    }
    return EditWorld(
        pictures=np.stack(images),
        captions=tuple(captions),
        shown=tuple(shown),
        train={kind: tuple(found) for kind, found in train.items()},
        held_out=tuple(held_out),
        about=about,
    )


def _some(pairs: Sequence[EditPair], count: int, rng: np.random.Generator) -> list[EditPair]:
    order = rng.permutation(len(pairs))[:count]
    return [pairs[int(place)] for place in sorted(order)]


def _every_seventh(pair: EditPair, captions: Sequence[str]) -> bool:
    # Of a text, so that the order of the drawings does not matter; both directions of a pair fall together.
    return sum(map(ord, captions[pair.source] + captions[pair.target])) % 7 == 0


def _between_emoji(
    captions: Sequence[str],
    meta: Sequence[Mapping[str, Any]],
    images: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> list[EditPair]:
    """Every ordered pair of emoji that differ in one factor and look different."""
    keys: dict[tuple[str, tuple[Any, ...]], list[int]] = {}
    for index, of in enumerate(meta):
        skin = tuple(of["skin"])
        if of["group"] in ("person", "body") and len(skin) < 2:
            keys.setdefault(("skin", (of["subject"], of["gender"], of["hair"])), []).append(index)
        if of["group"] == "person":
            keys.setdefault(("gender", (of["subject"], of["hair"], skin)), []).append(index)
            if of["gender"] and not of["hair"] and of["subject"]:
                keys.setdefault(("role", (of["gender"], skin)), []).append(index)
            if of["hair"]:
                keys.setdefault(("hair", (of["subject"], of["gender"], skin)), []).append(index)
        words = captions[index].split()
        if of["group"] == "thing" and (colours := [word for word in words if word in _COLOURS]):
            rest = " ".join(word for word in words if word != colours[0])
            keys.setdefault(("colour", (rest,)), []).append(index)
    found = []
    for (kind, key), members in keys.items():
        for target in members:
            for source in _sources(kind, target, members, rng):
                text = _instruction(kind, meta[target], captions[target], key, rng)
                if text and _differ(images[source], images[target]):
                    found.append(EditPair(source, target, text, kind))
    return found


def _sources(kind: str, target: int, members: Sequence[int], rng: np.random.Generator) -> list[int]:
    others = [index for index in members if index != target]
    # Any role may become any other: a few of each are enough.
    return [others[int(place)] for place in rng.permutation(len(others))[:4]] if kind == "role" else others


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    return float(np.abs(first.astype(np.int16) - second).mean()) > DIFFERENT


def _instruction(
    kind: str, after: Mapping[str, Any], caption: str, key: tuple[Any, ...], rng: np.random.Generator
) -> str:
    """What is asked for, in one of a few wordings; empty: it cannot be said."""
    if kind == "skin":
        tone = f"{after['skin'][0]} skin tone" if after["skin"] else "yellow skin"
        return _one(rng, f"make it {tone}", f"change to {tone}")
    if kind == "gender":
        who = after["gender"]
        return _one(rng, f"make it a {who}", f"change to a {who}") if who and " " not in who else ""
    if kind == "hair":
        look = {"bald": "bald", "beard": "a beard"}.get(after["hair"], f"{after['hair']} hair")
        return _one(rng, f"make it {look}", f"change to {look}")
    if kind == "role":
        return _one(rng, f"make it {after['subject']}", f"change to {after['subject']}")
    colour = next(word for word in caption.split() if word in _COLOURS)
    return _one(rng, f"make the {key[0]} {colour}", f"change the colour to {colour}")


def _one(rng: np.random.Generator, *wordings: str) -> str:
    return wordings[int(rng.integers(len(wordings)))]
