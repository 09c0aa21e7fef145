"""Ways through CLIP's space: from picture to picture, and along the difference of two texts (sections 3.2 and 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from visionsmith.errors import DataError

__all__ = ["between", "towards"]


def between(one: Tensor, other: Tensor, places: Tensor) -> Tensor:
    """Spherical interpolation.

    Args:
        one: unit norm `e`.
        other: unit norm `e`, not opposite to `one`.
        places: `n`, 0 (one) to 1 (the other).

    Returns:
        Unit norm `n e`.

    Raises:
        DataError: the two are opposite, so that no way between them is the shortest.
    """
    cosine = (one @ other).clamp(-1, 1)
    if float(cosine) < -1 + 1e-6:
        raise DataError("the two embeddings are opposite", do="go by way of a third")
    angle = torch.arccos(cosine)
    if float(angle) < 1e-4:
        return F.normalize(torch.lerp(one, other, places[:, None]), dim=1)
    near, far = torch.sin((1 - places) * angle), torch.sin(places * angle)
    return (near[:, None] * one + far[:, None] * other) / torch.sin(angle)


def towards(here: Tensor, before: Tensor, after: Tensor, amount: float) -> Tensor:
    """An embedding turned towards the difference of two texts (section 3.3).

    Args:
        here: of the picture, unit norm `e`.
        before: of the text that is true, unit norm `e`.
        after: of the text that is to become true, unit norm `e`.
        amount: how far, 0 (not at all) to 1 (the difference alone).

    Raises:
        DataError: the texts say the same.
    """
    difference = after - before
    if float(difference.norm()) < 1e-6:
        raise DataError("the two texts say the same to this model", do="say what is to change")
    return between(here, F.normalize(difference, dim=0), torch.tensor([amount]))[0]
