"""Local frequency statistics (LFS, sec. 3.3): how strong each band is in a window that slides over the picture.

The window's cosine transform is separable, and only sums over bands leave it. So strips of the picture are transformed,
first down and then across, and summed while they lie in the cache; the 100 coefficients of a window are never held
for the whole picture. The gradient computes them a second time.

Axes: b pictures, h/w pixels, y/x places of the window, u/v frequencies in the window, m bands.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from visionsmith.errors import DataError
from visionsmith.losses.precision import at_least_float32, full_precision
from visionsmith.papers.f3net.bands import BandMasks, cosine_matrix, diagonal_bands

__all__ = ["LFS", "Form"]

Form = Literal["paper", "public"]

WINDOW, STRIDE, PADDING, BANDS = 10, 2, 4, 6
LUMA = (0.299, 0.587, 0.114)
WHITE = {"paper": 255.0, "public": 245.0}
FLOOR = {"paper": 1e-3, "public": 1e-15}
"""Added before the logarithm. The paper has none, and a black window would give minus infinity: a thousandth of a gray
level. The public code's is so small that a single coefficient of a flat window gives -15."""
STRIP = 1024
"""Windows that are transformed at once on a CPU: 100 coefficients of each fit into a core's cache."""


class LFS(nn.Module):
    """Six statistics of each 10 x 10 window at a stride of 2, zeros around the picture."""

    def __init__(self, *, form: Form = "paper", learnable: bool = True) -> None:
        """Make the statistics.

        Args:
            form: "paper": the logarithm of the strength of a band, which is the mean size of its masked coefficients.
                "public": the masked mean of the coefficients' logarithms; bands may share a diagonal; white is 245,
                not 255.
            learnable: whether masks are added to the bands and learned.
        """
        super().__init__()
        step = 2 * WINDOW / BANDS
        limits = [(step * band, step * (band + 1)) for band in range(BANDS)]
        base = diagonal_bands(WINDOW, limits, shared=form == "public")
        self.form: Form = form
        self.filters = BandMasks(base, learnable=learnable)
        self.register_buffer("cosine", cosine_matrix(WINDOW).float(), persistent=False)
        self.register_buffer("counts", base.sum((1, 2)), persistent=False)
        self.cosine: Tensor
        self.counts: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures b 3 h w, RGB in [-1, 1] -> statistics b 6 y x with y = h / 2, x = w / 2, rounded down.

        Computed in float32 or better. Masks get a gradient, and pixels only where they ask for one.

        Raises:
            DataError: the pictures are smaller than the window.
        """
        if min(pixels.shape[-2:]) < WINDOW:
            raise DataError(
                f"pictures of {pixels.shape[-1]} x {pixels.shape[-2]} px, smaller than the window of {WINDOW} px",
                where="LFS",
                do="give larger ones",
            )
        with full_precision(pixels):
            pixels = pixels.to(at_least_float32(pixels))
            luma = torch.einsum("bchw,c->bhw", pixels, pixels.new_tensor(LUMA))
            padded = F.pad((luma + 1) * (WHITE[self.form] / 2), [PADDING] * 4)
            masks = (self.filters() / self.counts[:, None, None]).to(pixels.dtype).flatten(1)  # m uv
            if self.form == "public":
                return _band_sums(padded, masks, self.cosine, logarithm=True)
            return torch.log10(_band_sums(padded, masks.abs(), self.cosine, logarithm=False) + FLOOR["paper"])


def _band_sums(padded: Tensor, masks: Tensor, cosine: Tensor, *, logarithm: bool) -> Tensor:
    sums: Tensor = _BandSums.apply(padded, masks, cosine.to(padded.dtype), logarithm)  # type: ignore[no-untyped-call]
    return sums


class _BandSums(torch.autograd.Function):
    """Padded pictures b h w and masks m uv -> sums over a window's coefficients b m y x."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, masks: Tensor, cosine: Tensor, logarithm: bool) -> Tensor:
        ctx.save_for_backward(padded, masks, cosine)
        ctx.logarithm = logarithm
        rows, columns = (_windows(side) for side in padded.shape[1:])
        out = padded.new_empty(len(padded), len(masks), rows, columns)
        for place, first, last in _strips(padded):
            strip = _pixels_of(padded[place], first, last)
            out[place, :, first:last] = (masks @ _sizes(strip, cosine, logarithm)).view(
                len(masks), -1, columns
            )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        padded, masks, cosine = ctx.saved_tensors
        for_pixels = torch.zeros_like(padded) if ctx.needs_input_grad[0] else None
        for_masks = torch.zeros_like(masks) if ctx.needs_input_grad[1] else None
        for place, first, last in _strips(padded):
            own = gradient[place, :, first:last].reshape(len(masks), -1)
            strip = _pixels_of(padded[place], first, last).detach()
            with torch.set_grad_enabled(for_pixels is not None):
                sizes = _sizes(strip.requires_grad_(for_pixels is not None), cosine, ctx.logarithm)
            if for_masks is not None:
                for_masks += own @ sizes.detach().T
            if for_pixels is not None:
                _pixels_of(for_pixels[place], first, last).add_(
                    torch.autograd.grad(sizes, strip, masks.T @ own)[0]
                )
        return for_pixels, for_masks, None, None


def _windows(side: int) -> int:
    return (side - WINDOW) // STRIDE + 1


def _strips(padded: Tensor) -> list[tuple[int, int, int]]:
    """Picture, first and last row of windows of each strip; on a GPU a strip is a whole picture."""
    rows, columns = (_windows(side) for side in padded.shape[1:])
    height = rows if padded.is_cuda else max(1, STRIP // columns)
    return [
        (place, first, min(rows, first + height))
        for place in range(len(padded))
        for first in range(0, rows, height)
    ]


def _pixels_of(picture: Tensor, first: int, last: int) -> Tensor:
    """The rows of pixels under the rows of windows from `first` to before `last`."""
    return picture[STRIDE * first : STRIDE * (last - 1) + WINDOW]


def _sizes(strip: Tensor, cosine: Tensor, logarithm: bool) -> Tensor:
    """Sizes of the coefficients of every window of a strip h w, or their logarithms: uv (y x)."""
    down = cosine @ strip.unfold(0, WINDOW, STRIDE).mT  # y u w
    across = down.transpose(0, 1).unfold(2, WINDOW, STRIDE)  # u y x j
    taken = across.permute(0, 3, 1, 2).reshape(WINDOW, WINDOW, -1)  # u j yx
    coefficients = (cosine @ taken).flatten(0, 1)  # uv yx
    if torch.is_grad_enabled():
        sizes = coefficients.abs()
        return torch.log10(sizes + FLOOR["public"]) if logarithm else sizes
    coefficients.abs_()
    return coefficients.add_(FLOOR["public"]).log10_() if logarithm else coefficients
