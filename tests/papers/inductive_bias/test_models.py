"""The five networks: of one size, and with exactly the symmetries that they are built for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from visionsmith.errors import ConfigError
from visionsmith.nn.transformer import SelfAttention
from visionsmith.papers.inductive_bias.config import (
    ARCHITECTURES,
    PATCH,
    PATCHES,
    SIDE,
    CnnConfig,
    ExperimentConfig,
    FcnConfig,
    GnnConfig,
    ModelConfig,
    RnnConfig,
    TransformerConfig,
    recipe,
)
from visionsmith.papers.inductive_bias.models import (
    CNN,
    FCN,
    GNN,
    RNN,
    PatchTransformer,
    build,
    grid_neighbours,
    split_patches,
)

GRID = SIDE // PATCH


def pictures(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, dtype=torch.float64)


def ready(network: nn.Module) -> nn.Module:
    """In double precision and evaluation mode, with statistics that are not those of a fresh network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return network.double().eval()


def move_patches(images: Tensor, order: Tensor) -> Tensor:
    """A naive loop over the patches."""
    moved = torch.empty_like(images)
    for new, old in enumerate(order.tolist()):
        (top, left), (old_top, old_left) = divmod(new, GRID), divmod(old, GRID)
        moved[..., top * PATCH : (top + 1) * PATCH, left * PATCH : (left + 1) * PATCH] = images[
            ..., old_top * PATCH : (old_top + 1) * PATCH, old_left * PATCH : (old_left + 1) * PATCH
        ]
    return moved


def test_all_have_the_same_number_of_parameters() -> None:
    models = [*ARCHITECTURES.values(), TransformerConfig(positions=False)]
    counts = [sum(p.numel() for p in build(model, 10).parameters()) for model in models]
    assert max(counts) / min(counts) <= 1.02
    assert 150_000 < min(counts) <= max(counts) < 250_000


@pytest.mark.parametrize("model", [*ARCHITECTURES.values(), TransformerConfig(positions=False)])
def test_every_weight_learns(model: ModelConfig) -> None:
    network = build(model, 7)
    logits = network(torch.randn(4, 3, SIDE, SIDE))
    assert logits.shape == (4, 7)
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_patches_are_cut_in_reading_order() -> None:
    images = pictures(2)
    patches = split_patches(images)
    assert patches.shape == (2, PATCHES, 3 * PATCH * PATCH)
    for number in range(PATCHES):
        top, left = (PATCH * place for place in divmod(number, GRID))
        cut = images[:, :, top : top + PATCH, left : left + PATCH]
        assert torch.equal(patches[:, number], cut.flatten(1))


def test_fcn_reads_pixels_in_any_order_with_its_weights_moved_along() -> None:
    network, images = ready(FCN(FcnConfig(), 5)), pictures()
    order = torch.randperm(3 * SIDE * SIDE)
    before = network(images)
    moved = images.flatten(1)[:, order].view_as(images)
    assert not torch.allclose(network(moved), before, atol=1e-3)
    with torch.no_grad():
        network.hidden[0].weight.copy_(network.hidden[0].weight[:, order])
    torch.testing.assert_close(network(moved), before)


@pytest.mark.parametrize(("x", "y"), [(8, 0), (0, 16), (24, 8)])
def test_cnn_moves_its_features_with_the_picture(x: int, y: int) -> None:
    network, images = ready(CNN(CnnConfig(), 5)), pictures()
    moved = torch.roll(images, (y, x), (2, 3))
    features = network.features(images)
    assert features.shape[2:] == (GRID, GRID)
    torch.testing.assert_close(network.features(moved), torch.roll(features, (y // 8, x // 8), (2, 3)))
    torch.testing.assert_close(network(moved), network(images))


def test_cnn_is_not_invariant_to_shifts_below_its_stride() -> None:
    network, images = ready(CNN(CnnConfig(), 5)), pictures()
    before = network(images)
    assert all(not torch.allclose(network(torch.roll(images, x, 3)), before, atol=1e-4) for x in range(1, 8))


def test_grid_has_four_neighbours_each_of_which_knows_the_other() -> None:
    found = grid_neighbours(4)
    for place, around in enumerate(found.tolist()):
        row, column = divmod(place, 4)
        expected = {((row + dy) % 4) * 4 + (column + dx) % 4 for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))}
        assert set(around) == expected
        assert len(around) == 4
        assert all(place in found[other] for other in around)


def test_gnn_sends_one_message_along_each_edge() -> None:
    messages = ready(GNN(GnnConfig(width=6, layers=1), 3)).rounds[0]
    neighbours = torch.tensor([[1, 2], [0, 2], [0, 1], [2, 0]])
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    expected = torch.empty_like(x)
    for picture in range(2):
        normed = messages.norm(x[picture])
        for node in range(4):
            heard = [
                nn.functional.gelu(messages.sender(normed[other]) + messages.receiver(normed[node]))
                for other in neighbours[node].tolist()
            ]
            update = messages.update(torch.cat([normed[node], torch.stack(heard).mean(dim=0)]))
            expected[picture, node] = x[picture, node] + update
    torch.testing.assert_close(messages(x, neighbours), expected)


def test_gnn_does_not_care_how_its_nodes_are_numbered() -> None:
    network, images = ready(GNN(GnnConfig(), 5)), pictures()
    before = network(images)
    order = torch.randperm(PATCHES)
    number = order.argsort()  # by old place, the new one
    renamed = torch.stack([number[network.neighbours[old]] for old in order])
    nodes = split_patches(images)[:, order]
    torch.testing.assert_close(network.read(nodes, renamed), before)
    assert not torch.allclose(network.read(nodes, network.neighbours), before, atol=1e-4)


def test_gnn_keeps_the_symmetries_of_its_grid() -> None:
    network, images = ready(GNN(GnnConfig(), 5)), pictures()
    before = network(images)
    torch.testing.assert_close(network(torch.roll(images, (8, 16), (2, 3))), before)
    torch.testing.assert_close(network(move_patches(images, torch.arange(PATCHES).flip(0))), before)


def test_attention_moves_its_results_with_its_tokens() -> None:
    attention = ready(SelfAttention(32, 4))
    x, order = torch.randn(2, 9, 32, dtype=torch.float64), torch.randperm(9)
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])


def test_transformer_without_positions_takes_the_patches_for_a_set() -> None:
    network, images = ready(PatchTransformer(TransformerConfig(positions=False), 5)), pictures()
    torch.testing.assert_close(network(move_patches(images, torch.randperm(PATCHES))), network(images))


def test_transformer_with_positions_does_so_when_they_move_along() -> None:
    network, images = ready(PatchTransformer(TransformerConfig(), 5)), pictures()
    order = torch.randperm(PATCHES)
    moved, before = move_patches(images, order), network(images)
    with torch.no_grad():
        network.positions.mul_(50)  # fresh ones are small
        assert not torch.allclose(network(moved), before, atol=1e-3)
        before = network(images)
        network.positions.copy_(network.positions[order])
    torch.testing.assert_close(network(moved), before)


def test_rnn_is_a_gated_recurrent_unit_over_the_patches() -> None:
    network, images = ready(RNN(RnnConfig(width=7), 5)), pictures()
    cell, state = network.cell, torch.zeros(3, 7, dtype=torch.float64)
    for patch in split_patches(images).unbind(dim=1):
        inputs = (patch @ cell.weight_ih_l0.T + cell.bias_ih_l0).chunk(3, dim=1)
        states = (state @ cell.weight_hh_l0.T + cell.bias_hh_l0).chunk(3, dim=1)
        reset, update = (torch.sigmoid(inputs[gate] + states[gate]) for gate in (0, 1))
        state = (1 - update) * torch.tanh(inputs[2] + reset * states[2]) + update * state
    torch.testing.assert_close(network(images), network.head(state))
    backwards = move_patches(images, torch.arange(PATCHES).flip(0))
    assert not torch.allclose(network(backwards), network(images), atol=1e-3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FcnConfig(width=0), "fcn.width = 0 is not positive"),
        (lambda: CnnConfig(widths=()), "cnn.widths is empty"),
        (lambda: CnnConfig(widths=(8,) * 6), "6 stages"),
        (lambda: TransformerConfig(width=30, heads=4), "transformer.width = 30 is not a multiple"),
        (lambda: ExperimentConfig(seeds=()), "may not be empty"),
        (lambda: ExperimentConfig(shares=(0.1, 0.5)), "of which the last is 1"),
        (lambda: recipe(ExperimentConfig(steps=0), FcnConfig(), rate=1e-3, seed=0), "steps = 0"),
    ],
)
def test_impossible_sizes_are_refused(make: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
