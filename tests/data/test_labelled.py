"""Which records have which class, what is held out, and batches that follow from (seed, epoch, index)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visionsmith.data import labelled, scenes
from visionsmith.data.labelled import Labelled, PictureCollate, PictureDataset, open_labelled, read_pictures
from visionsmith.data.mix import Mix
from visionsmith.data.records import RecordStore, pack
from visionsmith.data.sample import Sample
from visionsmith.errors import DataError
from visionsmith.image.augment import horizontal_flip, random_resized_crop
from visionsmith.image.io import decode, encode_png, write_image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONSMITH_CACHE", str(tmp_path / "cache"))


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (12, 14, 3), dtype=np.uint8)


def folder(root: Path, counts: dict[str, int]) -> Path:
    number = 0
    for name, count in counts.items():
        for _ in range(count):
            number += 1
            path = root / name / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture(number))
    return root


def classes_of(data: Labelled, indices: tuple[int, ...]) -> dict[str, int]:
    return {name: int((data.labels[list(indices)] == place).sum()) for place, name in enumerate(data.classes)}


def test_a_folder_a_class_is_split_class_by_class(tmp_path: Path) -> None:
    data = open_labelled(folder(tmp_path / "pets", {"dog": 10, "cat": 5, "eel": 1}))
    assert data.classes == ("cat", "dog", "eel")
    assert classes_of(data, data.test) == {"cat": 1, "dog": 2, "eel": 0}, (
        "a fifth, and never the only picture"
    )
    assert classes_of(data, data.train) == {"cat": 4, "dog": 8, "eel": 1}
    assert not set(data.train) & set(data.test)
    again = open_labelled(tmp_path / "pets")
    assert (again.train, again.test) == (data.train, data.test)


def test_the_split_of_the_folders_is_kept(tmp_path: Path) -> None:
    data = open_labelled(
        folder(tmp_path, {"train/cat": 3, "train/dog/large": 2, "val/cat": 2, "val/dog": 4}),
        into=tmp_path / "store",
    )
    assert data.classes == ("cat", "dog")
    assert classes_of(data, data.train) == {"cat": 3, "dog": 2}
    assert classes_of(data, data.test) == {"cat": 2, "dog": 4}


def test_copies_of_a_picture_stay_on_one_side(tmp_path: Path) -> None:
    def samples():
        for label in ("a", "b"):
            for number in range(8):
                for copy in range(3):
                    image = encode_png(picture(number + 100 * (label == "b")))
                    yield Sample(f"{label}-{number}-{copy}", image, meta={"label": label})

    pack(samples(), tmp_path / "store")
    data = open_labelled(tmp_path / "store")
    content = {index: data.store[index].image for index in (*data.train, *data.test)}
    assert {content[index] for index in data.test}.isdisjoint(content[index] for index in data.train)
    assert len(data.test) == 2 * 2 * 3


def test_labels_of_the_metadata_go_before_folders(tmp_path: Path) -> None:
    samples = [
        Sample(f"x/{number}", encode_png(picture(number)), meta={"category": number % 2, "split": side})
        for number, side in enumerate(["train", "train", "test", "validation"])
    ]
    pack(samples, tmp_path / "store")
    data = open_labelled(tmp_path / "store")
    assert data.classes == ("0", "1")
    assert (data.train, data.test) == ((0, 1), (2, 3))


def test_a_models_classes_fix_the_places(tmp_path: Path) -> None:
    source = folder(tmp_path / "pets", {"cat": 4, "dog": 4, "newt": 4})
    data = open_labelled(source, classes=["newt", "horse", "cat"])
    assert data.classes == ("newt", "horse", "cat")
    assert len(data) == 8, "dogs are no class of the model's"
    with pytest.raises(DataError, match="none of the model's 2 classes"):
        open_labelled(source, classes=["ant", "bee"])


@pytest.mark.parametrize("counts", [{"cat": 5}, {"": 5}])
def test_one_class_or_none_is_refused(tmp_path: Path, counts: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"only the class .cat.|no classes"):
        open_labelled(folder(tmp_path / "pets", counts))


def test_samples_follow_from_seed_epoch_and_index(tmp_path: Path) -> None:
    data = open_labelled(folder(tmp_path / "pets", {"cat": 5, "dog": 5}))

    def view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return horizontal_flip(random_resized_crop(image, rng, 8), rng)

    first, same, other_seed = (PictureDataset(data, view, seed) for seed in (1, 1, 2))
    keys = [(epoch, index) for epoch in range(2) for index in data.train]
    assert all(np.array_equal(first[key].image, same[key].image) for key in reversed(keys))
    assert not all(np.array_equal(first[key].image, other_seed[key].image) for key in keys)
    assert not all(np.array_equal(first[0, index].image, first[1, index].image) for index in data.train)
    noisy = PictureDataset(data, view, labels=1 - data.labels)
    assert [noisy[0, index].label for index in data.train] == [
        1 - first[0, index].label for index in data.train
    ]

    items = [first[0, index] for index in data.train[:4]]
    plain = PictureCollate()(items)
    assert plain["images"].shape == (4, 8, 8, 3)
    assert plain["labels"].tolist() == data.labels[list(data.train[:4])].tolist()
    mix = PictureCollate(Mix(), classes=2, seed=3)
    assert all(torch.equal(mix(items)[name], mix(items)[name]) for name in ("images", "targets"))
    assert not torch.equal(mix(items)["images"], mix(items[1:] + items[:1])["images"].roll(1, 0))


def test_scenes_hold_out_drawings_and_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "SUBJECTS", scenes.SUBJECTS[:3])
    monkeypatch.setattr(scenes, "PER_CLASS", {"train": 20, "test": 10})
    made, again = (list(scenes.samples(24)) for _ in range(2))
    assert [sample.image for sample in made] == [sample.image for sample in again]
    assert len(made) == 90
    assert decode(made[0].image).shape == (24, 24, 3)
    sides = {
        side: [sample.meta for sample in made if sample.meta["split"] == side] for side in ("train", "test")
    }
    for field in ("variant", "photograph"):
        seen = {meta[field] for meta in sides["train"]}
        assert seen.isdisjoint(meta[field] for meta in sides["test"])
        assert len(seen) > 3
    data = open_labelled(None, size=24)
    assert data.classes == scenes.SUBJECTS
    assert classes_of(data, data.train) == dict.fromkeys(scenes.SUBJECTS, 20)
    assert data.about() == {
        **data.about(),
        "records": 60,
        "held_out": 30,
        "classes": 3,
        "licence": "CC-BY-SA-4.0",
    }
    shown = read_pictures(data, data.test[:2], lambda image: image[:20])
    assert shown.shape == (2, 20, 24, 3)


def test_a_record_without_a_picture_is_left_out(tmp_path: Path) -> None:
    samples = [Sample(f"{name}/{n}", encode_png(picture(n)), meta={}) for name in "ab" for n in range(3)]
    pack([*samples, Sample("a/none", caption="no picture")], tmp_path / "store")
    data = open_labelled(tmp_path / "store")
    assert len(RecordStore(tmp_path / "store")) == 7
    assert len(data) == 6
    assert labelled.class_counts(data, data.train) == {"a": 2, "b": 2}


def test_shown_pictures_are_of_all_classes_and_always_the_same(tmp_path: Path) -> None:
    samples = [
        Sample(f"{split}/{number % 4}/{number}", encode_png(picture(number)))
        for split in ("train", "test")
        for number in range(80)
    ]
    pack(samples, tmp_path / "store")
    data = open_labelled(tmp_path / "store")
    shown = data.some_test(20)
    assert shown == data.some_test(20)
    assert list(shown) == sorted(set(shown))
    assert set(shown) <= set(data.test)
    assert all(classes_of(data, shown).values()), "every 20th would be of one class"
    assert data.some_test(1000) == data.test
