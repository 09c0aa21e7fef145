"""The network against transformers' LLaVA, and what each part does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaForConditionalGeneration
from transformers import LlavaConfig as TheirConfig

from tests.papers.llava.conftest import random_llava, small
from visionsmith.data.world import draw, make_scene
from visionsmith.errors import ConfigError, DataError
from visionsmith.memory.locks import library_load
from visionsmith.papers.clip import normalise
from visionsmith.papers.llava.config import LlavaConfig, TowerConfig, llava_7b, llava_13b
from visionsmith.papers.llava.model import Llava, projector
from visionsmith.papers.llava.start import weigh_as_words
from visionsmith.papers.llava.tower import class_state, patch_features


def theirs(ours: Llava) -> LlavaForConditionalGeneration:
    """transformers' model with the same weights."""
    config = ours.config
    vision, language = config.vision, config.language
    with library_load():
        model = LlavaForConditionalGeneration(
            TheirConfig(
                vision_config=CLIPVisionConfig(
                    image_size=vision.image_size,
                    patch_size=vision.patch_size,
                    hidden_size=vision.width,
                    intermediate_size=vision.hidden,
                    num_hidden_layers=vision.layers,
                    num_attention_heads=vision.heads,
                    hidden_act=vision.activation,
                ),
                text_config=LlamaConfig(
                    vocab_size=language.vocab_size,
                    hidden_size=language.width,
                    intermediate_size=language.hidden,
                    num_hidden_layers=language.layers,
                    num_attention_heads=language.heads,
                    num_key_value_heads=language.key_value_heads,
                    max_position_embeddings=language.context,
                    rms_norm_eps=language.norm_eps,
                    eos_token_id=config.end_token,
                ),
                image_token_index=config.image_token,
                vision_feature_layer=config.select_layer,
            )
        ).eval()
    inner = model.model
    inner.vision_tower.load_state_dict(ours.vision.state_dict())
    inner.language_model.load_state_dict(ours.language.model.state_dict())
    model.lm_head.load_state_dict(ours.language.lm_head.state_dict())
    first, _, second = ours.projector
    inner.multi_modal_projector.linear_1.load_state_dict(first.state_dict())
    inner.multi_modal_projector.linear_2.load_state_dict(second.state_dict())
    return model


@pytest.mark.parametrize("layer", [-1, -2, -3])
def test_logits_equal_transformers(layer: int) -> None:
    ours = random_llava(small(projector="mlp2x_gelu", select_layer=layer))
    reference = theirs(ours)
    ids = torch.randint(5, 300, (2, 20))
    ids[0, 3:7] = ids[1, 2:6] = ids[1, 9:13] = ours.config.image_token
    pixels = torch.randn(3, 3, 24, 24)
    with torch.no_grad():
        expected = reference(input_ids=ids, pixel_values=pixels).logits
        found = ours(ids, ours.look(pixels))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_greedy_answers_equal_transformers() -> None:
    ours = random_llava(small(projector="mlp2x_gelu"))
    reference = theirs(ours)
    ids = torch.randint(5, 300, (1, 14))
    ids[0, 2:6] = ours.config.image_token
    pixels = torch.randn(1, 3, 24, 24)
    settings = GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=3, pad_token_id=3)
    with torch.no_grad():
        expected = reference.generate(
            input_ids=ids,
            pixel_values=pixels,
            attention_mask=torch.ones_like(ids),
            generation_config=settings,
        )[0, 14:]
        found = ours.language.generate(
            inputs_embeds=ours.embed(ids, ours.look(pixels)),
            attention_mask=torch.ones_like(ids),
            generation_config=settings,
        )[0]
    assert found.tolist() == expected.tolist()


def test_published_sizes() -> None:
    for config, count in ((llava_7b(), 4_198_400), (llava_13b(), 5_248_000)):
        with torch.device("meta"):
            parts = projector(config)
        assert sum(parameter.numel() for parameter in parts.parameters()) == count
    with torch.device("meta"):
        whole = Llava(llava_7b())
    tower = sum(parameter.numel() for parameter in whole.vision.parameters())
    assert tower == 303_179_776  # CLIP ViT-L/14 without its projection
    assert sum(parameter.numel() for parameter in whole.language.parameters()) == 6_738_415_616


def test_blocks_behind_the_chosen_state_are_not_run() -> None:
    model = random_llava(small())
    run: list[int] = []
    for number, block in enumerate(model.vision.encoder.layers):
        block.register_forward_hook(lambda *_, number=number: run.append(number))
    model.look(torch.randn(1, 3, 24, 24))
    assert run == [0, 1]


def test_features_carry_no_gradient_and_the_projector_learns() -> None:
    model = random_llava(small())
    ids = torch.tensor([[1, 2, 2, 2, 2, 9, 10]])
    model(ids, model.look(torch.randn(1, 3, 24, 24))).sum().backward()
    assert all(parameter.grad is None for parameter in model.vision.parameters())
    assert isinstance(model.projector, nn.Linear)
    assert model.projector.weight.grad is not None
    assert model.projector.weight.grad.abs().sum() > 0


def test_pictures_go_to_their_places_in_order() -> None:
    model = random_llava(small())
    features = model.look(torch.randn(2, 3, 24, 24))
    ids = torch.tensor([[1, 2, 2, 2, 2, 9, 2, 2, 2, 2], [1, 9, 9, 9, 9, 9, 9, 9, 9, 9]])
    embedded = model.embed(ids, features)
    projected = model.projector(features)
    torch.testing.assert_close(embedded[0, 1:5], projected[0])
    torch.testing.assert_close(embedded[0, 6:10], projected[1])
    torch.testing.assert_close(embedded[1], model.language.model.embed_tokens(ids[1]))


def test_image_token_may_lie_outside_of_the_vocabulary() -> None:
    inside, outside = small(), small(image_token=320)
    ids = torch.tensor([[1, 2, 2, 2, 2, 9]])
    pixels = torch.randn(1, 3, 24, 24)
    one, other = random_llava(inside), random_llava(outside)
    torch.testing.assert_close(
        one(ids, one.look(pixels)), other(ids.masked_fill(ids == 2, 320), other.look(pixels))
    )


@pytest.mark.parametrize("places", [3, 5])
def test_unequal_numbers_are_one_sentence(places: int) -> None:
    model = random_llava(small())
    ids = torch.tensor([[1, *[2] * places, 9]])
    with pytest.raises(DataError, match=f"room for {places} patches and the pictures have 4"):
        model.embed(ids, model.look(torch.randn(1, 3, 24, 24)))


def test_shown_patches_alone_are_read() -> None:
    model = random_llava(small())
    pixels = torch.randn(2, 3, 24, 24)
    everything = class_state(model.vision, pixels, torch.arange(4).expand(2, 4))
    torch.testing.assert_close(everything, model.vision(pixels).pooler_output)
    changed = pixels.clone()
    changed[:, :, 12:, 12:] += 1  # the last patch
    some = torch.tensor([[0, 1, 2], [0, 1, 2]])
    torch.testing.assert_close(
        class_state(model.vision, pixels, some), class_state(model.vision, changed, some)
    )
    assert (
        patch_features(model.vision, pixels, -1) - patch_features(model.vision, changed, -1)
    ).abs().max() > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"select_layer": -5}, "choose -4 to -1"),
        ({"select_layer": 1}, "not a state of a tower of 3 blocks"),
        ({"end_token": 999}, "not in the vocabulary"),
        ({"image_token": 3}, "cannot stand for a picture"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        small(**settings)


def test_defaults_are_the_papers() -> None:
    config = LlavaConfig()
    assert (config.projector, config.select_layer, config.template) == ("linear", -2, "v1")
    assert config.vision == TowerConfig()
    assert config.vision.patches == 256


@pytest.mark.parametrize("kind", ["linear", "mlp2x_gelu"])
def test_patches_are_made_as_large_as_words(kind: str) -> None:
    llava = random_llava(small(projector=kind))
    weigh_as_words(llava)
    picture = draw(make_scene(np.random.default_rng(0), 3), llava.config.vision.image_size)
    with torch.no_grad():
        made = llava.projector(llava.look(normalise(torch.from_numpy(picture[None]))))
    words = llava.language.model.embed_tokens.weight.detach()
    assert float((made.square().mean() / words.square().mean()).sqrt()) == pytest.approx(1, abs=0.3)
