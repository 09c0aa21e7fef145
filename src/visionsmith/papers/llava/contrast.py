"""How the small vision tower is trained: as CLIP, on pictures that differ only in what goes with what.

A random batch of scenes is told apart by which kinds and colours occur at all, and a tower learns no more than that. So
scenes come in groups that have the same kinds, colours and places, put together anew: only where the cat is and what
colour *it* has says which caption is whose. A caption names one thing; a picture has as many captions as `said`.

Axes: g groups, b = g * GROUP pictures, k captions of a picture, n tokens, e embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import CLIPConfig, CLIPModel

from visionsmith.data.sampler import Key, generator
from visionsmith.data.world import (
    COLOURS,
    KINDS,
    NEW_PAIRS,
    Scene,
    Thing,
    caption,
    draw,
    make_scene,
    new_thing,
)
from visionsmith.data.world.words import article
from visionsmith.losses.contrastive import clamp_logit_scale_, distributed_contrastive_loss
from visionsmith.memory.locks import library_load
from visionsmith.papers.clip import normalise
from visionsmith.papers.llava.config import TowerConfig
from visionsmith.papers.llava.tower import class_state
from visionsmith.papers.llava.words import END, PAD, START
from visionsmith.papers.vocabulary import token_id

__all__ = ["GROUP", "CaptionCollate", "ContrastiveTower", "GroupDataset", "recombined"]

GROUP = 4
"""Scenes of a group."""

PLACE = 0.4
"""Deviation of the tower's positions, about that of its patches."""

PART = 0.1
"""Share of the captions that leave the kind out, and of those that leave the colour out."""

MOST = 5
"""Things of a picture, at most."""

Pictures = tuple[np.ndarray, list[list[str]], np.ndarray]
"""uint8 (GROUP, side, side, 3) RGB; the captions of each; int64 (s,): numbers of the patches that are shown."""


def recombined(rng: np.random.Generator, count: int) -> list[Scene]:
    """A group of scenes of `count` things (1 to 8) with the same kinds, colours and places, no thing of which recurs.

    Args:
        rng: where all chance comes from.
        count: things of each scene.
    """
    ring = max(count, 3)
    while True:
        kinds = [list(KINDS)[place] for place in rng.permutation(len(KINDS))[:ring]]
        colours = [list(COLOURS)[place] for place in rng.permutation(len(COLOURS))[:ring]]
        places = np.sort(rng.permutation(9)[:count]).tolist()
        shifts = [divmod(int(shift), ring) for shift in rng.permutation(ring * ring)[:GROUP]]
        named = [
            [(kinds[(place + a) % ring], colours[(place + b) % ring]) for place in range(count)]
            for a, b in shifts
        ]
        if not any(pair in NEW_PAIRS for pairs in named for pair in pairs):
            break
    ground = make_scene(rng, 1).ground
    scenes = []
    for pairs in named:
        things = tuple(
            new_thing(rng, kind, colour, place) for (kind, colour), place in zip(pairs, places, strict=True)
        )
        scenes.append(Scene(things, ground))
    return scenes


class GroupDataset(Dataset[Pictures]):
    """`dataset[(epoch, index)]` -> a group's pictures, their captions, and the patches that are shown.

    An epoch is a lesson. The first have one thing in a picture, the next up to two, and so on to `MOST`; the last
    lesson goes on. Before that one the patches of empty ground are left out but for two, as FLIP leaves out patches by
    chance (Li et al. 2023, arXiv:2212.00794): it makes a picture of one thing six times cheaper.
    """

    def __init__(self, tower: TowerConfig, seed: int, *, said: int, singles: int) -> None:
        """Make the data set.

        Args:
            tower: the pictures' side and patches.
            seed: of everything.
            said: captions of each picture; no more than there may be things.
            singles: lessons with one thing.
        """
        self.side, self.seed, self.said, self.singles = tower.image_size, seed, said, singles
        self.grid = tower.image_size // tower.patch_size

    def __getitem__(self, key: Key) -> Pictures:
        rng = generator(self.seed, *key)
        lesson = max(0, key[0] - self.singles + 1)
        most = min(1 + lesson, MOST)
        scenes = recombined(rng, int(rng.integers(1, most + 1)))
        return (
            np.stack([draw(scene, self.side) for scene in scenes]),
            [self._captions(scene, min(self.said, most), rng) for scene in scenes],
            self._shown(scenes[0], most, rng) if lesson < MOST else np.arange(self.grid**2),
        )

    def _captions(self, scene: Scene, said: int, rng: np.random.Generator) -> list[str]:
        order = rng.permutation(len(scene.things))
        named = [scene.things[order[place % len(order)]] for place in range(said)]
        return [_said(scene, thing, rng) for thing in named]

    def _shown(self, scene: Scene, most: int, rng: np.random.Generator) -> np.ndarray:
        """The patches of the things' places, and as many others as make their number the same in every group."""
        each = self.grid // 3
        taken = np.zeros((self.grid, self.grid), dtype=bool)
        for thing in scene.things:
            taken[
                thing.row * each : (thing.row + 1) * each, thing.column * each : (thing.column + 1) * each
            ] = True
        chosen = np.flatnonzero(taken)
        others = rng.permutation(np.flatnonzero(~taken))[: most * each**2 + 2 - len(chosen)]
        return np.sort(np.concatenate([chosen, others]))


def _said(scene: Scene, thing: Thing, rng: np.random.Generator) -> str:
    """A caption of one thing: all of it, or now and then its kind alone or its colour alone, each with the place.

    Kind and colour together would mostly tell the scenes of a group apart, and places would not be learned.
    """
    style = int(rng.choice(3, p=(1 - 2 * PART, PART, PART)))
    if style == 0:
        return caption(replace(scene, things=(thing,)), rng)
    return f"{article(thing.kind) if style == 1 else f'something {thing.colour}'} {thing.where}"


class CaptionCollate:
    """Groups -> {"images": uint8 (b, h, w, 3), "shown": int64 (b, s), "tokens": int64 (b, k, n)}."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.pad = token_id(tokenizer, PAD)

    def __call__(self, groups: Sequence[Pictures]) -> dict[str, Tensor]:
        """See the class."""
        images = torch.from_numpy(np.concatenate([pictures for pictures, _, _ in groups]))
        shown = torch.from_numpy(np.stack([patches for _, _, patches in groups])).repeat_interleave(
            GROUP, dim=0
        )
        texts = [captions for _, group, _ in groups for captions in group]
        lines = [f"{START}{text}{END}" for captions in texts for text in captions]
        ids = [
            torch.tensor(encoding.ids)
            for encoding in self.tokenizer.encode_batch(lines, add_special_tokens=False)
        ]
        padded = pad_sequence(ids, batch_first=True, padding_value=self.pad)
        return {"images": images, "shown": shown, "tokens": padded.reshape(len(texts), len(texts[0]), -1)}


class ContrastiveTower(nn.Module):
    """A CLIP around the tower, and its loss: the mean over the k captions of the loss of pictures and captions."""

    def __init__(self, tower: TowerConfig, *, words: int, end_token: int, width: int, embed: int) -> None:
        """Make the model with new weights.

        Args:
            tower: sizes of the vision tower.
            words: size of the vocabulary.
            end_token: where a caption is read out.
            width: of the text tower, two blocks deep.
            embed: width of the space that pictures and captions share.
        """
        super().__init__()
        vision = {
            "image_size": tower.image_size,
            "patch_size": tower.patch_size,
            "hidden_size": tower.width,
            "intermediate_size": tower.hidden,
            "num_hidden_layers": tower.layers,
            "num_attention_heads": tower.heads,
            "hidden_act": tower.activation,
        }
        text = {
            "vocab_size": words,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "bos_token_id": None,
            "eos_token_id": end_token,
            "pad_token_id": None,
            "hidden_act": "gelu",
        }
        with library_load():
            self.clip = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=embed))
        # The library's 0.02 is lost beside a patch; what reads the patches could not tell where they lie.
        embeddings = self.clip.vision_model.embeddings
        nn.init.normal_(embeddings.position_embedding.weight, std=PLACE)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: see `CaptionCollate`."""
        return self.loss(*self.features(batch))

    def features(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Unit-norm embeddings of the pictures `b e` and of the captions `b k e`."""
        tokens = batch["tokens"]
        seen = class_state(self.clip.vision_model, normalise(batch["images"]), batch["shown"])
        read = self.clip.text_model(input_ids=tokens.flatten(0, 1)).pooler_output
        images = F.normalize(self.clip.visual_projection(seen), dim=-1)
        texts = F.normalize(self.clip.text_projection(read), dim=-1)
        return images, texts.reshape(*tokens.shape[:2], -1)

    def loss(self, images: Tensor, texts: Tensor) -> dict[str, Tensor]:
        """Loss and accuracies of a whole batch's embeddings."""
        found = [
            distributed_contrastive_loss(images.float(), said.float(), self.clip.logit_scale)
            for said in texts.unbind(dim=1)
        ]
        means = [torch.stack(values).mean() for values in zip(*found, strict=True)]
        return {"loss": means[0], "image_accuracy": means[1], "text_accuracy": means[2]}

    def clamp(self) -> None:
        """Keep the temperature at 0.01 or above."""
        clamp_logit_scale_(self.clip.logit_scale)
