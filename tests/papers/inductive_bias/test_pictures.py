"""Changed pictures, shares of them, and the questions that a network is asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from visionsmith.data.labelled import Labelled, PictureDataset
from visionsmith.papers.inductive_bias.config import PATCH, PATCHES, SIDE, GnnConfig
from visionsmith.papers.inductive_bias.models import GNN
from visionsmith.papers.inductive_bias.pictures import (
    FIXED_ORDER,
    DecodedPictures,
    augment,
    blur,
    conflict,
    details,
    fit_side,
    partners,
    permute_patches,
    shift,
    take_share,
)
from visionsmith.papers.inductive_bias.probes import answers, probe

GRID = SIDE // PATCH


@pytest.fixture
def some() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


def test_patches_move_as_a_loop_moves_them(some: np.ndarray) -> None:
    order = np.random.default_rng(3).permutation(PATCHES)
    moved = permute_patches(some, order)
    for new, old in enumerate(order):
        (top, left), (from_top, from_left) = (
            np.divmod(new, GRID) * np.array(PATCH),
            np.divmod(old, GRID) * np.array(PATCH),
        )
        np.testing.assert_array_equal(
            moved[:, top : top + PATCH, left : left + PATCH],
            some[:, from_top : from_top + PATCH, from_left : from_left + PATCH],
        )
    np.testing.assert_array_equal(permute_patches(moved, np.argsort(order)), some)
    np.testing.assert_array_equal(permute_patches(some[2], order), moved[2])


def test_the_fixed_order_is_a_permutation_that_moves_almost_everything() -> None:
    assert sorted(FIXED_ORDER) == list(range(PATCHES))
    assert sum(new == old for new, old in enumerate(FIXED_ORDER)) <= 2


def test_shifts_lose_nothing(some: np.ndarray) -> None:
    moved = shift(some, x=3, y=2)
    np.testing.assert_array_equal(moved[:, 2:, 3:], some[:, :-2, :-3])
    np.testing.assert_array_equal(moved[:, :2, :3], some[:, -2:, -3:])


def test_conflict_is_one_picture_with_the_details_of_another(some: np.ndarray) -> None:
    flat = np.full_like(some, 120)
    np.testing.assert_array_equal(conflict(flat, flat, np.random.default_rng(0)), flat)
    np.testing.assert_array_equal(conflict(some, flat, np.random.default_rng(0)), blur(some))
    in_place = SimpleNamespace(permutation=np.arange)
    # With its own details where they were, a picture is what it was.
    np.testing.assert_array_equal(conflict(some, some, in_place), some)
    orders = np.stack([np.random.default_rng(7).permutation(PATCHES)])
    details = some[:1].astype(int) - blur(some[:1])
    expected = np.clip(120 + permute_patches(details[0], orders[0]), 0, 255)
    np.testing.assert_array_equal(conflict(flat[:1], some[:1], np.random.default_rng(7))[0], expected)


def test_partners_are_of_another_class() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2])
    found = partners(labels, np.random.default_rng(0))
    assert (labels[found] != labels).all()


def test_shares_are_of_every_class_and_hold_the_smaller_ones(colours: Labelled) -> None:
    shares = {share: take_share(colours, share, seed=1) for share in (0.01, 0.25, 0.5, 1.0)}
    counts = {share: np.bincount(colours.labels[list(taken)]).tolist() for share, taken in shares.items()}
    assert counts == {0.01: [1, 1, 1], 0.25: [2, 2, 2], 0.5: [4, 4, 4], 1.0: [8, 8, 8]}
    assert set(shares[0.01]) < set(shares[0.25]) < set(shares[0.5]) < set(shares[1.0]) == set(colours.train)
    assert take_share(colours, 0.25, seed=1) == shares[0.25] != take_share(colours, 0.25, seed=2)


def test_decoded_pictures_are_those_of_the_store(colours: Labelled) -> None:
    kept = DecodedPictures(fit_side(colours, colours.train), colours.labels, augment, seed=4)
    read = PictureDataset(colours, augment, seed=4)
    for key in ((0, colours.train[0]), (3, colours.train[-1])):
        np.testing.assert_array_equal(kept[key].image, read[key].image)
        assert (kept[key].label, kept[key].key) == (read[key].label, read[key].key)


def test_pictures_of_any_size_fit(wide: Labelled) -> None:
    found = fit_side(wide, wide.train[:2])
    assert {image.shape for image in found.values()} == {(SIDE, SIDE, 3)}


def test_probe_knows_a_network_that_sees_only_colour(some: np.ndarray) -> None:
    """The mean colour of a picture survives every move, and a third of the answers are right."""

    class MeanColour(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.double().mean(dim=(2, 3))

    tinted = some // 2
    for place in range(5):
        tinted[place, ..., place % 3] += 60
    labels = np.array([0, 1, 2, 1, 0])  # three of five are right
    np.testing.assert_array_equal(answers(MeanColour(), tinted, batch=2), [0, 1, 2, 0, 1])
    found = probe(MeanColour(), tinted, labels)
    for name in (*(f"shift_{d}" for d in range(1, 9)), "permuted", "reversed"):
        assert found[f"{name}.agree"] == 1
        assert found[f"{name}.top1"] == pytest.approx(0.6)
    assert found["blurred.top1"] == pytest.approx(0.6)
    assert "renamed.top1" not in found


def test_probe_of_a_corner_pixel_depends_on_where_it_is() -> None:
    class Corner(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            bright = images[:, 0, 0, 0]
            return torch.stack([-bright, bright], dim=1)

    pictures = np.zeros((4, SIDE, SIDE, 3), dtype=np.uint8)
    pictures[:2, : PATCH // 2, : PATCH // 2] = 255  # half of the first patch, up and to the left
    labels = np.array([1, 1, 0, 0])
    found = probe(Corner(), pictures, labels)
    assert found["shift_1.top1"] == 0.5  # the corner is dark again once the square has moved
    assert found["reversed.agree"] == 0.5
    assert found["conflict.global"] + found["conflict.local"] <= 1


def test_probe_renames_the_nodes_of_a_graph_network(some: np.ndarray) -> None:
    network = GNN(GnnConfig(width=16, layers=2), 4).eval()
    with torch.no_grad():
        network.head.weight.mul_(30)
    found = probe(network, some, np.array([0, 1, 2, 3, 0]))
    assert found["renamed.agree"] == found["shift_8.agree"] == found["reversed.agree"] == 1


@pytest.fixture
def wide(tmp_path: Path, folder_of_colours: object) -> Labelled:
    return folder_of_colours(tmp_path / "wide", size=(40, 60))


def test_blurred_picture_and_details_are_the_picture(some: np.ndarray) -> None:
    soft = some // 8 + 100  # nothing to cut off
    np.testing.assert_array_equal(blur(soft).astype(int) + details(soft) - 128, soft)
    np.testing.assert_array_equal(blur(soft)[3], cv2.GaussianBlur(soft[3], (0, 0), 2.0))
