"""The supervised contrastive losses (Khosla et al. 2020, equations 1 to 3).

Every view of every sample is an anchor i. With scores s_ia = z_i . z_a / temperature over all other rows A(i),
and the rows P(i) among them that have the anchor's label,

    L_out = mean_i  -1/|P(i)| sum_{p in P(i)} ( s_ip - logsumexp_{a in A(i)} s_ia )
    L_in  = mean_i  -log ( 1/|P(i)| sum_{p in P(i)} exp( s_ip - logsumexp_{a in A(i)} s_ia ) )

Without labels P(i) holds the other views of the anchor's sample, which is the loss of SimCLR. An anchor without
a positive adds nothing to the sum and still counts in the mean, as in the public code.

The positives of L_out need no matrix: sum_p z_i . z_p = z_i . (sum of the rows with that label - z_i). What is
left is a log-sum-exp for each row of a symmetric matrix. It is computed in square blocks on and above the
diagonal, each of which serves its rows and its columns, and again in backward: memory is linear in the batch.

Axes: b samples, v views of each, n = v*b rows (view by view, as in the public code), k anchors, d features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from visionsmith.errors import ConfigError
from visionsmith.losses.gather import gather_with_gradient, world_size
from visionsmith.losses.precision import at_least_float32, full_precision

__all__ = ["distributed_supcon_loss", "supcon_loss"]

_SPREAD = 80.0
"""Scores that lie no further apart can be exponentiated with one common shift in float32: nothing underflows."""


def supcon_loss(
    features: Tensor,
    labels: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    temperature: float = 0.07,
    base_temperature: float | None = 0.07,
    contrast: Literal["all", "one"] = "all",
    form: Literal["out", "in"] = "out",
    chunk: int = 1024,
) -> Tensor:
    """The loss of a batch of samples in several views.

    Computed in float32 (float64 features stay so), under autocast too.

    Args:
        features: `b v ...`, unit norm; axes after the second are flattened.
        labels: `b`. Without them and without `mask` the positives of a view are the other views of its sample.
        mask: `b b`, in place of `labels`: 1 where sample j is a positive of sample i, else 0.
        temperature: above 0.
        base_temperature: the loss is multiplied by temperature / base_temperature. The public code does so with 0.07
            at every temperature, and its learning rates rest on it; None leaves it out, as the paper does.
        contrast: "all": every view is an anchor; "one": only the first view of each sample.
        form: "out": L_out, the paper's choice; "in": L_in.
        chunk: side of the blocks of scores that are held at once. Backward computes them a second time.

    Returns:
        Scalar.

    Raises:
        ConfigError: shapes that do not belong together, both `labels` and `mask`, or a number out of range.
    """
    rows = _rows(features)
    samples = len(features)
    positives = _Positives(rows, samples, labels, mask)
    factor = _factor(temperature, base_temperature, chunk)
    scaled = rows / math.sqrt(temperature)
    with full_precision(rows):
        if contrast == "all" and form == "out":
            everyone = torch.arange(len(rows), device=rows.device)
            log_sum: Tensor = _LogSumExp.apply(scaled, chunk)  # type: ignore[no-untyped-call]
            terms = positives.keep(log_sum - positives.mean_score(scaled, everyone), everyone)
        else:
            anchors = torch.arange(len(rows) if contrast == "all" else samples, device=rows.device)
            terms = _in_chunks(scaled, positives, anchors, form, chunk)
    return factor * terms.mean()


def distributed_supcon_loss(
    features: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 0.07,
    base_temperature: float | None = 0.07,
    contrast: Literal["all", "one"] = "all",
    form: Literal["out", "in"] = "out",
    chunk: int = 1024,
) -> Tensor:
    """The loss of the samples of all processes, of which each computes the terms of its own anchors only.

    Args:
        features: `b v ...`, unit norm, of this process's samples; the same shape in every process.
        labels: `b`, of this process's samples.
        temperature, base_temperature, contrast, form, chunk: as for `supcon_loss`.

    Returns:
        The value of the whole batch, the same in every process, with the gradient of this process's mean over its own
        anchors. DistributedDataParallel takes the mean over processes of the parameters' gradients, which
        then is the gradient of the whole (see `contrastive.distributed_contrastive_loss`). In a single
        process this is `supcon_loss`.

    Raises:
        ConfigError: as `supcon_loss`.
    """
    options: dict[str, Any] = {"contrast": contrast, "form": form, "chunk": chunk}
    options |= {"temperature": temperature, "base_temperature": base_temperature}
    if world_size() == 1:
        return supcon_loss(features, labels, **options)
    own = len(features)
    rows = _rows(gather_with_gradient(features))
    samples = world_size() * own
    positives = _Positives(rows, samples, None if labels is None else _gather_labels(labels, own), None)
    factor = _factor(temperature, base_temperature, chunk)
    views = len(rows) // samples if contrast == "all" else 1
    mine = torch.arange(own, device=rows.device) + dist.get_rank() * own
    anchors = torch.cat([mine + view * samples for view in range(views)])
    with full_precision(rows):
        terms = _in_chunks(rows / math.sqrt(temperature), positives, anchors, form, chunk)
    local = factor * terms.mean()
    whole = local.detach().clone()
    dist.all_reduce(whole)
    return local + (whole / world_size() - local).detach()


class _Positives:
    """Which rows belong together, and sums over them."""

    def __init__(self, rows: Tensor, samples: int, labels: Tensor | None, mask: Tensor | None) -> None:
        if labels is not None and mask is not None:
            raise ConfigError("labels and a mask were given", do="give one of them")
        if mask is not None and mask.shape != (samples, samples):
            raise ConfigError(
                f"a mask of shape {tuple(mask.shape)} for {samples} samples",
                do=f"give one of shape ({samples}, {samples})",
            )
        if labels is not None:
            _require_labels(labels, samples)
        self.samples, self.views = samples, len(rows) // samples
        self.mask = None if mask is None else mask.to(rows.dtype)
        if labels is None:
            self.labels = torch.arange(samples, device=rows.device)
        else:
            # Numbered from 0 on, so that sums by label have as many rows as there are labels.
            self.labels = torch.unique(labels, return_inverse=True)[1]
        self.self_counted = rows.new_ones(samples) if self.mask is None else self.mask.diagonal()
        ones = rows.new_ones(len(rows), 1)
        self.count = self._sums(ones)[:, 0] - self.self_counted
        """|P(i)| for the views of each sample, `b`."""

    def mean_score(self, scaled: Tensor, anchors: Tensor) -> Tensor:
        """`k`: the mean over P(i) of the scores of each anchor; 0 where it has none."""
        place, own = anchors % self.samples, scaled[anchors]
        total = (own * self._sums(scaled)[place]).sum(1) - self.self_counted[place] * own.square().sum(1)
        return total / self.count[place].clamp(min=1)

    def among(self, anchors: Tensor) -> Tensor:
        """`k n`: whether a row is in P(i) of an anchor."""
        columns = torch.arange(self.views * self.samples, device=anchors.device)
        left, right = anchors % self.samples, columns % self.samples
        others = anchors[:, None] != columns
        if self.mask is not None:
            return others & (self.mask[left][:, right] > 0)
        return others & (self.labels[left][:, None] == self.labels[right])

    def keep(self, terms: Tensor, anchors: Tensor) -> Tensor:
        """`k`: the terms of anchors with a positive, 0 for the others."""
        return torch.where(self.count[anchors % self.samples] > 0, terms, 0)

    def _sums(self, rows: Tensor) -> Tensor:
        """`b d`: the sum of all rows that are positives of each sample, itself included."""
        by_sample = rows.view(self.views, self.samples, -1).sum(0)
        if self.mask is not None:
            return self.mask @ by_sample
        by_label = rows.new_zeros(int(self.labels.max()) + 1, rows.shape[1])
        return by_label.index_add(0, self.labels, by_sample)[self.labels]


def _in_chunks(scaled: Tensor, positives: _Positives, anchors: Tensor, form: str, chunk: int) -> Tensor:
    """`k`: each anchor's term, from `chunk` rows of scores at a time, which backward computes again."""

    def terms(part: Tensor) -> Tensor:
        scores = (scaled[part] @ scaled.T).scatter(1, part[:, None], -math.inf)
        log_sum = scores.logsumexp(1)
        if form == "out":
            return positives.keep(log_sum - positives.mean_score(scaled, part), part)
        count = positives.count[part % positives.samples]
        # An anchor without a positive takes all rows, for a log-sum-exp of nothing has no gradient.
        chosen = positives.among(part) | (count == 0)[:, None]
        of_positives = scores.masked_fill(~chosen, -math.inf).logsumexp(1)
        return positives.keep(log_sum - of_positives + count.clamp(min=1).log(), part)

    parts = [checkpoint(terms, part, use_reentrant=False) for part in torch.split(anchors, chunk)]
    return torch.cat(parts)


class _LogSumExp(torch.autograd.Function):
    """`n d` -> `n`: log sum_{j != i} exp(z_i . z_j), in blocks of a symmetric matrix."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, chunk: int) -> Tensor:
        shift = float(z.square().sum(1).max())
        ctx.chunk, ctx.shift = chunk, shift if 2 * shift < _SPREAD else None
        found = z.new_zeros(len(z)) if ctx.shift is not None else z.new_full((len(z),), -math.inf)
        for left, right in _blocks(len(z), chunk):
            block = z[left] @ z[right].T
            if left == right:
                block.fill_diagonal_(-math.inf)
            if ctx.shift is not None:
                block.sub_(ctx.shift).exp_()
                found[left] += block.sum(1)
            else:
                found[left] = torch.logaddexp(found[left], block.logsumexp(1))
            if left != right and ctx.shift is not None:
                found[right] += block.sum(0)
            elif left != right:
                found[right] = torch.logaddexp(found[right], block.logsumexp(0))
        log_sum = found if ctx.shift is None else found.log() + ctx.shift
        ctx.save_for_backward(z, log_sum)
        return log_sum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        z, log_sum = ctx.saved_tensors
        result = torch.zeros_like(z)
        if ctx.shift is not None:
            share = gradient * (ctx.shift - log_sum).exp()
        for left, right in _blocks(len(z), ctx.chunk):
            block = z[left] @ z[right].T
            if left == right:
                block.fill_diagonal_(-math.inf)
            # The softmax of row i weighted with the gradient of i, and that of row j with the gradient of j.
            if ctx.shift is not None:
                weights = block.sub_(ctx.shift).exp_().mul_(share[left, None] + share[right])
            else:
                weights = (block - log_sum[left, None]).exp_().mul_(gradient[left, None])
                weights += (block - log_sum[right]).exp_().mul_(gradient[right])
            result[left] += weights @ z[right]
            if left != right:
                result[right] += weights.T @ z[left]
        return result, None


def _blocks(rows: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Square blocks on and above the diagonal."""
    cuts = [slice(start, min(start + chunk, rows)) for start in range(0, rows, chunk)]
    for place, left in enumerate(cuts):
        for right in cuts[place:]:
            yield left, right


def _rows(features: Tensor) -> Tensor:
    """`b v ...` -> `n d`, view by view."""
    if features.ndim < 3 or len(features) * features.shape[1] < 2:
        raise ConfigError(
            f"features of shape {tuple(features.shape)}",
            do="give (samples, views, width) with at least two rows; a single view is features[:, None]",
        )
    flat = features.to(at_least_float32(features)).flatten(2)
    return flat.transpose(0, 1).reshape(-1, flat.shape[2])


def _factor(temperature: float, base_temperature: float | None, chunk: int) -> float:
    if temperature <= 0 or chunk < 1 or (base_temperature is not None and base_temperature <= 0):
        raise ConfigError(
            f"temperature = {temperature}, base_temperature = {base_temperature}, chunk = {chunk}",
            do="choose temperatures above 0 and a chunk of at least 1",
        )
    return 1.0 if base_temperature is None else temperature / base_temperature


def _require_labels(labels: Tensor, samples: int) -> None:
    if labels.shape != (samples,):
        raise ConfigError(
            f"labels of shape {tuple(labels.shape)} for {samples} samples", do="give one label a sample"
        )


def _gather_labels(labels: Tensor, own: int) -> Tensor:
    _require_labels(labels, own)
    gathered = labels.new_empty(world_size() * own)
    dist.all_gather_into_tensor(gathered, labels.contiguous())
    return gathered
