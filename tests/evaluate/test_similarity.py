"""PSNR against its closed form, SSIM against the definition written as a loop."""

from __future__ import annotations

import numpy as np
import pytest

from visionsmith.errors import DataError
from visionsmith.evaluate.similarity import psnr, ssim


def naive_ssim(x: np.ndarray, y: np.ndarray) -> float:
    ramp = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    weights = np.outer(ramp, ramp) / ramp.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(3):
        for row in range(x.shape[0] - 10):
            for column in range(x.shape[1] - 10):
                a = x[row : row + 11, column : column + 11, channel].astype(float)
                b = y[row : row + 11, column : column + 11, channel].astype(float)
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a = (weights * (a - mean_a) ** 2).sum()
                var_b = (weights * (b - mean_b) ** 2).sum()
                both = (weights * (a - mean_a) * (b - mean_b)).sum()
                values.append(
                    (2 * mean_a * mean_b + c1)
                    * (2 * both + c2)
                    / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
                )
    return float(np.mean(values))


def test_ssim_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (13, 15, 3), dtype=np.uint8)
    y = np.clip(x + rng.normal(0, 40, x.shape), 0, 255).astype(np.uint8)
    assert ssim(x, y) == pytest.approx(naive_ssim(x, y), abs=1e-9)
    assert 0.2 < ssim(x, y) < 0.99
    assert ssim(x, x) == pytest.approx(1)
    assert ssim(x, y) == pytest.approx(ssim(y, x))
    assert ssim(x, 255 - x) < 0


def test_psnr_is_its_definition() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert psnr(black, black + 255) == pytest.approx(0)
    # Of 60 values one differs by 30.
    one = black.copy()
    one[0, 0, 0] = 30
    assert psnr(one, black) == pytest.approx(10 * np.log10(255**2 / (900 / 60)))
    assert psnr(black, black) == 100


def test_what_cannot_be_compared() -> None:
    black = np.zeros((12, 12, 3), np.uint8)
    for function in (psnr, ssim):
        with pytest.raises(DataError, match="cannot be compared"):
            function(black, black[:11])
        with pytest.raises(DataError, match="not uint8"):
            function(black, black.astype(np.float32))
    with pytest.raises(DataError, match="smaller than the window"):
        ssim(black[:10], black[:10])
