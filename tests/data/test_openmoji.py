from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from visionsmith.data import openmoji
from visionsmith.data.builtin import openmoji_store
from visionsmith.data.emoji_names import parse
from visionsmith.data.records import RecordStore
from visionsmith.data.split import alike, identical, pictures, split_combinations
from visionsmith.errors import ConfigError
from visionsmith.image.io import decode


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordStore:
    return openmoji_store(64, path=tmp_path_factory.mktemp("openmoji") / "store")


@pytest.mark.parametrize(
    ("name", "caption", "factors"),
    [
        (
            ":woman_farmer_medium_skin_tone:",
            "woman farmer, medium skin tone",
            ("person", "farmer", "woman", "", ("medium",)),
        ),
        (
            ":man_medium-light_skin_tone_white_hair:",
            "man, medium-light skin tone, white hair",
            ("person", "", "man", "white", ("medium-light",)),
        ),
        (
            ":person_dark_skin_tone_bald:",
            "person, dark skin tone, bald",
            ("person", "", "person", "bald", ("dark",)),
        ),
        (
            ":men_wrestling_light_skin_tone_dark_skin_tone:",
            "men wrestling, light skin tone, dark skin tone",
            ("several", "wrestling", "man", "", ("light", "dark")),
        ),
        (":kiss_woman_man:", "kiss woman man", ("several", "kiss", "woman man", "", ())),
        (":thumbs_up_dark_skin_tone:", "thumbs up, dark skin tone", ("body", "thumbs up", "", "", ("dark",))),
        (":medium_skin_tone:", "medium skin tone", ("thing", "", "", "", ("medium",))),
        (":kissing_cat:", "kissing cat", ("thing", "kissing cat", "", "", ())),
        (":guard:", "guard", ("thing", "guard", "", "", ())),
    ],
)
def test_names(name: str, caption: str, factors: tuple) -> None:
    found = parse(name)
    assert found.caption == caption
    assert (found.group, found.subject, found.gender, found.hair, found.skin) == factors


def test_flags_are_named() -> None:
    assert parse(":Kuwait:", flag=True).caption == "flag of Kuwait"
    assert parse(":Kuwait:", flag=True).group == "flag"


def test_store_is_complete_and_captions_are_unique(store: RecordStore) -> None:
    assert len(store) == openmoji.count() > 3900
    captions = Counter(sample.caption for sample in store)
    assert captions.most_common(1)[0][1] == 1
    groups = Counter(sample.meta["group"] for sample in store)
    assert set(groups) == {"flag", "person", "several", "body", "thing"}
    assert groups["flag"] > 250
    assert decode(store[0].image).shape == (64, 64, 3)
    assert store.info()["attributes"]["licence"] == "CC-BY-SA-4.0"
    assert "갈색" in next(s.meta["korean"] for s in store if s.caption == "man pilot, medium skin tone")


def test_twins(store: RecordStore) -> None:
    groups = identical(pictures(store))
    assert (len(groups), sum(map(len, groups))) == (182, 404)
    place = {sample.caption: index for index, sample in enumerate(store)}
    assert sorted([place["man farmer, dark skin tone"], place["farmer, dark skin tone"]]) in groups
    assert sorted([place["flag of Norway"], place["flag of Svalbard & Jan Mayen"]]) in groups


def test_alike_agrees_with_comparing_every_pair() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(6, 16, 16, 3)).astype(np.uint8)
    images = np.concatenate([images, images[:3]])
    images[6, 0, 0, 0] ^= 2  # within 3 gray levels of picture 0
    images[7, 0, 0, 0] = images[1, 0, 0, 0] ^ 64  # far from picture 1
    families = sorted(sorted(family) for family in alike(images))
    assert [0, 6] in families
    assert [2, 8] in families
    assert [1] in families
    assert [7] in families
    assert sorted(index for family in families for index in family) == list(range(9))


def test_held_out_means_unseen(store: RecordStore) -> None:
    split = split_combinations(store)
    images = pictures(store)
    train, held = set(split.train), set(split.held_out)
    assert train | held == set(range(len(store)))
    assert not train & held
    assert 295 <= len(split.pictures) <= 305
    # No held-out picture has a picture in training that looks the same.
    small = images.reshape(len(images), -1).astype(np.int16)
    seen = small[sorted(train)]
    for index in split.held_out:
        assert np.abs(seen - small[index]).max(axis=1).min() > 3, store[index].caption
    # Every part of a held-out caption occurs in training.
    meta = [store[index].meta for index in range(len(store))]
    for index in split.held_out:
        for part in ("subject", "gender", "hair"):
            assert any(meta[other][part] == meta[index][part] for other in train)
        for tone in meta[index]["skin"]:
            assert any(tone in meta[other]["skin"] for other in train)


def test_truth_is_the_captions_of_the_same_pixels(store: RecordStore) -> None:
    split = split_combinations(store)
    images = pictures(store)
    assert len(split.truth) == len(split.pictures)
    for index, truth in zip(split.pictures, split.truth, strict=True):
        same = {other for other in range(len(images)) if np.array_equal(images[other], images[index])}
        assert truth == same
    assert sum(len(truth) > 1 for truth in split.truth) > 10


def test_the_split_is_fixed_and_follows_its_seed(store: RecordStore) -> None:
    assert split_combinations(store) == split_combinations(store)
    assert split_combinations(store, seed=1).pictures != split_combinations(store).pictures


def test_size_out_of_range() -> None:
    with pytest.raises(ConfigError, match="size = 5 px is out of range"):
        next(openmoji.samples(5))
