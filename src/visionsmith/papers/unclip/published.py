"""Published systems with the surface of `Unclip`: Karlo, and Kandinsky 2.2.

| a folder of                                                     | paints texts | sees pictures | opened by         |
|-----------------------------------------------------------------|--------------|---------------|-------------------|
| `UnCLIPPipeline`                                                | yes          | no            | `open_texts`      |
| `UnCLIPImageVariationPipeline`                                  | no           | yes           | `open_variations` |
| `KandinskyV22Pipeline`, and one of `KandinskyV22PriorPipeline`  | yes          | yes           | `open_kandinsky`  |

Axes: b pictures, h/w pixels, e embedding, s samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from visionsmith.data.progress import DelayedBar
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.model_folder import pipeline_kind
from visionsmith.papers.unclip import kandinsky, karlo
from visionsmith.papers.unclip.parts import Parts, Picture, Prior
from visionsmith.papers.unclip.travel import between, towards

__all__ = ["Published", "open_published"]

OPENERS = {
    karlo.TEXTS: karlo.open_texts,
    karlo.PICTURES: karlo.open_variations,
    kandinsky.DECODER: kandinsky.open_kandinsky,
}
"""By the class that a folder names."""


class Published:
    """A published unCLIP.

    unclip = open_published("karlo-v1-alpha")
    unclip.paint_texts(["a red apple"])         # uint8 (1, 256, 256, 3)

    Each picture goes through the networks alone, so that what stands beside it does not change it, bit for bit.
    Embeddings are as long as the image encoder makes them; those of `Unclip` have unit norm.
    """

    reach = (0.25, 0.5)
    """How far edits go, least and most; as in the paper."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        return self.parts.painter.size

    def to(self, device: str | torch.device) -> Published:
        """Move all parts."""
        self.parts.painter.pipeline.to(device)
        if self.parts.prior is not None:
            self.parts.prior.pipeline.to(device)
        if self.parts.images is not None:
            self.parts.images.model.to(device)
        return self

    def too_long(self, text: str) -> int:
        """How many tokens of a text are beyond what the model reads."""
        return self.parts.text.too_long(text)

    def imagine(
        self,
        texts: Sequence[str],
        *,
        steps: int = Prior.steps,
        guidance: float = Prior.guidance,
        samples: int = 2,
        seeds: Sequence[int] | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Image embeddings, float32 `b e` on the CPU, that the prior draws for texts.

        DIFFERS: the library draws one sample. As in the paper, two are drawn, and the one with the larger cosine with
        the text's embedding is kept.

        Args:
            texts: what they are of.
            steps: of the sampler.
            guidance: how much more the text counts than no text; 1: no guidance.
            samples: drawn a text. The first has the seed's own noise, the others are drawn beside it.
            seeds: one a text; None: 0, 1, ...
            progress: whether to show a bar.

        Raises:
            CheckpointError: the folder has no prior.
            ConfigError: a setting is out of range.
        """
        streams = [_streams(seed, samples) for seed in _seeds(seeds, texts)]
        return self._imagine(texts, streams, steps=steps, guidance=guidance, progress=progress)

    def see(self, pictures: Iterable[Picture]) -> Tensor:
        """Embeddings, float32 `b e` on the CPU, of pictures: files or RGB arrays uint8 `h w 3`.

        Raises:
            CheckpointError: the folder has no image encoder.
        """
        if self.parts.images is None:
            raise CheckpointError(
                "has no image encoder, without which no picture can be varied, blended or edited",
                where=self.parts.where,
                do=f"give a folder that has one: of Karlo that of a {karlo.PICTURES}",
            )
        return self.parts.images.embed(pictures)

    def paint(
        self,
        embeddings: Tensor,
        *,
        texts: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Pictures with these embeddings: uint8 `b h w 3`.

        Args:
            embeddings: `b e`, as long as `see` and `imagine` give them.
            texts: beside them, one each; None: none.
            seeds: one a picture; None: 0, 1, ...
            steps: of the decoder; None: the library's default (Karlo 25, Kandinsky 100).
            guidance: how much more embedding and text count than neither, 1: no guidance; None: the library's default
                (Karlo 8, Kandinsky 4).
            progress: whether to show a bar.

        Raises:
            ConfigError: a setting is out of range, or there are texts, and the decoder reads none.
        """
        if texts is not None and not self.parts.painter.reads_text:
            raise ConfigError("this decoder reads no texts", do="leave them out")
        streams = [torch.Generator().manual_seed(seed) for seed in _seeds(seeds, embeddings)]
        texts = [""] * len(embeddings) if texts is None else texts
        return self._paint(embeddings, texts, streams, steps=steps, guidance=guidance, progress=progress)

    def paint_texts(
        self,
        texts: Sequence[str],
        *,
        seeds: Sequence[int] | None = None,
        samples: int = 2,
        progress: bool = False,
        **settings: Any,
    ) -> np.ndarray:
        """Text to picture: uint8 `b h w 3`.

        Where the prior's first sample is kept, the picture of a seed is that of the library for
        `generator=torch.Generator().manual_seed(seed)`: the decoder's noise goes on where the prior's ends.

        Args:
            texts: what to paint.
            seeds: one a text; None: 0, 1, ...
            samples: of the prior, see `imagine`.
            progress: whether to show bars.
            settings: of `paint`: steps, guidance.

        Raises:
            CheckpointError: the folder has no prior.
            ConfigError: a setting is out of range.
        """
        streams = [_streams(seed, samples) for seed in _seeds(seeds, texts)]
        embeddings = self._imagine(
            texts, streams, steps=Prior.steps, guidance=Prior.guidance, progress=progress
        )
        return self._paint(embeddings, texts, [own[0] for own in streams], progress=progress, **settings)

    def vary(self, picture: Picture, *, count: int = 4, seed: int = 0, **settings: Any) -> np.ndarray:
        """Pictures with the same embedding and other noise (section 3.1): uint8 `count h w 3`.

        Args:
            picture: a file, or RGB uint8 `h w 3`.
            count: how many.
            seed: of the first; the next have the next ones.
            settings: of `paint`: steps, guidance, progress.
        """
        embedding = self.see([picture]).expand(count, -1)
        return self.paint(embedding, seeds=range(seed, seed + count), **settings)

    def blend(
        self, one: Picture, other: Picture, *, count: int = 5, seed: int = 0, **settings: Any
    ) -> np.ndarray:
        """Pictures on the way from one to the other (section 3.2), the ends included: uint8 `count h w 3`.

        DIFFERS: the library adds weighted embeddings. As in the paper, the way is spherical; the length changes evenly.

        Args:
            one: a file, or RGB uint8 `h w 3`.
            other: likewise.
            count: how many.
            seed: of the noise, the same for all.
            settings: of `paint`: steps, guidance, progress.
        """
        ends, places = self.see([one, other]), torch.linspace(0, 1, count)
        (first, last), (short, long) = F.normalize(ends, dim=1), ends.norm(dim=1)
        way = between(first, last, places) * torch.lerp(short, long, places)[:, None]
        return self.paint(way, seeds=[seed] * count, **settings)

    def edit(
        self,
        picture: Picture,
        *,
        old: str,
        new: str,
        amounts: Sequence[float] = (0.25, 0.375, 0.5),
        seed: int = 0,
        **settings: Any,
    ) -> np.ndarray:
        """A picture changed as one text differs from another (section 3.3): uint8 `amounts h w 3`.

        Args:
            picture: to change.
            old: a text that is true for it.
            new: the text that is to become true.
            amounts: how far to go, 0 to 1; the paper takes 0.25 to 0.5.
            seed: of the noise, the same for all.
            settings: of `paint`: steps, guidance, progress.
        """
        here = self.see([picture])[0]
        before, after = self.parts.text.embed([old, new])
        unit = F.normalize(here, dim=0)
        made = torch.stack([towards(unit, before, after, amount) for amount in amounts]) * here.norm()
        return self.paint(made, seeds=[seed] * len(made), **settings)

    def _imagine(
        self,
        texts: Sequence[str],
        streams: Sequence[Sequence[torch.Generator]],
        *,
        steps: int,
        guidance: float,
        progress: bool,
    ) -> Tensor:
        prior = self.parts.prior
        if prior is None:
            raise CheckpointError(
                "has no prior, without which no text can be painted",
                where=self.parts.where,
                do=f"give a folder that has one: of Karlo that of a {karlo.TEXTS}",
            )
        _check(steps, guidance, 2, prior.most_steps)
        wanted = self.parts.text.embed(texts)
        with DelayedBar("imagining", len(texts) * steps, show=progress) as bar:
            made = [
                _nearest(prior.draw(text, own, steps=steps, guidance=guidance, bar=bar), goal)
                for text, own, goal in zip(texts, streams, wanted, strict=True)
            ]
        return torch.stack(made)

    def _paint(
        self,
        embeddings: Tensor,
        texts: Sequence[str],
        streams: Sequence[torch.Generator],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        painter = self.parts.painter
        steps = painter.steps if steps is None else steps
        guidance = painter.guidance if guidance is None else guidance
        _check(steps, guidance, painter.fewest_steps, painter.most_steps)
        with DelayedBar("painting", len(texts) * painter.evaluations(steps), show=progress) as bar:
            made = [
                painter.paint(embedding, text, stream, steps=steps, guidance=guidance, bar=bar)
                for embedding, text, stream in zip(embeddings, texts, streams, strict=True)
            ]
        return (np.stack(made) * 255).round().astype(np.uint8)


def open_published(
    source: str | Path,
    prior: str | Path | None = None,
    *,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> Published:
    """Open a published system. Its weights must be safetensors; no code of a folder is run.

    Args:
        source: a folder of diffusers or a hub id: Karlo's, or that of Kandinsky's decoder.
        prior: a folder or hub id of Kandinsky's prior.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place it.

    Raises:
        CheckpointError: it is another kind of model, incomplete, damaged, or holds weights as pickles only.
        ConfigError: Kandinsky's prior was not named, or was named for Karlo.
    """
    kind = pipeline_kind(source, download=download)
    if kind not in OPENERS:
        raise CheckpointError(
            f"holds a {kind}" if kind else "is neither a checkpoint nor a pipeline's folder of diffusers",
            where=source,
            do="give a checkpoint of this paper or one of these pipelines, the last with --prior: "
            + ", ".join(OPENERS),
        )
    return Published(OPENERS[kind](source, prior, download=download)).to(device)


def _seeds(seeds: Sequence[int] | None, rows: Sequence[str] | Tensor) -> Sequence[int]:
    found = range(len(rows)) if seeds is None else seeds
    assert len(found) == len(rows), f"{len(found)} seeds for {len(rows)}"
    return found


def _streams(seed: int, samples: int) -> list[torch.Generator]:
    """A stream of noise for each sample of a prior, drawn on the CPU so that a seed says the same on every device.

    The first is the seed's own. The others' seeds are drawn from it: the next numbers are the next pictures'.

    Raises:
        ConfigError: there is to be no sample.
    """
    if samples < 1:
        raise ConfigError(f"samples = {samples} is out of range", do="choose at least 1")
    others = np.random.SeedSequence(seed).generate_state(samples - 1)
    return [torch.Generator().manual_seed(int(each)) for each in (seed, *others)]


def _nearest(drawn: Tensor, text: Tensor) -> Tensor:
    """Of samples `s e` the one with the largest cosine with `text`, unit norm `e`."""
    return drawn[(F.normalize(drawn, dim=1) @ text).argmax()]


def _check(steps: int, guidance: float, fewest: int, most: int) -> None:
    if not (fewest <= steps <= most and guidance >= 0):
        raise ConfigError(
            f"steps = {steps}, guidance = {guidance}: out of range",
            do=f"choose {fewest} to {most} steps and guidance from 0",
        )
