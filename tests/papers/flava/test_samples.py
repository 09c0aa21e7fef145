"""Samples are functions of (seed, epoch, index); what they say is hidden is; a wrong text is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import generator
from visionsmith.data.sources import open_or_pack
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.losses.language import IGNORED
from visionsmith.papers.flava.codebook import Codebook
from visionsmith.papers.flava.codes import codes_of, patch_codes
from visionsmith.papers.flava.config import CodebookConfig
from visionsmith.papers.flava.recipes import MaskConfig, ViewConfig
from visionsmith.papers.flava.samples import Collate, Images, Others, Pairs, Texts, Views
from visionsmith.papers.flava.words import SPECIAL, Words

MASKING = MaskConfig(patches=0.4, smallest_block=2, mismatched=0.5, hard=0.5)
CODEBOOK = CodebookConfig(codes=12, width=4, blocks=1)


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RecordStore:
    return open_or_pack(folder, tmp_path_factory.mktemp("store") / "records")


@pytest.fixture(scope="module")
def words(store: RecordStore) -> Words:
    return Words.learn([store[index].caption for index in range(len(store))], size=100, context_length=12)


def make(store: RecordStore, words: Words) -> Pairs:
    torch.manual_seed(0)
    views = Views(store, 32, ViewConfig(count=3, crop=(0.7, 1.0)), seed=4)
    codebook = Codebook(CODEBOOK)
    codes = codes_of(codebook, views, range(len(store)), 4, None, progress=False)
    captions = {index: store[index].caption for index in range(len(store))}
    return Pairs(
        Images(views, codes, MASKING, 4),
        Texts(store, words, MASKING, seed=4, reword=0.5),
        Others(captions, subject=lambda index: captions[index].split()[-1]),
        MASKING,
    )


def test_a_sample_depends_on_its_key_alone(store: RecordStore, words: Words) -> None:
    first, again = make(store, words), make(store, words)
    for key in ((0, 3), (1, 3), (7, 20)):
        one, two = first[key], again[key]
        assert np.array_equal(one.picture.image, two.picture.image)
        assert np.array_equal(one.picture.places, two.picture.places)
        assert np.array_equal(one.read.masked, two.read.masked)
    # The same view after three epochs, with another mask.
    assert np.array_equal(first[0, 3].picture.image, first[3, 3].picture.image)
    assert not np.array_equal(first[0, 3].picture.image, first[1, 3].picture.image)
    masks = {first[epoch, 3].picture.places.tobytes() for epoch in (0, 3, 6, 9)}
    assert len(masks) > 1


def test_labels_are_the_codes_of_what_is_shown(store: RecordStore, words: Words) -> None:
    pairs = make(store, words)
    torch.manual_seed(0)
    codebook = Codebook(CODEBOOK)
    for epoch in range(4):
        sample = pairs.images[epoch, 9]
        codes = patch_codes(codebook, sample.image[None], 4)[0]
        assert len(sample.places) == round(0.4 * 16)
        assert np.array_equal(sample.labels, codes[sample.places])


def test_a_wrong_text_is_never_a_true_one(store: RecordStore, words: Words) -> None:
    pairs = make(store, words)
    matched = 0
    for epoch in range(8):
        for index in range(len(store)):
            sample = pairs[epoch, index]
            read = words.tokenizer.decode(unmasked(sample.read).tolist()).split()
            # Captions are "a COLOUR SHAPE", and other words may leave one out: a text is wrong when another comes in.
            own = set(store[index].caption.split()) | {"the", "a", "an"}
            assert sample.matched == set(read).issubset(own)
            matched += sample.matched
    assert matched / (8 * len(store)) == pytest.approx(0.5, abs=0.1)


def unmasked(sample) -> np.ndarray:
    whole = sample.masked.copy()
    whole[sample.places] = sample.labels
    return whole


def test_others_know_twins_and_prefer_the_same_subject() -> None:
    captions = {0: "man farmer", 1: "old farmer", 2: "woman farmer", 3: "cat", 4: "man farmer", 5: "a farmer"}
    others = Others(
        captions,
        subject=lambda index: captions[index].split()[-1],
        twins={0: frozenset({0, 1}), 1: frozenset({0, 1})},
    )
    hard = {others(0, generator(0, 0, seed), hard=1.0) for seed in range(60)}
    assert hard == {2}
    easy = {others(0, generator(0, 0, seed), hard=0.0) for seed in range(60)}
    assert easy == {2, 3}
    # No other of its kind is wrong: one of any kind is taken.
    assert {captions[others(3, generator(0, 0, seed), hard=1.0)] for seed in range(60)} == {
        *captions.values()
    } - {"cat"}
    assert Others({0: "a", 1: "a"}, subject=str)(0, generator(0, 0, 0), hard=0.5) is None


def test_batches_of_each_kind(store: RecordStore, words: Words) -> None:
    pairs = make(store, words)
    batch = Collate()([pairs[0, index] for index in range(8)])
    assert batch["images"].shape == (8, 32, 32, 3)
    assert batch["patch_places"].shape == batch["patch_labels"].shape == (8, 6)
    assert batch["masked_words"].shape[0] == batch["word_places"].shape[0] == 8
    assert batch["word_places"].shape == batch["word_labels"].shape
    for row in range(8):
        sample = pairs[0, row]
        counted = batch["word_labels"][row] != IGNORED
        assert int(counted.sum()) == len(sample.read.labels)
        assert batch["words"][row, : len(sample.words)].tolist() == sample.words.tolist()
        assert not batch["words"][row, len(sample.words) :].any()
    images = Collate()([pairs.images[0, index] for index in range(3)])
    assert set(images) == {"images", "patch_places", "patch_labels"}
    texts = Collate()([pairs.texts[0, index] for index in range(3)])
    assert set(texts) == {"masked_words", "word_places", "word_labels"}


def test_codes_are_computed_once_by_the_same_codebook(
    store: RecordStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = Views(store, 32, ViewConfig(count=2), seed=0)
    torch.manual_seed(0)
    codebook, other = Codebook(CODEBOOK), Codebook(CODEBOOK)
    file, records = tmp_path / "codes.safetensors", [3, 5, 8]
    first = codes_of(codebook, views, records, 4, file, progress=False)
    computed = []
    before = Codebook.encode
    monkeypatch.setattr(Codebook, "encode", lambda self, images: computed.append(1) or before(self, images))
    again = codes_of(codebook, views, records, 4, file, progress=False)
    assert not computed
    assert all(np.array_equal(first[index], again[index]) for index in records)
    codes_of(other, views, records, 4, file, progress=False)
    assert computed


def test_words_are_framed_cut_and_padded(words: Words) -> None:
    pieces, begins = words.pieces("a red square")
    assert begins[0]
    framed = words.framed(pieces)
    assert words.word(int(framed[0])) == "[CLS]"
    assert words.word(int(framed[-1])) == "[SEP]"
    encoded = words.encode(["a red square", "a " * 50, ""])
    assert encoded.shape == (3, 12)
    assert (encoded[1] != 0).all()
    assert words.word(int(encoded[2, 1])) == "[UNK]"
    assert words.ordinary[0] == len(SPECIAL)
    framed, places = words.places_to_fill("a [MASK] square")
    assert [words.word(int(framed[place])) for place in places] == ["[MASK]"]
    with pytest.raises(ConfigError, match=r"'a red square' has no \[MASK\] among its first 10 word pieces"):
        words.places_to_fill("a red square")


def test_a_vocabulary_of_another_kind_is_refused(tmp_path: Path) -> None:
    from visionsmith.papers.vocabulary import learn_word_pieces

    other = learn_word_pieces(["a b"] * 3, size=100, special=["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"])
    with pytest.raises(
        CheckpointError, match=r"its padding token has the id 1; give a vocabulary whose \[PAD\] is 0"
    ):
        Words(other, 12, where=tmp_path)
    other = learn_word_pieces(["a b"] * 3, size=100, special=["[PAD]", "[UNK]"])
    with pytest.raises(CheckpointError, match=r"has no \[CLS\]"):
        Words(other, 12)
