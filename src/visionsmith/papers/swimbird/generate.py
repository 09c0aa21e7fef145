"""Writing answers in a batch: each row switches by itself between words and thoughts.

A row that has written `<|latent_start|>` feeds its last hidden state back as its next input until it writes
`<|latent_end|>`, at least N_min and at most N_max times. The switch is a mask on the device, so that rows in words and
rows in thought go through the model together; the library's own sampling loop is not touched.

Axes: b rows, t positions, d width, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from visionsmith.errors import ConfigError
from visionsmith.papers.swimbird.config import SwimBirdConfig
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.train.task import Batch

__all__ = ["Sampling", "Span", "Written", "generate"]

LOOK_EVERY = 8
"""Steps between looks at whether every row has ended: a look waits for the device."""


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen."""

    temperature: float = 0.0
    """0: the most probable one."""
    top_p: float = 1.0
    """Of the probability, the share that may be chosen from."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"temperature {self.temperature} or top_p {self.top_p} is out of range",
                do="choose temperature >= 0 and 0 < top_p <= 1",
            )


@dataclass(frozen=True)
class Span:
    """One latent span of an answer."""

    start: int
    """Place of `<|latent_start|>` among the answer's tokens."""
    length: int
    """Thoughts."""
    closed: bool
    """Whether the model closed it; otherwise N_max did, or the answer ended."""


@dataclass(frozen=True)
class Written:
    """What one row wrote."""

    ids: list[int]
    """Tokens, thoughts as `latent_id`, without the end of the turn."""
    spans: list[Span]
    thoughts: Tensor = field(repr=False)
    """`m d`, all thoughts in order, on the CPU."""
    ended: bool
    """Whether the model ended its turn; otherwise the limit did."""


Replace = Callable[[Tensor], Tensor]
"""Thoughts `b d` -> what is fed back in their place; for controls (zeros, noise)."""


@torch.inference_mode()
def generate(
    model: SwimBird,
    batch: Batch,
    *,
    most: int = 256,
    sampling: Sampling | None = None,
    replace: Replace | None = None,
) -> list[Written]:
    """Continue each row of a batch.

    Args:
        model: in evaluation mode.
        batch: "ids", "mask" `b t`, padded on the left, and "values", "grids" of the pictures.
        most: most tokens a row, thoughts included.
        sampling: how tokens are chosen; None: the most probable.
        replace: changes what is fed back as a thought.
    """
    from transformers import DynamicCache

    sampling = sampling or Sampling()
    config, device = model.config, batch["ids"].device
    chance = torch.Generator(device).manual_seed(sampling.seed) if sampling.temperature else None
    language, embed = model.qwen.model.language_model, model.qwen.get_input_embeddings()
    rows, length = batch["ids"].shape
    mask = torch.cat([batch["mask"], batch["mask"].new_ones(rows, most)], dim=1)
    states, places, deep, pictured = model.inputs(
        batch["ids"], batch["mask"], values=batch.get("values"), grids=batch.get("grids"), thoughts=None
    )
    # Text goes on one after the furthest place of the prompt, in all of M-RoPE's axes.
    following = places.amax(dim=-1)
    following[1:] = following[1:].amax(dim=0)
    cache = DynamicCache(config=model.qwen.config.get_text_config())
    step = {"visual_pos_masks": pictured, "deepstack_visual_embeds": deep}

    written = torch.full((rows, most), config.end_id, device=device)
    thoughts: list[Tensor] = []
    thinking = torch.zeros(rows, dtype=torch.bool, device=device)
    count = torch.zeros(rows, dtype=torch.long, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    for place in range(most):
        last = language(
            inputs_embeds=states,
            attention_mask=mask[:, : length + place],
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            **step,
        ).last_hidden_state[:, -1]
        step = {}
        token = _choose(model.head(last), thinking, count, config, sampling, chance)
        leaves = thinking & ((token == config.latent_end_id) | (count >= config.most_latents))
        token = torch.where(thinking, torch.where(leaves, config.latent_end_id, config.latent_id), token)
        token = torch.where(ended, config.end_id, token)
        stays = thinking & ~leaves & ~ended
        written[:, place] = token
        fed = last if replace is None else replace(last)
        thoughts.append(fed)
        states = torch.where(stays[:, None], fed.to(states.dtype), embed(token))[:, None]
        count = torch.where(stays, count + 1, 0)
        thinking = (stays | (token == config.latent_start_id)) & ~ended
        ended |= token == config.end_id
        following = following + 1
        places = following[..., None]
        if place % LOOK_EVERY == LOOK_EVERY - 1 and bool(ended.all()):
            break
    return _rows(written.cpu(), torch.stack(thoughts, dim=1).cpu(), model)


def _choose(
    logits: Tensor,
    thinking: Tensor,
    count: Tensor,
    config: SwimBirdConfig,
    sampling: Sampling,
    chance: torch.Generator | None,
) -> Tensor:
    """One token a row from logits `b v`: int64 `b`."""
    logits = logits.float()
    # A span is not left before N_min, and outside of one neither its filler nor its end can be written.
    early = thinking & (count < config.min_latent_token)
    logits[:, config.latent_end_id].masked_fill_(early | ~thinking, -torch.inf)
    logits[:, config.latent_id].masked_fill_(~thinking, -torch.inf)
    logits[:, config.image_id] = -torch.inf
    if not sampling.temperature:
        return logits.argmax(dim=-1)
    shares = (logits / sampling.temperature).softmax(dim=-1)
    if sampling.top_p < 1:
        ordered, places = shares.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered > sampling.top_p
        shares = torch.zeros_like(shares).scatter(-1, places, ordered.masked_fill(beyond, 0.0))
    return torch.multinomial(shares, 1, generator=chance)[:, 0]


def _rows(written: Tensor, thoughts: Tensor, model: SwimBird) -> list[Written]:
    config = model.config
    found = []
    for tokens, states in zip(written.tolist(), thoughts, strict=True):
        ended = config.end_id in tokens
        ids = tokens[: tokens.index(config.end_id)] if ended else tokens
        spans, start = [], None
        for place, token in enumerate(ids):
            if token == config.latent_start_id:
                start = place
            elif token == config.latent_end_id and start is not None:
                length = place - start - 1
                spans.append(Span(start, length, closed=length < config.most_latents))
                start = None
        if start is not None:
            spans.append(Span(start, len(ids) - start - 1, closed=False))
        places = [place for place, token in enumerate(ids) if token == config.latent_id]
        found.append(Written(ids, spans, states[places], ended))
    return found
