"""unCLIP as a user meets it: texts and pictures become embeddings, and embeddings become pictures (section 3).

Axes: b pictures, h/w pixels, e embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import PriorTransformer
from torch import Tensor

from visionsmith.config import encode
from visionsmith.errors import ConfigError
from visionsmith.papers.clip import Clip
from visionsmith.papers.latent_diffusion import LatentDiffusion, decode
from visionsmith.papers.unclip.config import UnclipConfig
from visionsmith.papers.unclip.decoder import Decoder, paint
from visionsmith.papers.unclip.imagine import imagine
from visionsmith.papers.unclip.reader import TextReader
from visionsmith.papers.unclip.travel import between, towards

if TYPE_CHECKING:
    from visionsmith.train.task import Export

__all__ = ["Unclip", "export"]

BATCH = 16
Picture = np.ndarray | Path | str


class Unclip:
    """A CLIP, a prior and a decoder.

    unclip = visionsmith.load("unclip")
    unclip.paint_texts(["a woman with red hair"])          # uint8 (1, 64, 64, 3)
    unclip.vary("mine.png", count=4)                       # like it, and not the same
    """

    reach = (0.1, 0.4)
    """How far edits go, least and most. The paper goes 0.25 to 0.5; the small decoder overshoots from about 0.4 on."""

    def __init__(
        self,
        config: UnclipConfig,
        clip: Clip,
        prior: PriorTransformer,
        *,
        base: LatentDiffusion | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.config, self.clip, self.prior = config, clip, prior
        self.base, self.decoder = base, decoder
        self.reader = TextReader(clip)

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        base, _ = self._painter()
        return base.config.autoencoder.image_size

    def to(self, device: str | torch.device) -> Unclip:
        """Move all parts."""
        self.clip.to(device)
        for part in (self.prior, self.base, self.decoder):
            if part is not None:
                part.to(device)
        return self

    def too_long(self, text: str) -> int:
        """How many tokens of a text are beyond what the model reads."""
        return self.reader.too_long(text)

    def imagine(
        self,
        texts: Sequence[str],
        *,
        steps: int = 25,
        guidance: float = 1.0,
        samples: int = 2,
        seeds: Sequence[int] | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Image embeddings, unit norm `b e` on the CPU, that the prior draws for texts; see `imagine.imagine`."""
        device = self.prior.clip_mean.device
        found = imagine(
            self.prior.eval(),
            self.config.prior,
            self.reader.read(texts, device),
            self.reader.read([""], device),
            steps=steps,
            guidance=guidance,
            samples=samples,
            seeds=seeds,
            progress=progress,
        )
        return found.cpu()

    def see(self, pictures: Iterable[Picture]) -> Tensor:
        """Embeddings, unit norm `b e`, of pictures: files or RGB arrays uint8 `h w 3`."""
        return self.clip.encode_images(pictures)

    @torch.no_grad()
    def paint(
        self,
        embeddings: Tensor,
        *,
        texts: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        steps: int = 25,
        guidance: float = 2.0,
        progress: bool = False,
    ) -> np.ndarray:
        """Pictures with these embeddings: uint8 `b h w 3`.

        Args:
            embeddings: unit norm `b e`.
            texts: beside them, one each; None: none.
            seeds: one a picture; None: 0, 1, ...
            steps: of the sampler.
            guidance: how much more embedding and text count than neither.
            progress: whether to show a bar.

        Raises:
            ConfigError: the checkpoint holds a prior alone, or a setting is out of range.
        """
        base, decoder = self._painter()
        if not (1 <= steps <= base.config.noise.steps and guidance >= 0):
            raise ConfigError(
                f"steps = {steps}, guidance = {guidance}: out of range",
                do=f"choose 1 to {base.config.noise.steps} steps and guidance from 0",
            )
        seeds = range(len(embeddings)) if seeds is None else seeds
        texts = [""] * len(embeddings) if texts is None else texts
        assert len(seeds) == len(texts) == len(embeddings), "a seed and a text for each embedding"
        side, channels = self.size // base.config.autoencoder.factor, base.config.autoencoder.latent_channels
        device = decoder.unet.device
        nothing, made = self.reader.read([""], device), []
        for begin in range(0, len(embeddings), BATCH):
            rows = slice(begin, begin + BATCH)
            start = [
                torch.randn(channels, side, side, generator=torch.Generator().manual_seed(s))
                for s in seeds[rows]
            ]
            latents = paint(
                decoder,
                torch.stack(start).to(device),
                embeddings[rows].to(device),
                self.reader.read(list(texts[rows]), device),
                nothing,
                steps=steps,
                guidance=guidance,
                progress=progress,
            )
            made.append(decode(base.vae, latents))
        return np.concatenate(made)

    def paint_texts(
        self,
        texts: Sequence[str],
        *,
        seeds: Sequence[int] | None = None,
        progress: bool = False,
        **settings: Any,
    ) -> np.ndarray:
        """Text to picture: the prior's embedding and the text go to the decoder. uint8 `b h w 3`.

        Args:
            texts: what to paint.
            seeds: one a text, of the prior and of the decoder; None: 0, 1, ...
            progress: whether to show bars.
            settings: of `paint`: steps, guidance.
        """
        embeddings = self.imagine(texts, seeds=seeds, progress=progress)
        return self.paint(embeddings, texts=texts, seeds=seeds, progress=progress, **settings)

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

        Args:
            one: a file, or RGB uint8 `h w 3`.
            other: likewise.
            count: how many.
            seed: of the noise, the same for all.
            settings: of `paint`: steps, guidance, progress.
        """
        first, last = self.see([one, other])
        way = between(first, last, torch.linspace(0, 1, count))
        return self.paint(way, seeds=[seed] * count, **settings)

    def edit(
        self,
        picture: Picture,
        *,
        old: str,
        new: str,
        amounts: Sequence[float] = (0.1, 0.2, 0.3),
        seed: int = 0,
        **settings: Any,
    ) -> np.ndarray:
        """A picture changed as one text differs from another (section 3.3): uint8 `amounts h w 3`.

        Args:
            picture: to change.
            old: a text that is true for it.
            new: the text that is to become true.
            amounts: how far to go, 0 to 1; the paper takes 0.25 to 0.5, the shipped model is better with 0.1 to 0.3.
            seed: of the noise, the same for all.
            settings: of `paint`: steps, guidance, progress.
        """
        here = self.see([picture])[0]
        before, after = self.clip.encode_texts([old, new])
        made = torch.stack([towards(here, before, after, amount) for amount in amounts])
        return self.paint(made, seeds=[seed] * len(made), **settings)

    def _painter(self) -> tuple[LatentDiffusion, Decoder]:
        if self.base is None or self.decoder is None:
            raise ConfigError(
                "this checkpoint holds a prior alone", do="train a decoder: visionsmith train unclip"
            )
        return self.base, self.decoder


def export(
    config: UnclipConfig, prior: Mapping[str, Tensor], decoder: Mapping[str, Tensor] | None = None
) -> Export:
    """The checkpoint of a prior and a decoder: matrices in float16, vectors in float32."""
    from visionsmith.train.task import Export

    state = {f"prior.{name}": value for name, value in prior.items()}
    state |= {f"decoder.{name}": value for name, value in (decoder or {}).items()}
    # Statistics have one row; their digits count as those of a vector do.
    tensors = {
        name: value.detach().half() if value.ndim > 1 and len(value) > 1 else value.detach().float()
        for name, value in state.items()
    }
    return Export(config=encode(config), tensors=tensors, files={})
