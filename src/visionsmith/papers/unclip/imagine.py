"""Sampling image embeddings from the prior (section 2.2): guidance, and the better of several samples.

Axes: b texts, e embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import PriorTransformer
from torch import Tensor
from torch.nn import functional as F

from visionsmith.data.progress import DelayedBar
from visionsmith.errors import ConfigError
from visionsmith.papers.unclip.config import PriorConfig
from visionsmith.papers.unclip.prefix import Prefix
from visionsmith.papers.unclip.prior import Read, make_sampler, predict_at_once

__all__ = ["imagine"]


@torch.no_grad()
def imagine(
    prior: PriorTransformer,
    config: PriorConfig,
    texts: Read,
    nothing: Read,
    *,
    steps: int = 25,
    guidance: float = 1.0,
    samples: int = 2,
    seeds: Sequence[int] | None = None,
    cached: bool = True,
    progress: bool = False,
) -> Tensor:
    """Unit-norm image embeddings `b e` that fit the texts.

    A prior without diffusion has one answer a text, whatever the settings.

    Args:
        prior: in evaluation mode, its statistics set.
        config: its sizes.
        texts: what the text encoder says of them.
        nothing: what it says of the empty text, one row; used with guidance.
        steps: of the sampler; the paper takes 64 of another one.
        guidance: how much more the text counts than no text; 1: no guidance.
        samples: drawn a text; that with the larger dot product with the text's embedding is kept (the paper draws 2).
        seeds: one a text; None: 0, 1, ...
        cached: whether the text prefix is computed once; needs the causal mask, without which it is ignored.
        progress: whether to show a bar.

    Raises:
        ConfigError: a setting is out of range.
    """
    for name, value, holds in (
        ("steps", steps, 2 <= steps <= config.steps),
        ("guidance", guidance, guidance >= 0),
        ("samples", samples, samples >= 1),
    ):
        if not holds:
            raise ConfigError(
                f"{name} = {value} is out of range",
                do=f"choose 2 to {config.steps} steps, guidance from 0, samples from 1",
            )
    if not config.diffusion:
        mean: Tensor = prior.post_process_latents(predict_at_once(prior, config, texts)).float()
        return F.normalize(mean, dim=1)
    seeds = range(len(texts)) if seeds is None else seeds
    asked = texts.repeated(samples)
    drawn = [torch.Generator().manual_seed(seed) for seed in seeds]
    width = config.embedding
    state = torch.cat([torch.randn(samples, width, generator=stream) for stream in drawn]).to(texts.embedding)
    guided = guidance != 1.0
    # Both branches in one call.
    both = asked.beside(nothing.repeated(len(asked))) if guided else asked
    prefix = Prefix(prior, both) if cached and config.causal else None
    sampler = make_sampler(config)
    sampler.set_timesteps(steps, device=state.device)
    times = sampler.timesteps
    with DelayedBar("imagining", len(times), show=progress) as bar:
        for place, time in enumerate(times):
            rows = torch.cat((state, state)) if guided else state
            found = prefix.step(rows, time) if prefix else _whole(prior, config, rows, time, both)
            if guided:
                with_text, without = found.chunk(2)
                found = without + guidance * (with_text - without)
            before = times[place + 1] if place + 1 < len(times) else None
            # The sampler takes one stream for all rows; a stream a text makes a text's result its own.
            state = _step(sampler, found, time, state, before, drawn, samples)
            bar.advance()
    made: Tensor = prior.post_process_latents(state).float()
    embeddings = F.normalize(made, dim=1).view(len(texts), samples, -1)
    fit = torch.einsum("bse,be->bs", embeddings, F.normalize(texts.embedding.float(), dim=1))
    best: Tensor = embeddings[torch.arange(len(texts)), fit.argmax(dim=1)]
    return best


def _whole(prior: PriorTransformer, config: PriorConfig, rows: Tensor, time: Tensor, read: Read) -> Tensor:
    found: Tensor = prior(
        rows,
        time,
        proj_embedding=read.embedding,
        encoder_hidden_states=read.states,
        attention_mask=read.mask if config.causal else None,
    ).predicted_image_embedding
    return found


def _step(
    sampler: Any,
    found: Tensor,
    time: Tensor,
    state: Tensor,
    before: Tensor | None,
    drawn: Sequence[torch.Generator],
    samples: int,
) -> Tensor:
    """One step of the sampler, the noise of each text from its own stream."""
    mean = []
    for place, stream in enumerate(drawn):
        rows = slice(place * samples, (place + 1) * samples)
        made = sampler.step(
            found[rows], timestep=time, sample=state[rows], generator=stream, prev_timestep=before
        )
        mean.append(made.prev_sample)
    return torch.cat(mean)
