"""Duplicates are found as a comparison of all pairs finds them, and survive what they should."""

from __future__ import annotations

import itertools
import time

import cv2
import numpy as np
import pytest

from visionsmith.data import openmoji
from visionsmith.data.builtin import openmoji_store
from visionsmith.data.duplicates import (
    MAX_COLOUR_DIFFERENCE,
    MAX_DISTANCE,
    Fingerprints,
    near_pairs,
    perceptual_hash,
)
from visionsmith.data.split import identical, pictures
from visionsmith.image.io import decode, encode_jpeg, encode_png


def photo(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Smooth shapes with edges and some noise, as photographs have them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(4):
        place = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(image, place, int(rng.integers(8, 40)), rng.integers(0, 256, 3).tolist(), -1)
    noise = rng.integers(-6, 7, image.shape)
    return np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def all_pairs(hashes: np.ndarray, distance: int) -> list[tuple[int, int]]:
    return [
        (left, right)
        for left, right in itertools.combinations(range(len(hashes)), 2)
        if (int(hashes[left]) ^ int(hashes[right])).bit_count() <= distance
    ]


@pytest.mark.parametrize("distance", [0, 1, 4, 10])
def test_near_pairs_are_those_of_a_comparison_of_all(distance: int) -> None:
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**64, 120, dtype=np.uint64)
    # Neighbours of every distance from 0 to 12 bits, so that both sides of the threshold are met.
    for place in range(60, 120):
        bits = rng.choice(64, place % 13, replace=False)
        hashes[place] = hashes[place - 60] ^ np.bitwise_xor.reduce(
            np.uint64(1) << bits.astype(np.uint64), initial=0
        )
    expected = all_pairs(hashes, distance)
    assert len(expected) >= 4
    assert [tuple(pair) for pair in near_pairs(hashes, distance).tolist()] == expected


def test_near_pairs_of_few() -> None:
    assert near_pairs(np.array([], np.uint64)).shape == (0, 2)
    assert near_pairs(np.array([5], np.uint64)).shape == (0, 2)
    assert near_pairs(np.array([5, 5], np.uint64)).tolist() == [[0, 1]]


def test_a_crowd_of_equal_hashes_is_not_quadratic() -> None:
    hashes = np.zeros(5_000, np.uint64)
    pairs = near_pairs(hashes, most_neighbours=3)
    # Each with the next three: enough to join all of them to one group.
    assert len(pairs) == 3 * 5_000 - 6
    assert {(i, i + 1) for i in range(4_999)} <= {tuple(pair) for pair in pairs.tolist()}


def test_two_hundred_thousand_hashes_take_seconds() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 200_000, dtype=np.uint64)
    hashes[100_000] = hashes[7] ^ np.uint64(0b1011)
    start = time.process_time()
    assert near_pairs(hashes).tolist() == [[7, 100_000]]
    # A comparison of all would be twenty thousand million.
    assert time.process_time() - start < 20


def test_a_hash_outlives_size_and_compression_and_tells_pictures_apart() -> None:
    hashes = [perceptual_hash(photo(seed)) for seed in range(40)]
    for seed in range(40):
        image = photo(seed)
        changed = [
            decode(encode_jpeg(image, 60)),
            cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA),
            cv2.resize(image, (320, 240), interpolation=cv2.INTER_CUBIC),
            np.clip(image.astype(np.int16) + 8, 0, 255).astype(np.uint8),
        ]
        distances = [(perceptual_hash(other) ^ hashes[seed]).bit_count() for other in changed]
        assert max(distances) <= MAX_DISTANCE, (seed, distances)
    apart = [(a ^ b).bit_count() for a, b in itertools.combinations(hashes, 2)]
    assert min(apart) > MAX_DISTANCE


def test_a_hash_is_the_sign_of_the_lowest_frequencies() -> None:
    """Against the definition of the transform, written out as a matrix."""
    image = photo(3)
    gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA).astype(
        float
    )
    place = np.arange(32)
    basis = np.cos(np.pi * (2 * place[None, :] + 1) * place[:, None] / 64) * np.sqrt(2 / 32)
    basis[0] /= np.sqrt(2)
    lowest = (basis @ gray @ basis.T)[:8, :8]
    bits = "".join("1" if value > np.median(lowest) else "0" for value in lowest.ravel())
    assert (int(bits, 2) ^ perceptual_hash(image)).bit_count() <= 1  # float32 against float64


def fingerprints(files: list[bytes], numbers: list[int] | None = None) -> Fingerprints:
    found = Fingerprints()
    for number, data in zip(numbers or range(len(files)), files, strict=False):
        image = decode(data)
        found.add(number, data, image, flat=bool((image == image[0, 0]).all()))
    return found


def test_the_three_kinds() -> None:
    a, b, c = photo(1), photo(2), photo(3)
    small = cv2.resize(a, (80, 60), interpolation=cv2.INTER_AREA)
    _, other_file = cv2.imencode(".png", cv2.cvtColor(a, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    files = [
        encode_png(a),
        encode_png(b),
        encode_png(a),
        bytes(other_file),
        encode_png(c),
        encode_png(small),
        encode_png(b),
    ]
    assert files[3] != files[0]
    numbers = [10, 11, 12, 13, 14, 15, 17]
    found = fingerprints(files, numbers)
    assert found.same_file() == [[10, 12], [11, 17]]
    assert found.same_pixels() == [[10, 12, 13], [11, 17]]
    assert found.alike() == [[10, 12, 13, 15]]


def test_colours_and_shapes_count() -> None:
    a = photo(5)
    other_colours = a[:, :, ::-1].copy()
    assert np.abs(a.astype(int) - other_colours).max() > MAX_COLOUR_DIFFERENCE
    row = photo(6, 24, 36)
    column = row.reshape(36, 24, 3)
    gray = [np.full((20, 20, 3), level, np.uint8) for level in (100, 101)]
    found = fingerprints([encode_png(image) for image in (a, other_colours, row, column, *gray)])
    assert found.same_pixels() == []
    assert found.alike() == []


def test_openmoji_has_182_groups_of_404_identical_pictures() -> None:
    store = openmoji_store(64)
    found = Fingerprints()
    for number, sample in enumerate(store):
        found.add(number, sample.image, decode(sample.image), flat=False)
    groups = found.same_pixels()
    assert sorted(map(tuple, groups)) == sorted(map(tuple, identical(pictures(store))))
    assert (len(groups), sum(map(len, groups))) == (182, 404)
    assert [len(group) for group in groups[:3]] == [22, 21, 3]
    assert len(store) == openmoji.count()
