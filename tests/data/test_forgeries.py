"""Forgeries: what is changed, what stays, what is drawn from where, and what gives nothing away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from visionsmith.cli import main
from visionsmith.data.forge import METHODS, forge
from visionsmith.data.forgeries import (
    BUILT_IN,
    COMPRESSIONS,
    SPLITS,
    ForgeSource,
    built_in_forgeries,
    forge_pictures,
    forge_samples,
    read_mask,
)
from visionsmith.data.photographs import PHOTOGRAPHS
from visionsmith.data.records import RecordStore, verify
from visionsmith.data.sample import Sample
from visionsmith.errors import ConfigError, DataError
from visionsmith.image.header import read_header
from visionsmith.image.io import decode, encode_png


def noise(seed: int, side: int = 96) -> np.ndarray:
    """Smooth random colours."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    big = np.kron(small, np.ones((side // 8, side // 8, 1))).astype(np.float64)
    return np.clip(big + rng.normal(0, 12, big.shape), 0, 255).astype(np.uint8)


def sources(count: int = 2, side: int = 96) -> list[ForgeSource]:
    return [
        ForgeSource(f"{split}{number}", split, lambda seed=10 * place + number: noise(seed, side))  # type: ignore[misc]
        for place, split in enumerate(SPLITS)
        for number in range(count)
    ]


def samples(**settings) -> list[Sample]:
    chosen = {"size": 48, "cuts": dict.fromkeys(SPLITS, 4), "compressions": ("raw",)} | settings
    return list(forge_samples(sources(), **chosen))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(4))
def test_a_forgery_changes_what_its_mask_says(method: str, seed: int) -> None:
    picture, donor = noise(1), noise(2)
    forged, mask = forge(picture, donor, method, np.random.default_rng(seed))
    assert forged.dtype == np.uint8
    assert mask.shape == picture.shape[:2]
    assert 0.06 <= mask.mean() <= 0.4
    assert not mask[:2].any()
    assert not mask[:, -2:].any()
    changed = np.abs(forged.astype(int) - picture).sum(2) > 0
    around = np.zeros_like(mask)  # the mask and one pixel of transition
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            around |= np.roll(mask, (down, right), (0, 1))
    assert not changed[~around].any()
    assert changed[mask].mean() > 0.9
    again, same = forge(picture, donor, method, np.random.default_rng(seed))
    assert np.array_equal(again, forged)
    assert np.array_equal(same, mask)


def test_the_methods_do_what_their_names_say() -> None:
    picture, donor = noise(1), noise(2)
    spliced, mask = forge(picture, donor, "splice", np.random.default_rng(0))
    inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    for down in (-1, 1):
        inner &= np.roll(np.roll(mask, down, 0), 1, 1) & np.roll(np.roll(mask, down, 0), -1, 1)
    assert np.array_equal(spliced[inner], donor[inner])
    # A recoloured part takes the donor's mean; a part that is made larger loses its finest detail.
    dark = (noise(1) // 4).astype(np.uint8)
    bright, mask = forge(dark, np.full_like(dark, 200), "recolour", np.random.default_rng(0))
    assert bright[mask].mean() > dark[mask].mean() + 100

    def detail(image: np.ndarray, where: np.ndarray) -> float:
        return float(np.abs(np.diff(image.astype(float), axis=1)).mean(2)[where[:, 1:]].mean())

    soft, mask = forge(picture, donor, "resample", np.random.default_rng(0))
    assert detail(soft, mask) < 0.8 * detail(picture, mask)


def test_every_square_is_there_real_and_forged() -> None:
    found = samples(compressions=("raw", "hq", "lq"))
    assert len({one.key for one in found}) == len(found) == 6 * 4 * 3 * 2
    for split in SPLITS:
        part = [one for one in found if one.meta["split"] == split]
        assert sum(one.meta["label"] == "forged" for one in part) * 2 == len(part)
        assert {one.meta.get("method") for one in part} == {None, *METHODS}
    for one in found:
        mask = read_mask(one.meta)
        assert (mask is None) == (one.meta["label"] == "real")
        limits = COMPRESSIONS[one.meta["compression"]]
        assert read_header(one.image).format == ("PNG" if limits is None else "JPEG")
        assert (
            one.meta["quality"] is None if limits is None else limits[0] <= one.meta["quality"] <= limits[1]
        )
        assert decode(one.image).shape == (48, 48, 3)


def test_compression_gives_nothing_away() -> None:
    found = samples(compressions=("lq",), cuts=dict.fromkeys(SPLITS, 60))
    qualities = {
        label: [one.meta["quality"] for one in found if one.meta["label"] == label]
        for label in ("real", "forged")
    }
    low, high = COMPRESSIONS["lq"] or (0, 0)
    spread = (high - low) / np.sqrt(12) * np.sqrt(2 / len(qualities["real"]))
    assert abs(np.mean(qualities["real"]) - np.mean(qualities["forged"])) < 4 * spread


def test_real_squares_are_cut_from_the_source_alone() -> None:
    """With uniform sources, a donor of another split would show as a colour that its own split does not have."""
    colours = {"train": (0, 60), "val": (100, 160), "test": (200, 255)}
    plain = [
        ForgeSource(f"{split}{number}", split, lambda level=level, seed=number: _stripes(level, seed))  # type: ignore[misc]
        for split, levels in colours.items()
        for number, level in enumerate(levels)
    ]
    for one in forge_samples(plain, size=32, cuts=dict.fromkeys(SPLITS, 8), compressions=("raw",)):
        if one.meta.get("method") not in (None, "splice"):
            continue
        low, high = colours[one.meta["split"]]
        image = decode(one.image).astype(int)
        assert image.min() >= low - 8
        assert image.max() <= high + 8


def _stripes(level: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(level + 16 * rng.integers(-1, 2, (64, 64, 1)).repeat(3, 2) // 2, 0, 255).astype(np.uint8)


def test_the_seed_and_nothing_else_decides() -> None:
    first, again, other = samples(), samples(), samples(seed=1)
    assert [one.image for one in first] == [one.image for one in again]
    assert [one.image for one in first] != [one.image for one in other]


def test_built_in_photographs_are_split_and_all_there(tmp_path: Path) -> None:
    names = [name for part in BUILT_IN.values() for name in part]
    assert sorted(names) == sorted(PHOTOGRAPHS)
    store = built_in_forgeries(48, cuts=dict.fromkeys(SPLITS, 1), path=tmp_path / "b.records")
    assert len(store) == len(PHOTOGRAPHS) * 4
    for one in store:
        assert one.meta["source"] in BUILT_IN[one.meta["split"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "pictures"
    data.mkdir()
    for number in range(7):
        (data / f"p{number}.png").write_bytes(encode_png(noise(number, 80)))
    (data / "gray.png").write_bytes(encode_png(noise(20, 80)[:, :, 0]))
    (data / "alpha.png").write_bytes(encode_png(np.dstack([noise(21, 80), np.full((80, 80), 128, np.uint8)])))
    return data


def test_forge_a_folder_from_the_command_line(folder: Path, tmp_path: Path, capsys) -> None:
    (folder / "tiny.png").write_bytes(encode_png(noise(9, 24)))
    (folder / "broken.png").write_bytes(encode_png(noise(9))[:200])
    store = tmp_path / "forged.records"
    with pytest.raises(SystemExit) as stop:
        main(["data", "forge", str(folder), str(store), "--size", "48", "--cuts", "2", "--json"])
    assert stop.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["written"] == 9 * 2 * 2 * 2
    assert {one["key"] for one in printed["skipped"]} == {"tiny", "broken"}
    opened = RecordStore(store)
    assert verify(store).ok
    by_source = {one.meta["source"]: one.meta["split"] for one in opened}
    assert {one.meta["split"] for one in opened} == set(SPLITS)
    assert all(by_source[one.meta["source"]] == one.meta["split"] for one in opened)
    with pytest.raises(SystemExit) as stop:
        main(["data", "forge", str(folder), str(store)])
    assert stop.value.code == 2
    assert "--overwrite" in capsys.readouterr().err


def test_mistakes_get_a_sentence(folder: Path, tmp_path: Path) -> None:
    into = tmp_path / "out.records"
    empty = tmp_path / "empty"
    empty.mkdir()
    few = tmp_path / "few"
    few.mkdir()
    (few / "one.png").write_bytes(encode_png(noise(1)))
    for source, settings, error, message in (
        (empty, {}, DataError, "holds no pictures"),
        (few, {}, DataError, "has 1 pictures, and 6 are needed"),
        (folder, {"size": 200}, DataError, "0 usable pictures fell to"),
        (folder, {"size": 8}, ConfigError, "size = 8 px is too small"),
        (folder, {"cuts": 0}, ConfigError, "cuts = 0"),
        (folder, {"compressions": ("c23",)}, ConfigError, "there is no compression 'c23'"),
        (folder, {"compressions": ()}, ConfigError, "name each once"),
    ):
        with pytest.raises(error, match=message):
            forge_pictures(source, into, **settings)
        assert not into.exists()
    with pytest.raises(ConfigError, match="did you mean 'splice'"):
        forge(noise(1), noise(2), "splise", np.random.default_rng(0))
    with pytest.raises(DataError, match="two RGB pictures of one size"):
        forge(noise(1), noise(2, 80), "splice", np.random.default_rng(0))
