"""The quick backward pass gives the gradients of torch's own, and its forward pass to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from visionsmith.train import attention
from visionsmith.train.attention import quick_backward


def parts(queries: int = 12, keys: int = 12, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    stream = torch.Generator().manual_seed(0)
    shapes = ((2, queries, 3, 16), (2, keys, 3, 16), (2, keys, 3, 16))
    # Heads come from the middle of a wider tensor, as in every transformer.
    drawn = [torch.randn(shape, generator=stream, dtype=torch.float64).transpose(1, 2) for shape in shapes]
    return [part.to(dtype).requires_grad_() for part in drawn]


def attended(given: list[Tensor], **settings: Any) -> tuple[Tensor, list[Tensor]]:
    query, key, value = given
    out = F.scaled_dot_product_attention(query, key, value, **settings)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return out.detach(), list(torch.autograd.grad((out * weights.to(out)).sum(), given))


def some_seen() -> Tensor:
    seen = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(2)) > 0.4
    return seen | torch.eye(12, dtype=torch.bool)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.7},
    "mask": {"attn_mask": some_seen()},
    "bias": {"attn_mask": torch.randn(12, 12, generator=torch.Generator().manual_seed(3))},
}


@pytest.mark.parametrize("case", list(CASES))
def test_gradients_are_those_of_attention(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    backward = attention._Attention.backward

    def counted(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        calls.append("here")
        return backward(ctx, *given)

    monkeypatch.setattr(attention._Attention, "backward", staticmethod(counted))
    settings = CASES[case]
    given = parts()
    low = {k: v.bfloat16() if k == "attn_mask" and v.is_floating_point() else v for k, v in settings.items()}
    expected, _ = attended(given, **low)
    with quick_backward():
        out, gradients = attended(given, **low)
    assert calls, "torch's own backward pass ran"
    assert torch.equal(out, expected)
    wide = {k: v.double() if k == "attn_mask" and v.is_floating_point() else v for k, v in low.items()}
    exact = [part.detach().double().requires_grad_() for part in given]
    for found, true in zip(gradients, attended(exact, **wide)[1], strict=True):
        assert found.dtype == torch.bfloat16
        assert (found.double() - true).norm() < 0.01 * true.norm()


def test_as_many_keys_as_there_are() -> None:
    given = parts(queries=5, keys=9)
    with quick_backward():
        _, gradients = attended(given)
    exact = [part.detach().double().requires_grad_() for part in given]
    for found, true in zip(gradients, attended(exact)[1], strict=True):
        assert (found.double() - true).norm() < 0.01 * true.norm()


def test_a_row_that_sees_nothing_has_no_gradient() -> None:
    seen = torch.ones(12, 12, dtype=torch.bool)
    seen[4] = False
    with quick_backward():
        _, gradients = attended(parts(), attn_mask=seen)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert gradients[0][:, :, 4].abs().max() == 0
    assert gradients[0][:, :, 3].abs().max() > 0


def test_autocast_decides_the_type() -> None:
    given = parts(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16), quick_backward():
        out, gradients = attended(given)
    assert out.dtype == torch.bfloat16
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


@pytest.mark.parametrize(
    ("dtype", "settings"),
    [(torch.float32, {}), (torch.bfloat16, {"dropout_p": 0.5}), (torch.bfloat16, {"most": 10})],
)
def test_the_rest_is_torchs(
    dtype: torch.dtype, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention._Attention, "apply", lambda *_: pytest.fail("not for this call"))
    if "most" in settings:
        monkeypatch.setattr(attention, "LONGEST", settings.pop("most"))
    given = parts(dtype=dtype)
    torch.manual_seed(0)
    expected, gradients = attended(given, **settings)
    torch.manual_seed(0)
    with quick_backward():
        out, found = attended(given, **settings)
    assert torch.equal(out, expected)
    assert all(torch.equal(a, b) for a, b in zip(found, gradients, strict=True))


def test_what_a_checkpoint_runs_again_goes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backward pass that runs blocks forward again finds the mode on, as the first pass did."""
    calls: list[str] = []
    forward = attention._Attention.forward

    def counted(ctx: Any, *given: Any) -> Tensor:
        calls.append("here")
        return forward(ctx, *given)

    def block(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value)

    monkeypatch.setattr(attention._Attention, "forward", staticmethod(counted))
    found = []
    for again in (False, True):
        query, key, value = given = parts()
        with quick_backward():
            out = (
                checkpoint(block, query, key, value, use_reentrant=False)
                if again
                else block(query, key, value)
            )
            out.float().square().sum().backward()
        found.append([part.grad for part in given])
    assert len(calls) == 1 + 2
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_torchs_own_comes_back() -> None:
    before = F.scaled_dot_product_attention

    def fail() -> None:
        with quick_backward(), quick_backward():
            assert F.scaled_dot_product_attention is not before
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert F.scaled_dot_product_attention is before
