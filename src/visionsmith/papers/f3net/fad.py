"""Frequency-aware decomposition (FAD, sec. 3.2): a picture split into the bands of its cosine spectrum.

A cosine is symmetric or antisymmetric about the middle, so the picture is folded on its middle row and column first.
That leaves four transforms of half the side, half the multiplications. Few pictures are done at once, while they lie
in the cache; their spectra are all that is kept for the gradient.

Axes: b pictures, c channels, h/w pixels, u/v vertical and horizontal frequency, m bands; p/q parity of u/v.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from visionsmith.errors import DataError
from visionsmith.losses.precision import at_least_float32, full_precision
from visionsmith.papers.f3net.bands import BandMasks, cosine_matrix, diagonal_bands

__all__ = ["FAD", "FoldedCosine"]

CACHED = 90_000
"""Pixels of the pictures that are transformed at once on a CPU."""


class FAD(nn.Module):
    """Four pictures of one: its low, middle and high frequencies, and all of them."""

    def __init__(self, size: int, *, learnable: bool = True, shared: bool = False) -> None:
        """Make the decomposition.

        Args:
            size: side of the pictures, pixels.
            learnable: whether masks are added to the bands and learned.
            shared: whether neighbouring bands share a diagonal, as in the public code.
        """
        super().__init__()
        # A 16th, another 16th and 7 8ths of the spectrum's area (sec. 3.2), in whole diagonals.
        low, middle = float(size // 2.82), float(size // 2)
        limits = [(0.0, low), (low, middle), (middle, 2.0 * size), (0.0, 2.0 * size)]
        self.size = size
        self.filters = BandMasks(diagonal_bands(size, limits, shared=shared), learnable=learnable)
        self.cosine = FoldedCosine(size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures b 3 h w -> their bands b (4 3) h w, in float32 or better; the bands are the outer axis.

        Raises:
            DataError: the pictures are not `size` x `size` px.
        """
        if pixels.shape[-2:] != (self.size, self.size):
            raise DataError(
                f"pictures of {pixels.shape[-1]} x {pixels.shape[-2]} px, and masks for {self.size} x {self.size} px",
                where="FAD",
                do="resize them, or build the model with their image_size",
            )
        with full_precision(pixels):
            pixels = pixels.to(at_least_float32(pixels, self.cosine.even))
            masks = self.cosine.by_parity(self.filters().to(pixels.dtype))
            bands: Tensor = _Decompose.apply(pixels, masks, self.cosine)  # type: ignore[no-untyped-call]
        return bands.flatten(1, 2)


class FoldedCosine(nn.Module):
    """The orthonormal cosine transform of square pictures, and back, on coefficients grouped by parity.

    A spectrum is p q ... s s with s = half the side, rounded up: even and odd vertical frequencies, of each the even
    and odd horizontal ones. Of an odd side the odd frequencies are one fewer, and their last row or column is zero.
    """

    even: Tensor
    odd: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.longer = size, (size + 1) // 2
        self.shorter = size // 2
        matrix = cosine_matrix(size)
        odd = torch.zeros(self.longer, self.longer, dtype=matrix.dtype)
        odd[: self.shorter, : self.shorter] = matrix[1::2, : self.shorter]
        self.register_buffer("even", matrix[0::2, : self.longer].float(), persistent=False)
        self.register_buffer("odd", odd.float(), persistent=False)

    def by_parity(self, spectrum: Tensor) -> Tensor:
        """A plain spectrum ... u v in this order: p q ... s s."""
        parts = spectrum.new_zeros(2, 2, *spectrum.shape[:-2], self.longer, self.longer)
        for p in range(2):
            for q in range(2):
                part = spectrum[..., p::2, q::2]
                parts[p, q, ..., : part.shape[-2], : part.shape[-1]] = part
        return parts

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pictures ... h w -> their spectra p q ... s s."""
        rows = self._bases(pixels)
        spectra = pixels.new_empty(2, 2, *pixels.shape[:-2], self.longer, self.longer)
        for q, part in enumerate(self._fold(pixels, -1)):
            across = part @ rows[q].T
            for p, folded in enumerate(self._fold(across, -2)):
                torch.matmul(rows[p], folded, out=spectra[p, q])
        return spectra

    def compose(self, spectra: Tensor, masks: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Spectra p q ... s s -> pictures ... h w.

        Args:
            spectra: to be turned back.
            masks: p q ... s s, of a shape that broadcasts with them, to multiply them by.
            out: where to put the result.
        """
        rows = self._bases(spectra)
        longer, shorter = self.longer, self.shorter
        left: list[Tensor] = []
        right: list[Tensor] = []
        for p in range(2):
            sums = [
                rows[p].T @ ((spectra[p, q] if masks is None else spectra[p, q] * masks[p, q]) @ rows[q])
                for q in range(2)
            ]
            left.append(sums[0] + sums[1])
            right.append(sums[0].sub_(sums[1]))
        if out is None:
            out = left[0].new_empty(*left[0].shape[:-2], self.size, self.size)
        torch.add(left[0], left[1], out=out[..., :longer, :longer])
        out[..., longer:, :longer] = left[0].sub_(left[1])[..., :shorter, :].flip(-2)
        out[..., :longer, longer:] = (right[0] + right[1])[..., :shorter].flip(-1)
        out[..., longer:, longer:] = right[0].sub_(right[1])[..., :shorter, :shorter].flip(-1, -2)
        return out

    def _bases(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.even.to(like.dtype), self.odd.to(like.dtype)

    def _fold(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The symmetric and the antisymmetric part along an axis, from its begin to its middle."""
        begin, end = x.narrow(axis, 0, self.longer), x.narrow(axis, self.shorter, self.longer).flip(axis)
        even, odd = begin + end, begin - end
        if self.size % 2:
            even.select(axis, -1).copy_(begin.select(axis, -1))  # the middle is its own mirror image
        return even, odd


class _Decompose(torch.autograd.Function):
    """Pictures b c h w and masks p q m s s -> bands b m c h w."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, masks: Tensor, cosine: FoldedCosine) -> Tensor:
        parts = torch.split(pixels, _together(pixels))
        spectra = [cosine.analyse(part) for part in parts]  # p q b c s s
        ctx.save_for_backward(masks, *spectra)
        ctx.cosine = cosine
        out = pixels.new_empty(len(pixels), masks.shape[2], *pixels.shape[1:])
        for spectrum, bands in zip(spectra, torch.split(out, _together(pixels)), strict=True):
            cosine.compose(spectrum[:, :, :, None], masks[:, :, None, :, None], bands)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        masks, *spectra = ctx.saved_tensors
        cosine: FoldedCosine = ctx.cosine
        for_pixels: list[Tensor] = []
        for_masks = torch.zeros_like(masks) if ctx.needs_input_grad[1] else None
        for spectrum, part in zip(spectra, torch.split(gradient, _together(gradient)), strict=True):
            # The transform is orthonormal: the gradient goes back through its inverse.
            bands = cosine.analyse(part)  # p q b m c s s
            if ctx.needs_input_grad[0]:
                for_pixels.append(cosine.compose((bands * masks[:, :, None, :, None]).sum(3)))
            if for_masks is not None:
                for_masks += bands.mul_(spectrum[:, :, :, None]).sum((2, 4))
        return torch.cat(for_pixels) if for_pixels else None, for_masks, None


def _together(pixels: Tensor) -> int:
    """How many pictures are transformed at once: on a CPU as many as fit into a core's cache."""
    return len(pixels) if pixels.is_cuda else max(1, CACHED // (pixels.shape[-1] * pixels.shape[-2]))
