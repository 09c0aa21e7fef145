"""An upscaler as a user meets it: a picture in, a picture of twice the sides out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from visionsmith.data.progress import DelayedBar
from visionsmith.diffusion.library import StableDiffusionLatentUpscalePipeline, silenced
from visionsmith.errors import ConfigError
from visionsmith.image.channels import convert, to_eight_bits
from visionsmith.image.checks import check_image
from visionsmith.papers.latent_diffusion import Painter, decode, encode
from visionsmith.papers.latent_upscaler.faithful import back_projected
from visionsmith.papers.latent_upscaler.model import make_scheduler
from visionsmith.papers.latent_upscaler.tiling import blend, starts

__all__ = ["Enlarger"]

BATCH = 16
"""Tiles that are enlarged at a time."""


class Enlarger:
    """A pipeline of diffusers, with tiles round it so that pictures of any size pass.

    enlarger = visionsmith.load("latent_upscaler")
    enlarger.enlarge(image)        # uint8 (h, w, 3) -> (2 h, 2 w, 3)
    """

    def __init__(self, pipeline: StableDiffusionLatentUpscalePipeline) -> None:
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def of(cls, unet: Any, base: Painter) -> Enlarger:
        """A denoiser with the autoencoder and the text encoder of a painter, which both go on to share."""
        parts = base.pipeline
        return cls(
            StableDiffusionLatentUpscalePipeline(
                vae=parts.vae,
                text_encoder=parts.text_encoder,
                tokenizer=parts.tokenizer,
                unet=unet,
                scheduler=make_scheduler(),
            )
        )

    @property
    def unit(self) -> int:
        """Sides of tiles are multiples of this, pixels; twice as much is the smallest."""
        levels = len(self.pipeline.unet.config.block_out_channels)
        return int(self.pipeline.vae_scale_factor * 2 ** max(0, levels - 2))

    @property
    def tile(self) -> int:
        """Side of the small pictures that it was trained on, pixels: what a tile is without further words."""
        return int(self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor // 2)

    def to(self, device: str | torch.device) -> Enlarger:
        """Move the model."""
        self.pipeline.to(device)
        return self

    def save_pretrained(self, folder: Path) -> None:
        """Write a folder that `StableDiffusionLatentUpscalePipeline.from_pretrained` opens."""
        with silenced():
            self.pipeline.save_pretrained(folder, safe_serialization=True)

    @torch.no_grad()
    def enlarge(
        self,
        image: np.ndarray,
        *,
        text: str = "",
        steps: int = 10,
        seed: int = 0,
        guidance: float = 1.0,
        tile: int | None = None,
        overlap: int | None = None,
        faithful: bool = True,
        progress: bool = False,
    ) -> np.ndarray:
        """A picture of twice the sides.

        The noise is drawn for the picture as a whole, so that tiles see the same where they overlap.

        Args:
            image: HW, HWC RGB or RGBA of any size; transparent parts are laid on white.
            text: what it shows; may be empty.
            steps: of the sampler, at least 2.
            seed: of the noise.
            guidance: how much more the text counts than no text; 1: no guidance.
            tile: side of a tile, pixels; None: as trained.
            overlap: what neighbouring tiles share at least, pixels; None: a quarter of a tile.
            faithful: correct the result so that its halves are the given picture, see `back_projected`; False: as
                the latents say.
            progress: whether to show a bar.

        Returns:
            RGB uint8 (2 h, 2 w, 3).

        Raises:
            DataError: it is no picture.
            ConfigError: a setting is out of range.
        """
        picture = convert(to_eight_bits(check_image(image, "enlarge")), "rgb")
        tile, overlap = self._check(steps, guidance, tile, overlap)
        height, width = picture.shape[:2]
        padded = self._padded(picture)
        sides = [min(tile, side) for side in padded.shape[:2]]
        rows, columns = (
            starts(length, side, min(overlap, side // 2), self.unit)
            for length, side in zip(padded.shape[:2], sides, strict=True)
        )
        places = [(y, x) for y in rows for x in columns]
        noise = self._noise([seed], *padded.shape[:2])[0]
        scale = 2 / self.pipeline.vae_scale_factor
        done = []
        with DelayedBar("enlarging", len(places) * steps, show=progress) as bar:
            for begin in range(0, len(places), BATCH):
                part = places[begin : begin + BATCH]
                small = np.stack([padded[y : y + sides[0], x : x + sides[1]] for y, x in part])
                tall, wide = (int(side * scale) for side in sides)
                drawn = torch.stack(
                    [
                        noise[
                            :, int(y * scale) : int(y * scale) + tall, int(x * scale) : int(x * scale) + wide
                        ]
                        for y, x in part
                    ]
                )
                done.append(self._run(small, drawn, text, steps, guidance, bar))
        whole = blend(np.concatenate(done), [2 * y for y in rows], [2 * x for x in columns])
        if faithful:
            whole = back_projected(whole, padded)
        found: np.ndarray = whole.round().astype(np.uint8)[: 2 * height, : 2 * width]
        return np.ascontiguousarray(found)

    @torch.no_grad()
    def enlarge_batch(
        self,
        images: np.ndarray,
        *,
        texts: Sequence[str] | None = None,
        steps: int = 10,
        seeds: Sequence[int] | None = None,
        faithful: bool = True,
        progress: bool = False,
    ) -> np.ndarray:
        """Pictures of one size without tiles: uint8 `n h w 3` to `n 2h 2w 3`; sides are multiples of `unit`.

        Args:
            images: the pictures.
            texts: one a picture; None: none.
            steps: of the sampler, at least 2.
            seeds: one a picture; None: 0, 1, ...
            faithful: see `enlarge`.
            progress: whether to show a bar.
        """
        seeds = range(len(images)) if seeds is None else seeds
        done = []
        with DelayedBar("enlarging", len(images) * steps, show=progress) as bar:
            for begin in range(0, len(images), BATCH):
                part = slice(begin, begin + BATCH)
                noise = self._noise(seeds[part], *images.shape[1:3])
                text = "" if texts is None else list(texts[part])
                done.append(self._run(images[part], noise, text, steps, 1.0, bar))
        found = np.concatenate(done)
        if not faithful:
            return found
        corrected = [back_projected(large, small) for large, small in zip(found, images, strict=True)]
        return np.stack(corrected).round().astype(np.uint8)

    def _run(
        self,
        small: np.ndarray,
        noise: Tensor,
        text: str | list[str],
        steps: int,
        guidance: float,
        bar: DelayedBar,
    ) -> np.ndarray:
        """One batch: uint8 `b h w 3` to `b 2h 2w 3`."""
        pipeline = self.pipeline
        prompts = [text] * len(small) if isinstance(text, str) else text
        latents = pipeline(
            prompts,
            image=encode(pipeline.vae, torch.from_numpy(small)),
            # 0 reads an empty text whatever it is given, 1 reads the text without guidance.
            guidance_scale=guidance if any(prompts) else 0.0,
            num_inference_steps=steps,
            latents=noise,
            output_type="latent",
            callback=lambda step, time, states: bar.advance(len(small)),
        ).images
        return decode(pipeline.vae, latents)

    def _noise(self, seeds: Sequence[int], height: int, width: int) -> Tensor:
        """`b c i j`, drawn on the CPU as the pipeline draws it, so that a seed says the same on every device."""
        scale = self.pipeline.vae_scale_factor
        shape = (1, self.pipeline.vae.config.latent_channels, 2 * height // scale, 2 * width // scale)
        return torch.cat(
            [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        )

    def _padded(self, picture: np.ndarray) -> np.ndarray:
        """The picture with its last row and column repeated up to the next sides that the model takes."""
        unit = self.unit
        down, across = (max(2 * unit, -(-side // unit) * unit) - side for side in picture.shape[:2])
        return np.asarray(cv2.copyMakeBorder(picture, 0, down, 0, across, cv2.BORDER_REPLICATE))

    def _check(self, steps: int, guidance: float, tile: int | None, overlap: int | None) -> tuple[int, int]:
        unit, most = self.unit, int(self.pipeline.scheduler.config.num_train_timesteps)
        tile = self.tile if tile is None else tile
        overlap = tile // 4 // unit * unit if overlap is None else overlap
        for name, value, holds, hint in (
            # One step would be taken at the scheduler's lowest noise level, where nothing is left to decide.
            ("steps", steps, 2 <= steps <= most, f"choose 2 to {most}"),
            ("guidance", guidance, 0 <= guidance < float("inf"), "choose 0 or more; 1 is no guidance"),
            (
                "tile",
                tile,
                tile >= 2 * unit and tile % unit == 0,
                f"choose a multiple of {unit}, at least {2 * unit}",
            ),
            (
                "overlap",
                overlap,
                0 <= overlap <= tile // 2 and overlap % unit == 0,
                f"choose a multiple of {unit} up to half a tile",
            ),
        ):
            if not holds:
                raise ConfigError(f"{name} = {value} is out of range", do=hint)
        return tile, overlap
