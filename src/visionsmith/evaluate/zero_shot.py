"""Zero-shot classification: a picture's nearest text among candidates (Radford et al. 2021, section 3.1).

Axes: n pictures, c candidate texts, e embedding, t templates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import torch
import torch.nn.functional as F
from torch import Tensor

from visionsmith.errors import ConfigError, DataError

__all__ = ["check_embeddings", "ensemble", "first_true_ranks", "rank_scores", "zero_shot"]

TIE = 8
"""Scores that differ by no more roundings than this are one score: those of equal embeddings at two places of
a matrix product may differ by one or two."""

ROWS = 1024
"""Pictures that are scored at once."""


def zero_shot(
    images: Tensor, candidates: Tensor, truth: Sequence[AbstractSet[int]], *, top: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """How often a true candidate is among the best.

    Args:
        images: `n e`, unit norm.
        candidates: `c e`, unit norm.
        truth: for each picture, the indices of the candidates that are true of it, at least one.
        top: the k of each "top-k".

    Returns:
        "top1", "top5" (shares, 0 to 1), ..., "pictures" (n) and "candidates" (c). A picture counts when any
        true candidate is among its k best; a false one with the same score comes before it.

    Raises:
        DataError: nothing to measure, an embedding that is not finite, or a truth that does not fit.
    """
    return _summary(first_true_ranks(images, candidates, truth), len(candidates), top)


def rank_scores(
    scores: Tensor, truth: Sequence[AbstractSet[int]], *, top: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """`zero_shot` for a model that gives scores instead of embeddings.

    Args:
        scores: `n c`, floating point, larger is better.
        truth: for each row, the indices of the candidates that are true of it, at least one.
        top: the k of each "top-k".

    Raises:
        DataError: nothing to measure, a score that is not a number, or a truth that does not fit.
    """
    return _summary(_ranks(scores, truth), scores.shape[1], top)


def ensemble(
    encode_texts: Callable[[list[str]], Tensor],
    names: Sequence[str],
    templates: Sequence[str],
    *,
    batch: int = 256,
) -> Tensor:
    """The weights of a zero-shot classifier from a prompt ensemble (section 3.1.4).

    Every template is filled with every name and encoded; a class is the mean of its unit vectors, brought to
    unit norm again.

    Args:
        encode_texts: a list of at most `batch` texts -> `batch e`; any norm.
        names: of the classes, c.
        templates: texts with `{}` where the name goes, t.
        batch: texts in one call of `encode_texts`.

    Returns:
        `c e`, unit norm, without gradient.

    Raises:
        DataError: there is no name, or an embedding is not finite.
        ConfigError: there is no template, or one has no place for the name.
    """
    if not names:
        raise DataError("there are no class names", do="give at least one")
    if not templates:
        raise ConfigError("there are no prompt templates", do="give at least one, such as 'a photo of a {}.'")
    for template in templates:
        if "{}" not in template:
            raise ConfigError(
                f"the template '{template}' has no place for the label", do="write {} where it goes"
            )
    texts = [template.replace("{}", name) for name in names for template in templates]
    # Texts of one length go together, so an encoder that trims to the longest of a batch wastes nothing.
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    with torch.no_grad():
        encoded = torch.cat(
            [
                encode_texts([texts[place] for place in order[start : start + batch]])
                for start in range(0, len(order), batch)
            ]
        )
        check_embeddings("text", encoded)
        vectors = torch.empty_like(encoded)
        vectors[order] = F.normalize(encoded, dim=-1)
        return F.normalize(vectors.view(len(names), len(templates), -1).mean(dim=1), dim=-1)


def first_true_ranks(queries: Tensor, candidates: Tensor, truth: Sequence[AbstractSet[int]]) -> Tensor:
    """Rank, from 1, of each query's best true candidate by the dot product: `n` int64 on the CPU.

    Computed in blocks, so the `n c` scores are never held together. See `zero_shot` for arguments and errors.
    """
    check_embeddings("picture", queries)
    check_embeddings("candidate", candidates)
    assert queries.shape[1] == candidates.shape[1], (
        f"embeddings of {queries.shape[1]} and {candidates.shape[1]} values cannot be compared"
    )
    _check_truth(truth, len(queries), len(candidates))
    candidates = candidates.detach().float()
    ranks = []
    for start in range(0, len(queries), ROWS):
        scores = queries[start : start + ROWS].detach().float() @ candidates.T
        ranks.append(_ranks(scores, truth[start : start + ROWS]))
    return torch.cat(ranks)


def _summary(ranks: Tensor, candidates: int, top: Sequence[int]) -> dict[str, float]:
    shares = {f"top{k}": float((ranks <= k).double().mean()) for k in top}
    return {**shares, "pictures": len(ranks), "candidates": candidates}


def _ranks(scores: Tensor, truth: Sequence[AbstractSet[int]]) -> Tensor:
    """Rank, from 1, of the best true candidate in each row of scores.

    A false candidate with the same score as the best true one ranks before it, so a model that scores
    everything alike is right only where nothing is false.
    """
    _check_truth(truth, *scores.shape)
    if bool(scores.isnan().any()):
        raise DataError("a score is not a number", do="check the model's weights and inputs")
    rows = [row for row, places in enumerate(truth) for _ in places]
    columns = [place for places in truth for place in places]
    true = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    true[rows, columns] = True
    best = scores.masked_fill(~true, -torch.inf).amax(dim=1, keepdim=True)
    largest = scores.abs().masked_fill(scores.isinf(), 0).amax(dim=1, keepdim=True)
    tie = TIE * torch.finfo(scores.dtype).eps * largest
    before = (scores >= best - tie) & ~true
    return (1 + before.sum(dim=1)).cpu()


def check_embeddings(what: str, embeddings: Tensor) -> None:
    """Refuse embeddings that cannot be ranked.

    Args:
        what: a noun for the message, e.g. "picture".
        embeddings: `n e`.

    Raises:
        DataError: there is none, or one is not finite.
    """
    assert embeddings.ndim == 2, f"{what} embeddings must be a matrix, got {tuple(embeddings.shape)}"
    if not embeddings.numel():
        raise DataError(f"there is no {what} to evaluate", do=f"give at least one {what}")
    finite = embeddings.isfinite().all(dim=1)
    if not bool(finite.all()):
        broken = (~finite).nonzero()[:, 0]
        raise DataError(
            f"{len(broken)} of {len(finite)} {what} embeddings are not finite, first number {int(broken[0])}",
            do="check the model's weights and that input",
        )


def _check_truth(truth: Sequence[AbstractSet[int]], count: int, candidates: int) -> None:
    if not count or not candidates:
        raise DataError(f"there is nothing to rank ({count} pictures, {candidates} candidates)")
    if len(truth) != count:
        raise DataError(f"the true answers of {len(truth)} pictures were given for {count} pictures")
    for number, places in enumerate(truth):
        if not places:
            raise DataError(f"picture {number} has no true candidate", do="leave it out or add its answer")
        if outside := [place for place in places if not 0 <= place < candidates]:
            raise DataError(
                f"picture {number} names candidate {outside[0]} of {candidates}",
                do=f"count candidates from 0 to {candidates - 1}",
            )
