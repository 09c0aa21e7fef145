"""What is learned from: diptychs of two pictures for the filler, of a picture and its edit for the adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.kept import compute_once
from visionsmith.data.sampler import Key, generator
from visionsmith.papers.icedit.edits import EditWorld
from visionsmith.papers.icedit.model import to_latents

__all__ = ["Diptych", "DiptychCollate", "EditSamples", "FillingSamples", "encoded"]

Diptych = tuple[Tensor, Tensor, bool, str]
"""Latents `c i j` of the left and the right half, whether the left one is hidden (or the right), and the text."""

SAME, LIKE = 0.15, 0.55
"""Chance that the half beside the hidden one is the same picture, or one that is like it; else it is any."""
NEARER = 0.25
"""Chance that a picture that is like another is the very next one to it; else one further, and so on."""
BATCH = 64


def encoded(vae: Any, world: EditWorld, file: Path | None = None, *, progress: bool = False) -> Tensor:
    """Scaled latents `n c i j` of every picture of a world.

    DIFFERS: the public code encodes a diptych as a whole. Each half alone has latents that can be kept, and nothing of
    a half leaks over the border before the transformer sees it.

    Args:
        vae: an `AutoencoderKL`, frozen.
        world: whose pictures.
        file: where they are kept, a safetensors file; None: nowhere.
        progress: whether to show a bar.
    """
    import zlib

    return compute_once(
        range(len(world.pictures)),
        lambda part: {"latents": to_latents(vae, torch.from_numpy(world.pictures[list(part)]))},
        title="latents",
        batch=BATCH,
        file=file,
        mark=torch.tensor([len(world.pictures), zlib.crc32(world.pictures.tobytes())]),
        progress=progress,
    )["latents"]


class FillingSamples(Dataset[Diptych]):
    """`dataset[(epoch, place)]` -> a diptych with one half hidden, and a text that tells what is in that half.

    The other half is the same picture, one that is like it, or any; the text is the hidden half's caption, or says what
    both show: what a model that was trained on the pictures of the web has seen and read of pictures in a row. Nothing
    here asks for an edit.
    """

    def __init__(self, world: EditWorld, latents: Tensor, *, drop_text: float, seed: int) -> None:
        self.world, self.latents = world, latents
        self.drop_text, self.seed = drop_text, seed

    def __len__(self) -> int:
        return len(self.world.shown)

    def __getitem__(self, key: Key) -> Diptych:
        rng = generator(self.seed, *key)
        asked = self.world.shown[key[1]]
        other = self._beside(key[1], rng)
        text = "" if rng.random() < self.drop_text else self._text(asked, other, rng)
        left_hidden = bool(rng.random() < 0.2)
        left, right = (asked, other) if left_hidden else (other, asked)
        return self.latents[left], self.latents[right], left_hidden, text

    def _beside(self, place: int, rng: np.random.Generator) -> int:
        shown = self.world.shown
        kind = rng.random()
        if kind < SAME:
            return shown[place]
        if kind < SAME + LIKE:
            # Pictures are in an order in which the next ones are often the same with another skin, gender or thing.
            away = int(rng.geometric(NEARER)) * (1 if rng.random() < 0.5 else -1)
            return shown[min(max(place + away, 0), len(shown) - 1)]
        return shown[int(rng.integers(len(shown)))]

    def _text(self, asked: int, other: int, rng: np.random.Generator) -> str:
        caption = self.world.captions[asked]
        if rng.random() < 0.5:
            return caption
        if asked == other:
            return f"side by side, the same picture: {caption}"
        # The hidden one first: a long text is cut at its end.
        return f"side by side, {caption} and {self.world.captions[other]}"


class EditSamples(Dataset[Diptych]):
    """`dataset[(epoch, place)]` -> a picture, its edit (hidden), and the instruction; all kinds equally often."""

    def __init__(
        self,
        world: EditWorld,
        latents: Tensor,
        prompt: Callable[[str], str],
        *,
        drop_text: float,
        seed: int,
    ) -> None:
        """Make it.

        Args:
            world: of the edits.
            latents: of its pictures.
            prompt: instruction -> text.
            drop_text: chance that the text is left out.
            seed: of the choices.
        """
        self.world, self.latents, self.prompt = world, latents, prompt
        self.drop_text, self.seed = drop_text, seed
        self.kinds = [pairs for pairs in world.train.values() if pairs]

    def __len__(self) -> int:
        return sum(len(pairs) for pairs in self.kinds)

    def __getitem__(self, key: Key) -> Diptych:
        rng = generator(self.seed, *key)
        pairs = self.kinds[key[1] % len(self.kinds)]
        pair = pairs[int(rng.integers(len(pairs)))]
        text = "" if rng.random() < self.drop_text else self.prompt(pair.instruction)
        return self.latents[pair.source], self.latents[pair.target], False, text


class DiptychCollate:
    """A list of diptychs -> {"left", "right": float32 `b c i j`, "hidden": bool `b 2`, "tokens": int64 `b m`}."""

    def __init__(self, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self.tokenize = tokenize

    def __call__(self, diptychs: Sequence[Diptych]) -> dict[str, Tensor]:
        """See the class."""
        return {
            "left": torch.stack([left for left, _, _, _ in diptychs]),
            "right": torch.stack([right for _, right, _, _ in diptychs]),
            "hidden": torch.tensor([[hidden, not hidden] for _, _, hidden, _ in diptychs]),
            "tokens": self.tokenize([text for _, _, _, text in diptychs]),
        }
