"""The same numbers as transformers' `FlavaForPreTraining` with the same weights, padded or not; published counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig
from transformers.models.flava.modeling_flava import FlavaForPreTraining

from tests.papers.flava.conftest import CONFIG, spread_weights
from visionsmith.losses.contrastive import contrastive_loss
from visionsmith.losses.language import IGNORED
from visionsmith.memory.locks import library_load
from visionsmith.papers.flava.codebook import Codebook
from visionsmith.papers.flava.config import CodebookConfig, FlavaConfig
from visionsmith.papers.flava.layers import library_config
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.objective import FlavaObjective
from visionsmith.papers.flava.recipes import LossWeights
from visionsmith.papers.flava.transformers_layout import plain_names

TOLERANCE = 1e-5
SAMPLES, GRID, MASK = 6, 4, 4


@pytest.fixture(scope="module")
def theirs() -> FlavaForPreTraining:
    with library_load():
        model = FlavaForPreTraining(library_config(CONFIG)).eval()
    spread_weights(model)
    with torch.no_grad():
        # A temperature within the range that both keep.
        model.flava.logit_scale.fill_(2.0)
    return model


@pytest.fixture(scope="module")
def ours(theirs: FlavaForPreTraining) -> FLAVA:
    model = FLAVA(CONFIG).eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("image_codebook.")}
    model.load_state_dict(plain_names(state))
    return model


@pytest.fixture(params=["full", "padded"])
def batch(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    """Six pairs of pictures as they come, and texts of twelve pieces, or of four to twelve."""
    torch.manual_seed(8)
    words = torch.randint(5, 50, (SAMPLES, 12))
    if request.param == "padded":
        for row, length in enumerate((12, 5, 7, 9, 4, 12)):
            words[row, length:] = 0
    word_places = torch.tensor([[1, 2], [1, 3], [3, 2], [2, 4], [1, 1], [3, 0]])
    word_labels = words.gather(1, word_places)
    # One place twice, and one that is filled up: neither counts twice, nor at all.
    word_labels[4, 1] = word_labels[5, 1] = IGNORED
    masked = words.scatter(1, word_places[:, :1], MASK)
    masked[:4] = masked[:4].scatter(1, word_places[:4], MASK)
    return {
        "images": torch.randint(0, 256, (SAMPLES, 32, 32, 3), dtype=torch.uint8),
        "patch_places": torch.stack([torch.randperm(16)[:6].sort().values for _ in range(SAMPLES)]),
        "codes": torch.randint(0, 30, (SAMPLES, 16)),
        "words": words,
        "masked_words": masked,
        "word_places": word_places,
        "word_labels": word_labels,
        "matched": torch.ones(SAMPLES, dtype=torch.int64),
    }


def with_labels(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    labels = batch["codes"].gather(1, batch["patch_places"])
    return {**{name: value for name, value in batch.items() if name != "codes"}, "patch_labels": labels}


def for_library(batch: dict[str, Tensor], *, pictures: bool = True, texts: bool = True) -> dict[str, Tensor]:
    from visionsmith.papers.clip import normalise

    labels = torch.full_like(batch["words"], IGNORED)
    for row in range(SAMPLES):
        for place, label in zip(batch["word_places"][row], batch["word_labels"][row], strict=True):
            if label != IGNORED:
                labels[row, place] = label
    given: dict[str, Tensor] = {}
    if pictures:
        hidden = torch.zeros(SAMPLES, 16, dtype=torch.bool).scatter(1, batch["patch_places"], value=True)
        given |= {
            "pixel_values": normalise(batch["images"]),
            "bool_masked_pos": hidden,
            "mim_labels": batch["codes"].clone(),
        }
    if texts:
        given |= {
            "input_ids": batch["words"],
            "input_ids_masked": batch["masked_words"],
            "attention_mask": (batch["words"] != 0).long(),
            "mlm_labels": labels,
        }
    if pictures and texts:
        given["itm_labels"] = batch["matched"].clone()
    return given


@torch.no_grad()
def test_losses_of_pairs(theirs: FlavaForPreTraining, ours: FLAVA, batch: dict[str, Tensor]) -> None:
    found = FlavaObjective(ours, LossWeights())(with_labels(batch))
    expected = theirs(**for_library(batch)).loss_info
    for name, theirs_name in (
        ("mmm_image",) * 2,
        ("mmm_text",) * 2,
        ("itm",) * 2,
        ("contrastive", "global_contrastive"),
    ):
        assert abs(float(found[name] - expected[theirs_name])) < TOLERANCE, name
        assert float(found[name]) > 0.1, name
    total = sum(float(expected[name]) for name in ("mmm_image", "mmm_text", "itm", "global_contrastive"))
    assert float(found["loss"]) == pytest.approx(total, abs=4 * TOLERANCE)


@torch.no_grad()
def test_losses_of_pictures_and_of_texts_alone(
    theirs: FlavaForPreTraining, ours: FLAVA, batch: dict[str, Tensor]
) -> None:
    objective, whole = FlavaObjective(ours, LossWeights()), with_labels(batch)
    images = {name: whole[name] for name in ("images", "patch_places", "patch_labels")}
    texts = {name: whole[name] for name in ("masked_words", "word_places", "word_labels")}
    # The library asks for both embeddings, also where a loss needs one: the last is the image step's.
    expected = theirs(**for_library(batch, texts=False)).loss_info.mim
    assert abs(float(objective(images)["mim"] - expected)) < TOLERANCE
    expected = theirs(**for_library(batch, pictures=False)).loss_info.mlm
    assert abs(float(objective(texts)["mlm"] - expected)) < TOLERANCE


@torch.no_grad()
def test_embeddings(theirs: FlavaForPreTraining, ours: FLAVA, batch: dict[str, Tensor]) -> None:
    given = for_library(batch)
    expected = theirs.flava(
        input_ids=given["input_ids"],
        pixel_values=given["pixel_values"],
        attention_mask=given["attention_mask"],
        output_hidden_states=True,
    )
    image = F.normalize(theirs.flava.image_projection(expected.image_embeddings[:, 0]), dim=-1)
    text = F.normalize(theirs.flava.text_projection(expected.text_embeddings[:, 0]), dim=-1)
    pixels, words = given["pixel_values"], batch["words"]
    close(ours.encode_images(pixels), image)
    close(ours.encode_texts(words), text)
    close(ours.image_features(pixels), expected.image_embeddings[:, 0])
    close(ours.text_features(words), expected.text_embeddings[:, 0])
    states = ours.image_states(pixels)
    close(states, expected.image_output.hidden_states[-1])
    fused = ours.pair_features(states, words, torch.tensor([[2, 1]] * SAMPLES))
    multimodal = expected.multimodal_embeddings
    close(fused[:, 0], multimodal[:, 0])
    close(fused[:, 1:], multimodal[:, [2 + 17 + 1, 1 + 17 + 1]])
    # And the pass that does both at once.
    whole = with_labels(batch)
    both = ours.pairs(pixels, words, whole["masked_words"], whole["patch_places"], whole["word_places"])
    assert both.images is not None
    assert both.texts is not None
    close(both.images, image)
    close(both.texts, text)


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < TOLERANCE
    assert float(expected.std()) > 0.01, "nothing is compared"


@torch.no_grad()
def test_padding_changes_nothing(ours: FLAVA, batch: dict[str, Tensor]) -> None:
    """The multimodal encoder too does not see it: the public code's did."""
    objective = FlavaObjective(ours, LossWeights())
    whole = with_labels(batch)
    longer = {**whole, **{name: F.pad(whole[name], (0, 5)) for name in ("words", "masked_words")}}
    before, after = objective(whole), objective(longer)
    for name in before:
        assert float((before[name] - after[name]).abs()) < TOLERANCE, name


@torch.no_grad()
def test_mismatched_pairs_teach_matching_alone(
    theirs: FlavaForPreTraining, ours: FLAVA, batch: dict[str, Tensor]
) -> None:
    """As the library gates them. The contrastive loss is of the pictures' own texts here, so it keeps all rows."""
    whole = with_labels(batch) | {"matched": torch.tensor([1, 0, 1, 1, 0, 1])}
    found = FlavaObjective(ours, LossWeights())(whole)
    given = for_library(batch | {"matched": whole["matched"]})
    expected = theirs(**given).loss_info
    for name in ("mmm_image", "mmm_text", "itm"):
        assert abs(float(found[name] - expected[name])) < TOLERANCE, name
    vectors = ours.encode_images(given["pixel_values"]), ours.encode_texts(batch["words"])
    assert abs(float(found["contrastive"] - contrastive_loss(*vectors, ours.logit_scale).loss)) < TOLERANCE


def test_gradients(theirs: FlavaForPreTraining, ours: FLAVA, batch: dict[str, Tensor]) -> None:
    """Of every parameter that a pair step trains, and 0 for the others."""
    theirs.zero_grad()
    ours.zero_grad()
    theirs(**for_library(batch)).loss.backward()
    FlavaObjective(ours, LossWeights())(with_labels(batch))["loss"].backward()
    expected = plain_names({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    found = {name: p.grad for name, p in ours.named_parameters()}
    assert len(expected) > 100
    for name in found.keys() - expected.keys():
        # The poolers of the encoders feed no loss, the unimodal heads those of other batches.
        assert "pooler" in name or name.startswith(("mim_head", "mlm_head")), name
        assert not found[name].any(), name
    for name, gradient in expected.items():
        scale = max(1.0, float(gradient.abs().max()))
        assert float((found[name] - gradient).abs().max()) < TOLERANCE * scale, name


def test_parameters_of_the_published_model() -> None:
    """The original keeps the temperature with its losses, transformers with the encoders: one parameter moves."""
    with torch.device("meta"):
        model = FLAVA(FlavaConfig())
        codebook = Codebook(CodebookConfig(), with_decoder=False)
    encoders = count(model.flava) - model.logit_scale.numel()
    assert encoders == 241_356_288
    assert count(model) - encoders == 62_502_775
    assert count(codebook) == 53_786_240
    assert count(model) + count(codebook) == 357_645_303
    assert count(model.flava.image_model) == 86_390_016
    assert count(model.flava.multimodal_model) == 43_120_128
    assert count(model.flava.text_model) == 109_483_776


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_codebook_is_the_librarys() -> None:
    with library_load():
        library = FlavaImageCodebook(
            FlavaImageCodebookConfig(hidden_size=8, vocab_size=30, num_blocks_per_group=1)
        )
    spread_weights(library)
    codebook = Codebook(CodebookConfig(codes=30, width=8, blocks=1), with_decoder=False)
    codebook.encoder.load_state_dict(library.state_dict())
    images = torch.randint(0, 256, (3, 16, 24, 3), dtype=torch.uint8)
    pixels = 0.8 * images.permute(0, 3, 1, 2) / 255 + 0.1
    expected = library.get_codebook_indices(pixels).flatten(1)
    assert torch.equal(codebook.encode(images), expected)
    assert len(expected.unique()) > 3
