"""IP-Adapter as a user meets it: pictures, and a sentence if one likes, in; pictures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import read_image
from visionsmith.papers.ip_adapter.adapter import IPAdapter
from visionsmith.papers.ip_adapter.attachment import Attachment, ImagePrompt, Scale
from visionsmith.papers.ip_adapter.bases import AnyPainter, base_of
from visionsmith.papers.ip_adapter.encoder import ImageEncoder, Picture
from visionsmith.papers.ip_adapter.header import encoder_by_width
from visionsmith.papers.latent_diffusion import control_picture

__all__ = ["ImagePrompter"]

BATCH = 16
"""Pictures that are painted at a time; no more than the painter takes in one go."""


class ImagePrompter:
    """A painter with an adapter attached, and the image encoder that the adapter reads with.

    prompter = visionsmith.load("ip_adapter")
    prompter.paint(["cat.jpg"], text="in the snow", scale=0.5)      # uint8 (4, 64, 64, 3)
    """

    def __init__(
        self,
        painter: AnyPainter,
        adapter: IPAdapter,
        encoder: ImageEncoder,
        *,
        attached: Attachment | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            painter: whose denoiser the adapter is for.
            adapter: in evaluation mode.
            encoder: of pictures.
            attached: to the denoiser already; None: it is attached now.

        Raises:
            CheckpointError: the encoder or the denoiser is not what the adapter was trained with; says what is needed.
        """
        config = adapter.config
        if encoder.width != config.image_width:
            raise CheckpointError(
                f"the image encoder's features have width {encoder.width}, and this '{config.variant}' adapter takes "
                f"{config.image_width}",
                do=f"use {encoder_by_width(config.variant, config.image_width)}",
            )
        self.painter, self.adapter, self.encoder = painter, adapter, encoder
        self.attached = attached or adapter.attach(base_of(painter).denoiser)

    def to(self, device: str | torch.device) -> ImagePrompter:
        """Move painter and adapter; the encoder runs once a picture, and stays."""
        self.painter.to(device)
        self.adapter.to(device)
        return self

    def paint(
        self,
        pictures: Sequence[Picture],
        *,
        text: str = "",
        count: int = 4,
        seed: int = 0,
        scale: Scale = 1.0,
        masks: Sequence[np.ndarray] | None = None,
        control: Picture | None = None,
        control_scale: float = 1.0,
        guidance: float = 3.0,
        **settings: Any,
    ) -> np.ndarray:
        """Paint pictures that all given ones prompt together.

        Args:
            pictures: prompts.
            text: what else to paint; the paper's scale with a text is 0.5.
            count: how many to paint.
            seed: of the first; the next have the next ones.
            scale: how much the pictures count, for all layers or by the beginning of a layer's name.
            masks: where each of the pictures counts, float `h w` from 0 to 1; None: everywhere.
            control: what the painter's ControlNet reads, in the painting's shape: a drawing, depth, a pose, ...
            control_scale: how much it counts.
            guidance: how much more text and pictures count than none; the paper's is 7.5.
            settings: of the painter's `paint`: steps, negative, height, width, progress.

        Returns:
            RGB uint8 `count h w 3`.

        Raises:
            ConfigError: there is no picture, or a setting is out of range.
        """
        if not len(pictures):
            raise ConfigError("no picture was given", do="give at least one as a prompt")
        if count < 1:
            raise ConfigError(f"count = {count} is out of range", do="choose at least 1")
        if masks is not None and len(masks) != len(pictures):
            raise ConfigError(
                f"{len(masks)} masks for {len(pictures)} pictures", do="give one mask a picture, or none"
            )
        settings |= self._control(control, control_scale, settings)
        features = self.encoder.encode(pictures)
        prompts: list[tuple[Tensor, Tensor | None]]
        if masks is None:
            prompts = [(features[None].expand(count, *features.shape), None)]
        else:
            prompts = [
                (one[None, None].expand(count, 1, *one.shape), torch.from_numpy(np.asarray(mask)))
                for one, mask in zip(features, masks, strict=True)
            ]
        return self._paint(prompts, [text] * count, range(seed, seed + count), scale, guidance, settings)

    def paint_each(
        self,
        features: Tensor,
        *,
        texts: Sequence[str] | None = None,
        scale: Scale = 1.0,
        guidance: float = 3.0,
        **settings: Any,
    ) -> np.ndarray:
        """Paint one picture for each prompt, with the seeds 0, 1, ...

        Args:
            features: of the prompts, as the encoder gives them.
            texts: one a prompt; None: none.
            scale: see `paint`.
            guidance: likewise.
            settings: likewise.

        Returns:
            RGB uint8 `b h w 3`.
        """
        said = [""] * len(features) if texts is None else list(texts)
        return self._paint([(features[:, None], None)], said, range(len(said)), scale, guidance, settings)

    def _control(self, control: Picture | None, scale: float, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a pipeline with a ControlNet; none where it has none."""
        steered = hasattr(self.painter.pipeline, "controlnet")
        if control is None:
            if steered:
                raise ConfigError(
                    "the painter has a ControlNet, and no control picture was given",
                    do="give one, or another painter",
                )
            return {}
        if not steered:
            raise ConfigError(
                "a control picture was given, and the painter has no ControlNet",
                do="open the adapter with controlnet=FOLDER",
            )
        picture = control if isinstance(control, np.ndarray) else read_image(Path(control))
        height, width = (settings.get(name) or self.painter.size for name in ("height", "width"))
        return {
            "image": control_picture(picture, height, width),
            "controlnet_conditioning_scale": float(scale),
        }

    @torch.no_grad()
    def _paint(
        self,
        prompts: Sequence[tuple[Tensor, Tensor | None]],
        texts: Sequence[str],
        seeds: Sequence[int],
        scale: Scale,
        guidance: float,
        settings: dict[str, Any],
    ) -> np.ndarray:
        """Paint in batches. `prompts`: features `b pictures ...`, and where they count."""
        done = []
        try:
            for begin in range(0, len(texts), BATCH):
                part = slice(begin, begin + BATCH)
                shown = [
                    ImagePrompt(self.adapter, self._tokens(features[part], guidance > 1), scale, mask)
                    for features, mask in prompts
                ]
                self.attached.show(shown)
                done.append(self.painter.paint(texts[part], seeds=seeds[part], guidance=guidance, **settings))
        finally:
            self.attached.clear()
        return np.concatenate(done)

    def _tokens(self, features: Tensor, guided: bool) -> Tensor:
        """Image tokens of a batch, those of no picture before them where there is guidance: the pipeline's order."""
        count, pictures = features.shape[:2]
        found = self._projected(features.flatten(0, 1))
        tokens = found.reshape(count, pictures * found.shape[1], -1)
        if not guided:
            return tokens
        nothing = self._projected(self.encoder.nothing()).repeat(count, pictures, 1)
        return torch.cat((nothing, tokens))

    def _projected(self, features: Tensor) -> Tensor:
        return self.adapter.project(features.to(next(self.adapter.parameters()).device))
