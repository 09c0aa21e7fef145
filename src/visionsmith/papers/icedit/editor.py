"""An in-context editor as a user meets it: a picture and an instruction in, the edited picture out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from visionsmith.config import encode
from visionsmith.data.progress import DelayedBar
from visionsmith.diffusion.flux import pack, sigmas_of, unpack
from visionsmith.errors import ConfigError
from visionsmith.papers.icedit.adapter import Adapter, Attachment
from visionsmith.papers.icedit.config import FillerConfig
from visionsmith.papers.icedit.diptych import conditions
from visionsmith.papers.icedit.judges import Judge, tournament
from visionsmith.papers.icedit.model import Filler, gray_half, predict, to_latents, to_pictures
from visionsmith.papers.icedit.reader import Reader, read
from visionsmith.papers.icedit.sampling import State, Velocity, begin, clean_estimate, run

if TYPE_CHECKING:
    from visionsmith.train.task import Export

__all__ = ["ADAPTER", "EarlyFilter", "Editor", "Parts", "export_adapter", "export_filler", "working_size"]

TOKENIZER_FILE = "tokenizer.json"
ADAPTER = "adapter."
"""What the names of an adapter's weights begin with in a checkpoint."""
Guided = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]
"""Noisy tokens `b n 4c`, what they are told `b n d`, times `b` and latent rows and columns -> velocity `b n 4c`."""
BATCH = 32
"""Edits that are made at a time."""


@dataclass(frozen=True)
class EarlyFilter:
    """Several seeds go a few steps, a judge chooses, and the winner goes on (sec. 3.4).

    With M candidates, m steps and n steps on the whole, M m + n - m evaluations of the model: the winner goes on from
    where it is, and the sampler's steps are those of the whole way (the paper starts again: M m + n).
    """

    judge: Judge
    candidates: int = 6
    steps: int = 4
    """After which the judge looks, at what the model expects of the picture."""

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise ConfigError(f"candidates = {self.candidates} is out of range", do="choose 2 or more")
        if self.steps < 1:
            raise ConfigError(f"early steps = {self.steps} is out of range", do="choose 1 or more")

    def evaluations(self, steps: int) -> int:
        """Of the model, for one edit of so many steps."""
        return self.candidates * self.steps + steps - self.steps


@dataclass(frozen=True)
class Parts:
    """What an editor is made of."""

    vae: Any
    """An `AutoencoderKL`."""
    transformer: Any
    """A `FluxTransformer2DModel`."""
    scheduler: Any
    """A `FlowMatchEulerDiscreteScheduler`."""
    reader: Reader
    size: int
    """Side of the square pictures that it was trained on, pixels; others have about as many pixels."""
    own: tuple[Filler, bytes] | None = None
    """The project's filler that the parts are of, and its tokenizer.json: what a checkpoint holds. None: they lie in a
    folder of diffusers, which is named instead."""

    @property
    def factor(self) -> int:
        """Pixels a side of a latent position."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def fills(self) -> bool:
        """Whether the transformer is told what may be seen, besides its noisy latents."""
        return bool(self.transformer.config.in_channels > 4 * self.vae.config.latent_channels)


class Editor:
    """A filler of half a diptych, and an adapter for edits beside it.

    editor = visionsmith.load("icedit")
    editor.edit([picture], ["make it red hair"])        # uint8 (1, h, w, 3)
    """

    def __init__(
        self,
        parts: Parts,
        adapter: Adapter | None = None,
        *,
        template: str = "{instruction}",
        attached: Attachment | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            parts: the filler's.
            adapter: for edits; None: the filler alone (the variant without training).
            template: of the prompt; `{instruction}` stands for what is asked for.
            attached: of the adapter, where it is attached to the transformer already.

        Raises:
            CheckpointError: the adapter is for a transformer of other sizes.
        """
        self.parts, self.adapter, self.template = parts, adapter, template
        self.attached = attached or (adapter.attach(parts.transformer) if adapter is not None else None)

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        where: torch.device = next(self.parts.transformer.parameters()).device
        return where

    def to(self, device: str | torch.device) -> Editor:
        """Move all parts."""
        place = torch.device(device)
        self.parts.vae.to(place)
        self.parts.transformer.to(place)
        self.parts.reader.to(place)
        if self.adapter is not None:
            self.adapter.to(place)
        return self

    def prompt(self, instruction: str) -> str:
        """The whole text for an instruction."""
        return self.template.replace("{instruction}", instruction)

    def edit(
        self,
        pictures: Sequence[np.ndarray],
        instructions: Sequence[str],
        *,
        seeds: Sequence[int] | None = None,
        steps: int = 16,
        guidance: float = 1.5,
        early: EarlyFilter | Sequence[EarlyFilter] | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Edit pictures.

        Args:
            pictures: RGB uint8 `h w 3`, all of one size; they are worked on at the size of `working_size`.
            instructions: one a picture.
            seeds: one a picture; None: 0, 1, ... With an early filter the first of the candidates' seeds.
            steps: of the sampler.
            guidance: how much more the text counts than none; 1: no guidance. A distilled model is told the number.
            early: choose among several seeds after a few steps; one for all, or one a picture.
            progress: whether to show a bar.

        Returns:
            RGB uint8 `b h' w' 3`, of the working size.

        Raises:
            ConfigError: a setting is out of range, a text is empty, or pictures differ in size.
        """
        seeds = range(len(pictures)) if seeds is None else seeds
        filters = [early] * len(pictures) if early is None or isinstance(early, EarlyFilter) else list(early)
        self._check(pictures, instructions, steps, guidance, filters)
        work = [self._resized(picture) for picture in pictures]
        done = []
        evaluations = sum(each.evaluations(steps) if each else steps for each in filters)
        total = evaluations + self._before(steps) * len(work)
        with DelayedBar("editing", total, show=progress) as bar:
            if any(filters):
                for picture, text, seed, each in zip(work, instructions, seeds, filters, strict=True):
                    assert each is not None, "a filter for each picture or for none"
                    done.append(self._filtered(picture, text, seed, steps, guidance, each, bar.advance))
            else:
                for start in range(0, len(work), BATCH):
                    part = slice(start, start + BATCH)
                    images = np.stack(work[part])
                    noise = self._noise(seeds[part], images)
                    sigmas = self._sigmas(steps, noise)
                    walk = self._walk(images, instructions[part], guidance, sigmas, bar.advance)
                    state = run(walk, State(noise, 0), sigmas, steps, tell=bar.advance)
                    done.append(self._right(state.tokens, images))
        return np.concatenate(done)

    def _filtered(
        self,
        picture: np.ndarray,
        instruction: str,
        seed: int,
        steps: int,
        guidance: float,
        early: EarlyFilter,
        advance: Callable[[int], None],
    ) -> np.ndarray:
        images = np.stack([picture] * early.candidates)
        noise = self._noise(range(seed, seed + early.candidates), images)
        sigmas = self._sigmas(steps, noise)
        walk = self._walk(images[:1], [instruction], guidance, sigmas, advance)
        state = run(walk, State(noise, 0), sigmas, early.steps, tell=advance)
        previews = self._right(clean_estimate(state, sigmas), images)
        best = tournament(early.judge, picture, instruction, list(previews))
        state = run(walk, state.chosen([best]), sigmas, steps, tell=advance)
        return self._right(state.tokens, images[:1])

    def _before(self, steps: int) -> int:
        """Evaluations of the model for a picture before its edits begin."""
        return 0

    def _walk(
        self,
        images: np.ndarray,
        instructions: Sequence[str],
        guidance: float,
        sigmas: Sequence[float],
        tell: Callable[[int], None],
    ) -> Velocity:
        """The model for these sources and instructions, whose parts that do not change are computed once.

        It takes as many diptychs as there are sources, or any number where there is one.

        Args:
            images: uint8 `b h w 3`, of the working size.
            instructions: one a picture.
            guidance: see `edit`.
            sigmas: times at which the model will be asked.
            tell: called with how many evaluations were made, of those that `_before` counts.
        """
        vae = self.parts.vae
        left = to_latents(vae, torch.from_numpy(images)).to(self.device)
        rows, columns = left.shape[2], left.shape[3]
        gray = gray_half(vae, *images.shape[1:3]).to(self.device)
        hidden = torch.tensor([[False, True]], device=self.device).expand(len(left), 2)
        told = conditions(left, left, gray, hidden, self.parts.factor)
        asked = self._asked(instructions, guidance)

        def velocity(tokens: Tensor, times: Tensor) -> Tensor:
            return asked(tokens, told.repeat(len(tokens) // len(told), 1, 1), times, (rows, 2 * columns))

        return velocity

    def _read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        states, pooled = read(self.parts.reader, texts)
        return states.to(self.device), pooled.to(self.device)

    def _asked(self, instructions: Sequence[str], guidance: float) -> Guided:
        """The model with its text, guided."""
        transformer = self.parts.transformer
        texts = [self.prompt(text) for text in instructions]
        # A distilled model is told the number.
        twice = guidance != 1 and not transformer.config.guidance_embeds
        told_of = self._read([*texts, *[""] * len(texts)] if twice else texts)

        def velocity(tokens: Tensor, told: Tensor, times: Tensor, grid: tuple[int, int]) -> Tensor:
            count = len(tokens) // len(texts)
            if not twice:
                states, pooled = (part.repeat(count, *[1] * (part.ndim - 1)) for part in told_of)
                return predict(transformer, tokens, told, times, (states, pooled), grid, guidance=guidance)
            states, pooled = (
                torch.cat([half.repeat(count, *[1] * (part.ndim - 1)) for half in part.chunk(2)])
                for part in told_of
            )
            both = predict(
                transformer,
                tokens.repeat(2, 1, 1),
                told.repeat(2, 1, 1),
                times.repeat(2),
                (states, pooled),
                grid,
            )
            asked, free = both.chunk(2)
            return free + guidance * (asked - free)

        return velocity

    def _noise(self, seeds: Sequence[int], images: np.ndarray) -> Tensor:
        rows, columns = images.shape[1] // self.parts.factor, images.shape[2] // self.parts.factor
        channels = int(self.parts.vae.config.latent_channels)
        return pack(begin(seeds, channels, rows, 2 * columns)).to(self.device)

    def _sigmas(self, steps: int, tokens: Tensor) -> list[float]:
        return sigmas_of(self.parts.scheduler, steps, tokens.shape[1])

    def _right(self, tokens: Tensor, images: np.ndarray) -> np.ndarray:
        rows, columns = images.shape[1] // self.parts.factor, images.shape[2] // self.parts.factor
        latents = unpack(tokens, rows, 2 * columns)[..., columns:]
        return to_pictures(self.parts.vae, latents.cpu())

    def _resized(self, picture: np.ndarray) -> np.ndarray:
        import cv2

        height, width = working_size(
            picture.shape[0], picture.shape[1], self.parts.size, 2 * self.parts.factor
        )
        if picture.shape[:2] == (height, width):
            return picture
        shrinks = height * width < picture.shape[0] * picture.shape[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        resized: np.ndarray = cv2.resize(picture, (width, height), interpolation=method)
        return resized

    def _check(
        self,
        pictures: Sequence[np.ndarray],
        instructions: Sequence[str],
        steps: int,
        guidance: float,
        filters: Sequence[EarlyFilter | None],
    ) -> None:
        assert len(pictures) == len(instructions), (
            f"{len(instructions)} instructions for {len(pictures)} pictures"
        )
        if not len(pictures):
            raise ConfigError("no picture was given", do="give at least one")
        if any(not text.strip() for text in instructions):
            raise ConfigError("an instruction is empty", do='say what to change, as in "make it red hair"')
        if len({picture.shape for picture in pictures}) > 1:
            raise ConfigError("the pictures differ in size", do="edit those of one size together")
        if not 1 <= steps <= 1000:
            raise ConfigError(f"steps = {steps} is out of range", do="choose 1 to 1000")
        if guidance < 0:
            raise ConfigError(
                f"guidance = {guidance} is out of range", do="choose 0 or more; 1 is no guidance"
            )
        if any(each and each.steps >= steps for each in filters):
            raise ConfigError("the early filter takes as many steps as there are", do="choose fewer for it")


def working_size(height: int, width: int, side: int, unit: int) -> tuple[int, int]:
    """The size that a picture is edited at: its shape, about `side` x `side` pixels, both sides multiples of `unit`.

    DIFFERS: the public code makes every picture 512 wide, and trains on squares.
    """
    share = side / (height * width) ** 0.5
    rows, columns = (max(unit, round(length * share / unit) * unit) for length in (height, width))
    return rows, columns


def export_filler(
    config: FillerConfig, state: Mapping[str, Tensor], tokenizer: bytes, extra: Export | None = None
) -> Export:
    """The checkpoint of a filler: matrices in float16, vectors in float32.

    Args:
        config: of the filler.
        state: its weights.
        tokenizer: the content of its tokenizer.json.
        extra: of `export_adapter`, an adapter beside it.
    """
    from visionsmith.train.task import Export

    settings: dict[str, Any] = {"filler": encode(config), **(extra.config if extra else {})}
    tensors = _small(state) | (dict(extra.tensors) if extra else {})
    return Export(config=settings, tensors=tensors, files={TOKENIZER_FILE: tokenizer})


def export_adapter(
    adapter: Adapter, updates: Mapping[str, Tensor], *, template: str, base: str | None = None
) -> Export:
    """The checkpoint of an adapter: matrices in float16, vectors in float32.

    Args:
        adapter: of these sizes.
        updates: its weights.
        template: of the prompt.
        base: what it was trained beside, where a checkpoint does not hold that: a folder or a hub id.
    """
    from visionsmith.papers.icedit.official import export as published
    from visionsmith.train.task import Export

    adapter.load_state_dict(dict(updates))
    settings = {"adapter": encode(adapter.config), "template": template, **({"base": base} if base else {})}
    tensors = {f"{ADAPTER}{name}": value for name, value in published(adapter).items()}
    return Export(config=settings, tensors=_small(tensors), files={})


def _small(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value.detach().half() if value.ndim > 1 else value.detach().float()
        for name, value in tensors.items()
        if value.is_floating_point()
    }
