"""The diffusion prior: from a text to the CLIP embedding of a picture that it fits (section 2.2).

The sequence is: the text's tokens, the text's embedding, the time, the noised image embedding, and a last token that
the prediction is read from. diffusers' `PriorTransformer` is that model.

Axes: b samples, n text tokens, w text width, e embedding, d inner width.
"""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler, PriorTransformer, UnCLIPScheduler
from torch import Tensor, nn

from visionsmith.errors import DataError
from visionsmith.memory.locks import library_load
from visionsmith.papers.unclip.config import PriorConfig

__all__ = ["Read", "make_noise", "make_prior", "make_sampler", "predict_at_once", "set_statistics"]


class Read:
    """What a text encoder says of some texts."""

    def __init__(self, states: Tensor, embedding: Tensor, mask: Tensor) -> None:
        """Make it.

        Args:
            states: of the last layer, float `b n w`.
            embedding: projected state of the end token, not normalised, float `b e`.
            mask: bool `b n`, true up to and with the end token.
        """
        self.states, self.embedding, self.mask = states, embedding, mask

    def __len__(self) -> int:
        return len(self.embedding)

    def rows(self, places: Tensor | slice) -> Read:
        """Some of them."""
        return Read(self.states[places], self.embedding[places], self.mask[places])

    def repeated(self, times: int) -> Read:
        """Each of them several times, one after the other."""
        return Read(
            *(part.repeat_interleave(times, dim=0) for part in (self.states, self.embedding, self.mask))
        )

    def beside(self, other: Read) -> Read:
        """These, then the others."""
        pairs = ((self.states, other.states), (self.embedding, other.embedding), (self.mask, other.mask))
        return Read(*(torch.cat(pair) for pair in pairs))


def make_prior(config: PriorConfig) -> PriorTransformer:
    """A new `PriorTransformer` of these sizes, its statistics unset (0), as the library makes it."""
    with library_load():
        prior = PriorTransformer(
            num_attention_heads=config.heads,
            attention_head_dim=config.head_width,
            num_layers=config.layers,
            embedding_dim=config.embedding,
            num_embeddings=config.text_tokens,
        )
    inner = config.heads * config.head_width
    if config.text_width != config.embedding:
        # The library takes the states to be as wide as the embeddings, which CLIP does not promise.
        prior.encoder_hidden_states_proj = nn.Linear(config.text_width, inner)
    # They start at 0 there, which tells neither places nor the last token from others.
    nn.init.normal_(prior.positional_embedding, std=0.02)
    nn.init.normal_(prior.prd_embedding, std=0.02)
    for name in ("clip_mean", "clip_std"):
        getattr(prior, name).requires_grad_(False)
    return prior


@torch.no_grad()
def set_statistics(prior: PriorTransformer, embeddings: Tensor) -> None:
    """Measure the mean and deviation that image embeddings are standardised with. `embeddings`: float `n e`.

    The paper multiplies by 17.2 in place of that, for unit variance as well.

    Raises:
        DataError: fewer than two embeddings, or a value that is the same in all of them.
    """
    if len(embeddings) < 2:
        raise DataError(f"{len(embeddings)} embeddings have no deviation", do="give at least two pictures")
    std, mean = torch.std_mean(embeddings.float(), dim=0)
    if bool((std == 0).any()):
        raise DataError("a value is the same in all embeddings", do="give pictures that differ")
    prior.clip_mean.copy_(mean[None])
    prior.clip_std.copy_(std[None])


def make_noise(config: PriorConfig) -> DDPMScheduler:
    """The forward process that is trained on; the clean embedding is predicted."""
    return DDPMScheduler(
        num_train_timesteps=config.steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
    )


def make_sampler(config: PriorConfig) -> UnCLIPScheduler:
    """The sampler of the way back, as Karlo's."""
    return UnCLIPScheduler(
        num_train_timesteps=config.steps,
        variance_type="fixed_small_log",
        prediction_type="sample",
        clip_sample=True,
        clip_sample_range=config.most,
    )


def predict_at_once(prior: PriorTransformer, config: PriorConfig, read: Read) -> Tensor:
    """Standardised embeddings `b e` without diffusion: zeros for the noised embedding, and the last time."""
    found: Tensor = prior(
        torch.zeros_like(read.embedding),
        config.steps - 1,
        proj_embedding=read.embedding,
        encoder_hidden_states=read.states,
        attention_mask=read.mask if config.causal else None,
    ).predicted_image_embedding
    return found
