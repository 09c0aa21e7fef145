"""FAD and LFS against the public code's outputs, the plain definitions, and what a frequency split must satisfy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy.fft import dctn
from torch import Tensor
from torch.nn import functional as F

from visionsmith.errors import DataError
from visionsmith.papers.f3net.bands import cosine_matrix, diagonal_bands
from visionsmith.papers.f3net.fad import FAD, FoldedCosine
from visionsmith.papers.f3net.lfs import FLOOR, LFS, STRIP, Form

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden"


def learned_from(state: dict[str, Tensor], bands: int) -> Tensor:
    return torch.stack([state[f"state/filters.{band}.learnable"] for band in range(bands)])


def plain_lfs(pixels: Tensor, head: LFS, white: float = 255.0) -> Tensor:
    """Window by window, band by band, as the definition reads."""
    luma = (0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2] + 1) * white / 2
    padded = F.pad(luma, (4, 4, 4, 4))
    cosine = head.cosine.to(pixels.dtype)
    masks = head.filters().to(pixels.dtype)
    rows, columns = ((side - 10) // 2 + 1 for side in padded.shape[1:])
    out = []
    for picture in padded:
        for y in range(rows):
            for x in range(columns):
                spectrum = cosine @ picture[2 * y : 2 * y + 10, 2 * x : 2 * x + 10] @ cosine.T
                for mask, count in zip(masks, head.counts, strict=True):
                    if head.form == "public":
                        out.append((torch.log10(spectrum.abs() + 1e-15) * mask / count).sum())
                    else:
                        out.append(torch.log10((spectrum * mask / count).abs().sum() + FLOOR["paper"]))
    return torch.stack(out).view(len(pixels), rows, columns, 6).permute(0, 3, 1, 2)


def plain_fad(pixels: Tensor, head: FAD) -> Tensor:
    cosine = cosine_matrix(head.size).to(pixels.dtype)
    spectrum = cosine @ pixels @ cosine.T
    return torch.cat([cosine.T @ (spectrum * mask) @ cosine for mask in head.filters().to(pixels.dtype)], 1)


def test_fad_is_the_public_codes() -> None:
    golden = load_file(GOLDEN / "f3net_fad.safetensors")
    head = FAD(64, shared=True)
    for band in range(4):
        assert torch.equal(head.filters.base[band], golden[f"state/filters.{band}.base"])
    assert head.filters.learned is not None
    head.filters.learned.data = learned_from(golden, 4)
    torch.testing.assert_close(head(golden["io/pixels"]), golden["io/components"], rtol=0, atol=1e-5)


def test_lfs_is_the_public_codes() -> None:
    golden = load_file(GOLDEN / "f3net_lfs.safetensors")
    head = LFS(form="public").double()
    for band in range(6):
        assert torch.equal(head.filters.base[band].float(), golden[f"state/filters.{band}.base"])
        assert head.counts[band] == golden[f"state/filters.{band}.ft_num"]
    assert head.filters.learned is not None
    head.filters.learned.data = learned_from(golden, 6).double()
    found = head(golden["io/pixels"].double())
    torch.testing.assert_close(found, golden["io/statistics"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [10, 13, 64, 299])
def test_the_cosine_transform_is_the_usual_one(size: int) -> None:
    pixels = torch.randn(2, size, size, dtype=torch.float64)
    expected = torch.from_numpy(dctn(pixels.numpy(), axes=(1, 2), norm="ortho"))
    folded = FoldedCosine(size).double()
    torch.testing.assert_close(folded.analyse(pixels), folded.by_parity(expected), rtol=0, atol=1e-4)
    torch.testing.assert_close(folded.compose(folded.analyse(pixels)), pixels, rtol=0, atol=1e-5)
    matrix = cosine_matrix(size)
    torch.testing.assert_close(matrix @ pixels @ matrix.T, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [48, 49])
def test_bands_that_share_nothing_add_up_to_the_picture(size: int) -> None:
    pixels = torch.rand(2, 3, size, size) * 2 - 1
    low, middle, high, everything = FAD(size, learnable=False)(pixels).unflatten(1, (4, 3)).unbind(1)
    torch.testing.assert_close(everything, pixels, rtol=0, atol=1e-5)
    torch.testing.assert_close(low + middle + high, pixels, rtol=0, atol=1e-5)
    # The public code counts the diagonals between the bands twice.
    shared = FAD(size, learnable=False, shared=True)(pixels).unflatten(1, (4, 3))
    assert (shared[:, :3].sum(1) - pixels).abs().max() > 0.01


def test_a_wave_goes_to_its_own_band() -> None:
    size = 60
    for frequency, band in ((5, 0), (25, 1), (50, 2)):
        wave = torch.cos(math.pi / size * frequency * (torch.arange(size) + 0.5))
        pixels = wave.expand(1, 3, size, size).contiguous()
        strength = FAD(size, learnable=False)(pixels).unflatten(1, (4, 3))[0, :3].square().mean((1, 2, 3))
        assert strength.argmax() == band
        assert strength[band] > 0.999 * strength.sum()


@pytest.mark.parametrize("size", [33, 64])
def test_fad_and_its_gradients_are_those_of_the_definition(size: int) -> None:
    head = FAD(size)
    pixels = torch.randn(3, 3, size, size, requires_grad=True)
    weights = torch.randn(3, 12, size, size)
    assert head.filters.learned is not None
    inputs = (pixels, head.filters.learned)
    ours, plain = head(pixels), plain_fad(pixels, head)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)
    expected = torch.autograd.grad((plain * weights).sum(), inputs)
    for found, wanted in zip(torch.autograd.grad((ours * weights).sum(), inputs), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["paper", "public"])
@pytest.mark.parametrize("sides", [(24, 24), (17, 30)])
def test_lfs_and_its_gradients_are_those_of_the_definition(form: Form, sides: tuple[int, int]) -> None:
    head = LFS(form=form).double()
    pixels = (torch.rand(2, 3, *sides, dtype=torch.float64) * 2 - 1).requires_grad_()
    ours, plain = head(pixels), plain_lfs(pixels, head, white=255.0 if form == "paper" else 245.0)
    assert ours.shape == (2, 6, sides[0] // 2, sides[1] // 2)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-9)
    weights = torch.randn_like(plain)
    assert head.filters.learned is not None
    inputs = (pixels, head.filters.learned)
    expected = torch.autograd.grad((plain * weights).sum(), inputs)
    for found, wanted in zip(torch.autograd.grad((ours * weights).sum(), inputs), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_lfs_does_not_depend_on_where_the_strips_end(monkeypatch: pytest.MonkeyPatch) -> None:
    head = LFS()
    pixels = torch.rand(2, 3, 70, 70) * 2 - 1
    whole = head(pixels)
    assert STRIP // 35 < 35  # more than one strip a picture
    monkeypatch.setattr("visionsmith.papers.f3net.lfs.STRIP", 1)
    torch.testing.assert_close(head(pixels), whole, rtol=0, atol=1e-5)


def test_flat_and_black_pictures_stay_finite() -> None:
    pixels = torch.stack([torch.full((3, 40, 40), -1.0), torch.full((3, 40, 40), 0.3)])
    head = LFS()
    statistics = head(pixels)
    assert statistics.isfinite().all()
    assert torch.allclose(statistics[0], torch.tensor(-3.0))
    statistics.sum().backward()
    assert head.filters.learned is not None
    assert head.filters.learned.grad is not None
    assert head.filters.learned.grad.isfinite().all()


def test_the_heads_compute_in_float32_under_autocast() -> None:
    pixels = torch.rand(1, 3, 40, 40) * 2 - 1
    for head in (FAD(40), LFS()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = head(pixels)
        assert found.dtype == torch.float32
        assert torch.equal(found, head(pixels))


def test_diagonal_bands_hold_every_coefficient_once() -> None:
    limits = [(0.0, 4.0), (4.0, 9.0), (9.0, 18.0)]
    assert torch.equal(diagonal_bands(10, limits, shared=False).sum(0), torch.ones(10, 10))
    assert diagonal_bands(10, limits, shared=True).sum(0).max() == 2


def test_pictures_of_a_wrong_size_get_a_sentence() -> None:
    with pytest.raises(DataError, match="40 x 30 px, and masks for 40 x 40 px"):
        FAD(40)(torch.zeros(1, 3, 30, 40))
    with pytest.raises(DataError, match="9 x 40 px, smaller than the window of 10 px"):
        LFS()(torch.zeros(1, 3, 40, 9))
