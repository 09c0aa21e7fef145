"""Retrieval between pictures and texts, both ways (Radford et al. 2021, appendix E.1).

Axes: n pictures, m texts, e embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from torch import Tensor

from visionsmith.evaluate.zero_shot import check_embeddings, first_true_ranks

__all__ = ["retrieval"]


def retrieval(
    images: Tensor,
    texts: Tensor,
    image_to_texts: Sequence[AbstractSet[int]],
    *,
    at: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Recall at k: how often a match is among the k best.

    Args:
        images: `n e`, unit norm.
        texts: `m e`, unit norm.
        image_to_texts: for each picture, the indices of its texts, at least one. A text may belong to several
            pictures; one that belongs to none is a candidate but not a query.
        at: the k of each "recall at k".

    Returns:
        "image_to_text.r1", ..., "text_to_image.r1", ...: shares, 0 to 1. Of several matches the best counts;
        a wrong candidate with the same score comes before it.

    Raises:
        DataError: nothing to measure, an embedding that is not finite, or matches that do not fit.
    """
    check_embeddings("text", texts)
    to_text = first_true_ranks(images, texts, image_to_texts)
    pictures_of: dict[int, set[int]] = {}
    for picture, places in enumerate(image_to_texts):
        for place in places:
            pictures_of.setdefault(place, set()).add(picture)
    queries = sorted(pictures_of)
    to_image = first_true_ranks(texts[queries], images, [pictures_of[place] for place in queries])
    recalls = {f"image_to_text.r{k}": float((to_text <= k).double().mean()) for k in at}
    return recalls | {f"text_to_image.r{k}": float((to_image <= k).double().mean()) for k in at}
