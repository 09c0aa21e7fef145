from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.nn.attention_pool import AttentionPool
from visionsmith.nn.transformer import QuickGELU, SelfAttention, Transformer

WIDTH, HEADS = 24, 3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def library_attention(attention: SelfAttention) -> nn.MultiheadAttention:
    library = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    library.load_state_dict(attention.state_dict())
    return library


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_the_frameworks_under_the_same_names(causal: bool) -> None:
    attention, x = SelfAttention(WIDTH, HEADS), torch.randn(2, 7, WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(7) if causal else None
    expected, _ = library_attention(attention)(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(attention(x, causal=causal), expected, atol=1e-6, rtol=1e-5)


def test_attention_starts_as_the_frameworks() -> None:
    torch.manual_seed(1)
    ours = SelfAttention(512, 8)
    library = nn.MultiheadAttention(512, 8)
    assert ours.state_dict().keys() == library.state_dict().keys()
    for (name, mine), theirs in zip(ours.named_parameters(), library.parameters(), strict=True):
        assert abs(mine.std().nan_to_num() - theirs.std().nan_to_num()) < 2e-4, name
        assert abs(mine.abs().max() - theirs.abs().max()) < 2e-4, name


@pytest.mark.parametrize("causal", [False, True])
def test_one_position_equals_that_row_of_all(causal: bool) -> None:
    stack, x = Transformer(WIDTH, HEADS, layers=3), torch.randn(4, 7, WIDTH, requires_grad=True)
    only = torch.tensor([0, 6, 3, 2])
    whole = stack(x, causal=causal)[torch.arange(4), only]
    alone = stack(x, causal=causal, only=only)
    torch.testing.assert_close(alone, whole, atol=1e-6, rtol=1e-5)
    weight = torch.randn_like(whole)
    expected = torch.autograd.grad((whole * weight).sum(), [x, *stack.parameters()])
    found = torch.autograd.grad((alone * weight).sum(), [x, *stack.parameters()])
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_a_causal_stack_does_not_look_ahead() -> None:
    stack, x = Transformer(WIDTH, HEADS, layers=2), torch.randn(1, 6, WIDTH)
    changed = x.clone()
    changed[:, 4:] *= -1
    before, after = stack(x, causal=True), stack(changed, causal=True)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])
    assert not torch.allclose(stack(x)[:, :4], stack(changed)[:, :4])


def test_quick_gelu_is_its_formula_and_so_is_its_gradient() -> None:
    x = torch.linspace(-8, 8, 201, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(QuickGELU()(x), x * torch.sigmoid(1.702 * x))
    assert torch.autograd.gradcheck(QuickGELU(), x)
    assert (QuickGELU()(x) - F.gelu(x)).abs().max() < 0.021


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_block_is_the_papers(activation: str) -> None:
    block = Transformer(WIDTH, HEADS, layers=1, activation=activation).resblocks[0]
    x = torch.randn(2, 5, WIDTH)
    attended = library_attention(block.attn)
    normed = F.layer_norm(x, (WIDTH,), block.ln_1.weight, block.ln_1.bias)
    y = x + attended(normed, normed, normed)[0]
    hidden = F.linear(F.layer_norm(y, (WIDTH,)), block.mlp.c_fc.weight, block.mlp.c_fc.bias)
    hidden = F.gelu(hidden) if activation == "gelu" else hidden * torch.sigmoid(1.702 * hidden)
    expected = y + F.linear(hidden, block.mlp.c_proj.weight, block.mlp.c_proj.bias)
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def naive_pool(pool: AttentionPool, features: Tensor) -> Tensor:
    """Image by image, head by head."""
    rows = []
    for feature in features:
        tokens = feature.flatten(1).T
        tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + pool.positional_embedding
        query, key, value = pool.q_proj(tokens[0]), pool.k_proj(tokens), pool.v_proj(tokens)
        mixed = []
        for part in torch.arange(tokens.shape[1]).chunk(pool.heads):
            weights = torch.softmax(key[:, part] @ query[part] / len(part) ** 0.5, dim=0)
            mixed.append(weights @ value[:, part])
        rows.append(pool.c_proj(torch.cat(mixed)))
    return torch.stack(rows)


def test_attention_pool_is_a_naive_loop() -> None:
    pool = AttentionPool(grid=3, width=16, heads=4, output=5)
    features = torch.randn(2, 16, 3, 3)
    torch.testing.assert_close(pool(features), naive_pool(pool, features), atol=1e-6, rtol=1e-5)
    pooled = pool(features.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(pooled, pool(features))
