"""The fusions of CrossViT against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.papers.crossvit.small import make
from visionsmith.papers.crossvit import CrossViT
from visionsmith.papers.crossvit.config import FUSIONS
from visionsmith.papers.crossvit.fusion import AllAttentionStage, CrossAttention, CrossAttentionStage, Tokens


def by_definition(attention: CrossAttention, x: Tensor) -> Tensor:
    """Cross-attention with keys and values of every token, head by head and image by image."""
    width = x.shape[-1] // attention.heads
    found = []
    for image in x:
        query, key, value = attention.wq(image[:1]), attention.wk(image), attention.wv(image)
        heads = []
        for head in range(attention.heads):
            own = slice(head * width, (head + 1) * width)
            scores = query[:, own] @ key[:, own].T / width**0.5
            heads.append(scores.softmax(dim=-1) @ value[:, own])
        found.append(attention.proj(torch.cat(heads, dim=-1)))
    return torch.stack(found)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("heads", [1, 3])
def test_cross_attention_without_keys_and_values_of_every_token_is_cross_attention(
    bias: bool, heads: int
) -> None:
    attention = CrossAttention(12, heads, qkv_bias=bias).double()
    x = torch.randn(3, 7, 12, dtype=torch.float64, requires_grad=True)
    found, wanted = attention(x), by_definition(attention, x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    parameters = [x, *attention.parameters()]
    weight = torch.randn_like(wanted)
    gradients = torch.autograd.grad((found * weight).sum(), parameters)
    for own, other in zip(gradients, torch.autograd.grad((wanted * weight).sum(), parameters), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-12)


def test_its_weights_are_those_of_the_softmax() -> None:
    attention = CrossAttention(12, 3, qkv_bias=True).double()
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    query = attention.wq(x[:, :1]).view(2, 1, 3, 4)
    key = attention.wk(x).view(2, 7, 3, 4)
    wanted = (torch.einsum("bqhk,bnhk->bhqn", query, key) / 2).softmax(-1).mean(1)[:, 0]
    torch.testing.assert_close(attention.weights(x), wanted)


def tokens_of(model: CrossViT, count: int = 2) -> Tokens:
    small, large = model.config.widths
    rows, columns = model.config.grids
    return Tokens(
        torch.randn(count, 1 + rows**2, small),
        torch.randn(count, 1 + columns**2, large),
        ((rows, rows), (columns, columns)),
    )


def test_cross_attention_replaces_the_class_tokens_and_reads_both_branches_as_they_were() -> None:
    model = make()
    stage, tokens = model.blocks[0], tokens_of(model)
    assert isinstance(stage, CrossAttentionStage)
    before = tokens.small.clone(), tokens.large.clone()
    found = stage.exchange(tokens)
    assert torch.equal(tokens.small, before[0])
    assert torch.equal(tokens.large, before[1])
    assert torch.equal(found.small[:, 1:], tokens.small[:, 1:])
    assert torch.equal(found.large[:, 1:], tokens.large[:, 1:])
    for own, own_out, other, branch in (
        (tokens.small, found.small, tokens.large, 0),
        (tokens.large, found.large, tokens.small, 1),
    ):
        asking = stage.projs[branch](own[:, :1])
        block = stage.fusion[branch]
        joined = block.norm1(torch.cat([asking, other[:, 1:]], dim=1))
        answer = stage.revert_projs[branch](asking + by_definition(block.attn, joined))
        torch.testing.assert_close(own_out[:, :1], answer)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_of_an_exchange_are_those_of_finite_differences(fusion: str) -> None:
    model = make(
        fusion=fusion, widths=[4, 8], heads=[2, 2], image_sizes=[12, 16], depths=[[1, 1, 1]]
    ).double()
    tokens = tokens_of(model, 1)

    def exchange(small: Tensor, large: Tensor) -> tuple[Tensor, Tensor]:
        found = model.blocks[0].exchange(Tokens(small, large, tokens.grids))
        return found.small, found.large

    inputs = [x.double().requires_grad_() for x in tokens[:2]]
    assert torch.autograd.gradcheck(exchange, inputs)


def test_several_rounds_ask_the_same_patches() -> None:
    model = make(depths=[[1, 1, 3]])
    assert {key.split(".")[4] for key in model.state_dict() if key.startswith("blocks.0.fusion.0.")} == {
        "0",
        "1",
        "2",
    }
    tokens = tokens_of(model)
    stage = model.blocks[0]
    asking = stage.projs[0](tokens.small[:, :1])
    for block in stage.fusion[0]:
        asking = block(asking, tokens.large)
    torch.testing.assert_close(stage.exchange(tokens).small[:, :1], stage.revert_projs[0](asking))


def test_class_token_fusion_sums_the_class_tokens() -> None:
    model = make(fusion="class_token")
    stage, tokens = model.blocks[0], tokens_of(model)
    found = stage.exchange(tokens)
    total = tokens.large[:, :1] + stage.projs[0](tokens.small[:, :1])
    torch.testing.assert_close(found.large, torch.cat([total, tokens.large[:, 1:]], dim=1))
    torch.testing.assert_close(
        found.small, torch.cat([stage.revert_projs[0](total), tokens.small[:, 1:]], dim=1)
    )


def test_pairwise_fusion_sums_tokens_at_the_same_place() -> None:
    model = make(fusion="pairwise")  # both grids are 4 x 4: nothing is interpolated
    stage, tokens = model.blocks[0], tokens_of(model)
    found = stage.exchange(tokens)
    total = tokens.large + stage.projs[0](tokens.small)
    torch.testing.assert_close(found.large, total)
    torch.testing.assert_close(found.small, stage.revert_projs[0](total))


def test_pairwise_fusion_aligns_grids_of_other_sizes() -> None:
    model = make(fusion="pairwise", image_sizes=[48, 32])  # 8 x 8 and 4 x 4
    stage, tokens = model.blocks[0], tokens_of(model)
    # Bilinear interpolation by one half takes the mean of the four nearest.
    projected = stage.projs[0](tokens.small)
    means = projected[:, 1:].view(2, 4, 2, 4, 2, 24).mean(dim=(2, 4)).flatten(1, 2)
    torch.testing.assert_close(stage.exchange(tokens).large[:, 1:], tokens.large[:, 1:] + means)


def test_all_attention_lets_every_token_see_every_token() -> None:
    model = make(fusion="all_attention")
    stage, tokens = model.blocks[0], tokens_of(model)
    assert isinstance(stage, AllAttentionStage)
    found = stage.exchange(tokens)
    together = torch.cat([stage.projs[0](tokens.small), stage.projs[1](tokens.large)], dim=1)
    normed = stage.norm1(together)
    query, key, value = stage.attn.qkv(normed).view(2, -1, 3, 4, 6).permute(2, 0, 3, 1, 4)
    mixed = ((query @ key.mT) / 6**0.5).softmax(-1) @ value
    together = together + stage.attn.proj(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(found.small, stage.revert_projs[0](together[:, :17]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.large, stage.revert_projs[1](together[:, 17:]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("stages", [1, 2])
def test_what_a_fusion_lets_through(fusion: str, stages: int) -> None:
    """One branch's patches hear of the other's at once where patches are exchanged, and a stage later where class
    tokens are."""
    model = make(fusion=fusion, depths=[[1, 2, 1]] * stages)
    weights = [embed.proj.weight for embed in model.patch_embed]
    features = model.forward_features(torch.randn(1, 3, 32, 32))
    for branch, other in ((0, 1), (1, 0)):
        gradient = torch.autograd.grad(
            features[branch].square().sum(), weights[other], allow_unused=True, retain_graph=True
        )[0]
        hears = gradient is not None and bool(gradient.any())
        assert hears == (fusion in ("pairwise", "all_attention") or (fusion != "none" and stages == 2))
