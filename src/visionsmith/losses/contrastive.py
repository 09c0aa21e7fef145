"""The symmetric contrastive loss of CLIP (Radford et al. 2021, section 2.3 and figure 3).

With scores S = exp(logit_scale) * images @ texts.T, where pair i is row i and column i,

    loss = mean_i [ (logsumexp_j S_ij - S_ii) + (logsumexp_j S_ji - S_ii) ] / 2

One pass over S yields everything that is needed: the log-sum-exp of every row and every column, the
scores of the pairs, and the best score of a wrong partner. The pass runs over blocks of rows, and backward
computes each block again, so memory is linear in the batch; a single block is kept instead.

Axes: b pairs of this process, n pairs of all processes (n = W*b), W processes, e embedding.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from visionsmith.errors import ConfigError
from visionsmith.losses.gather import gather_with_gradient, world_size
from visionsmith.losses.precision import at_least_float32, full_precision

__all__ = ["ContrastiveOutput", "clamp_logit_scale_", "contrastive_loss", "distributed_contrastive_loss"]


class ContrastiveOutput(NamedTuple):
    """Loss and accuracies, scalars."""

    loss: Tensor
    """Nats; log(n) when the features say nothing."""
    image_accuracy: Tensor
    """Share of images whose own text scores above every other text; a tie is a miss. Carries no gradient."""
    text_accuracy: Tensor
    """The same for texts against images."""


def contrastive_loss(
    images: Tensor, texts: Tensor, logit_scale: Tensor, *, chunk: int | None = None
) -> ContrastiveOutput:
    """The loss of a batch of pairs.

    Computed in float32 (float64 features stay so), under autocast too: where exp(logit_scale) = 100 a
    bfloat16 score is off by up to 0.25 nats.

    Args:
        images: `b e`, unit norm.
        texts: `b e`, unit norm; row i belongs to row i of `images`.
        logit_scale: scalar, the logarithm of the inverse temperature.
        chunk: rows of the score matrix that are held at once; memory is then `chunk * b`, and backward
            computes the scores a second time. None holds the whole matrix.

    Raises:
        ConfigError: `chunk` is below 1.
    """
    images, texts, scale = _prepare(images, texts, logit_scale)
    found = _statistics(images, texts, scale, chunk, first_pair=0)
    return _output(found.pair, found.per_image, found.per_text, found.image_rival, found.text_rival)


def distributed_contrastive_loss(
    images: Tensor, texts: Tensor, logit_scale: Tensor, *, chunk: int | None = None
) -> ContrastiveOutput:
    """The loss of the pairs of all processes, of which each computes its own rows only.

    A process scores its own images against all texts, `b n`. The other half, its own texts against all
    images, lies in the rows of the other processes, so instead of a second product the partial log-sum-exp
    of every column is exchanged.

    The factor: process r minimises L_r, the mean over its own b rows and b columns, so the loss of the whole
    batch is L = sum_r L_r / W. A gathered tensor returns the sum over processes of its gradients, hence the
    features f_r of process r receive d(sum_s L_s)/df_r = W * dL/df_r. DistributedDataParallel (FSDP too) then
    takes the mean over processes of the parameters' gradients, and the W cancels: no further factor is due.
    The same holds for `logit_scale`.

    Args:
        images: `b e`, unit norm, the pairs of this process; b is the same in every process.
        texts: `b e`, unit norm.
        logit_scale: scalar, the logarithm of the inverse temperature.
        chunk: rows of this process's scores that are held at once; None holds them all.

    Returns:
        Values of the whole batch, the same in every process. In a single process this is `contrastive_loss`.

    Raises:
        ConfigError: `chunk` is below 1.
    """
    if world_size() == 1:
        return contrastive_loss(images, texts, logit_scale, chunk=chunk)
    images, texts, scale = _prepare(images, texts, logit_scale)
    first = dist.get_rank() * len(texts)
    own = slice(first, first + len(texts))
    found = _statistics(images, gather_with_gradient(texts), scale, chunk, first_pair=first)
    per_text = gather_with_gradient(found.per_text[None]).logsumexp(0)[own]
    text_rival = found.text_rival.clone()
    dist.all_reduce(text_rival, op=dist.ReduceOp.MAX)
    local = _output(found.pair, found.per_image, per_text, found.image_rival, text_rival[own])
    whole = torch.stack(local).detach()
    dist.all_reduce(whole, op=dist.ReduceOp.SUM)
    whole = whole / world_size()
    # The value of the whole batch with the gradient of L_r.
    loss = local.loss + (whole[0] - local.loss).detach()
    return ContrastiveOutput(loss, whole[1], whole[2])


def clamp_logit_scale_(logit_scale: Tensor, maximum: float = math.log(100)) -> None:
    """Keep the inverse temperature at or below exp(`maximum`), in place, after a step (section 2.5)."""
    with torch.no_grad():
        logit_scale.clamp_(max=maximum)


class _Statistics(NamedTuple):
    """What one pass over the scores of `b` images and `n` texts finds."""

    per_image: Tensor
    """`b`: log-sum-exp over the texts."""
    per_text: Tensor
    """`n`: log-sum-exp over the images."""
    pair: Tensor
    """`b`: the score of each pair."""
    image_rival: Tensor
    """`b`: the best wrong text's score; no gradient."""
    text_rival: Tensor
    """`n`: the best wrong image's score; no gradient."""


def _prepare(images: Tensor, texts: Tensor, logit_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shapes = f"{tuple(images.shape)} and {tuple(texts.shape)}"
    assert images.ndim == 2, f"features must be matrices, got {shapes}"
    assert images.shape == texts.shape, f"features must have one shape, got {shapes}"
    assert len(images) > 0, f"a batch needs at least one pair, got {shapes}"
    assert logit_scale.numel() == 1, f"logit_scale must be a scalar, got {tuple(logit_scale.shape)}"
    dtype = at_least_float32(images, texts)
    return images.to(dtype), texts.to(dtype), logit_scale.reshape(()).to(dtype).exp()


def _statistics(
    images: Tensor, texts: Tensor, scale: Tensor, chunk: int | None, *, first_pair: int
) -> _Statistics:
    """Image i belongs to text `first_pair + i`."""
    if chunk is not None and chunk < 1:
        raise ConfigError(
            f"chunk = {chunk} rows", do="give at least 1, or leave it out to hold all rows at once"
        )
    return _Statistics(*_OnePass.apply(images, texts, scale, chunk, first_pair))  # type: ignore[no-untyped-call]


def _output(
    pair: Tensor, per_image: Tensor, per_text: Tensor, image_rival: Tensor, text_rival: Tensor
) -> ContrastiveOutput:
    loss = ((per_image - pair).mean() + (per_text - pair).mean()) / 2
    score = pair.detach()
    return ContrastiveOutput(
        loss, (score > image_rival).to(score.dtype).mean(), (score > text_rival).to(score.dtype).mean()
    )


class _OnePass(torch.autograd.Function):
    """`_Statistics` of the scores, without ever holding more than `chunk` rows of them."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, chunk: int | None, first_pair: int
    ) -> tuple[Tensor, ...]:
        per_image, pair, image_rival = (images.new_empty(len(images)) for _ in range(3))
        per_text, text_rival = (images.new_full((len(texts),), -math.inf) for _ in range(2))
        for rows in _blocks(len(images), chunk):
            block = _scores(images[rows], texts, scale)
            per_image[rows] = block.logsumexp(1)
            per_text = torch.logaddexp(per_text, block.logsumexp(0))
            diagonal = block.diagonal(first_pair + rows.start)
            pair[rows] = diagonal
            diagonal.fill_(-math.inf)
            image_rival[rows] = block.amax(1)
            text_rival = torch.maximum(text_rival, block.amax(0))
            diagonal.copy_(pair[rows])
        ctx.chunk, ctx.first_pair = chunk, first_pair
        kept = (block,) if chunk is None or chunk >= len(images) else ()
        ctx.save_for_backward(images, texts, scale, per_image, per_text, *kept)
        ctx.mark_non_differentiable(image_rival, text_rival)
        return per_image, per_text, pair, image_rival, text_rival

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_per_image: Tensor, grad_per_text: Tensor, grad_pair: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, ...]:
        images, texts, scale, per_image, per_text, *kept = ctx.saved_tensors
        grad_images, grad_texts = torch.empty_like(images), torch.zeros_like(texts)
        grad_scale = torch.zeros_like(scale)
        for rows in _blocks(len(images), ctx.chunk):
            block = kept[0] if kept else _scores(images[rows], texts, scale)
            # The derivative by S: each direction's softmax, and at the pairs their own gradient.
            weights = (block - per_image[rows, None]).exp_().mul_(grad_per_image[rows, None])
            weights += (block - per_text).exp_().mul_(grad_per_text)
            weights.diagonal(ctx.first_pair + rows.start).add_(grad_pair[rows])
            with full_precision(weights):
                pulled = weights @ texts
                grad_texts += weights.T @ images[rows]
            grad_scale += (pulled * images[rows]).sum()
            grad_images[rows] = pulled * scale
        return grad_images, grad_texts * scale, grad_scale, None, None


def _blocks(rows: int, chunk: int | None) -> list[slice]:
    step = rows if chunk is None else chunk
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _scores(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    with full_precision(images):
        return (images @ texts.T).mul_(scale)
