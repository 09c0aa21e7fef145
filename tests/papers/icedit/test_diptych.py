"""The layout of a diptych, and the way from noise to it, beside diffusers' FluxFillPipeline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from visionsmith.diffusion.flux import pack, places, sigmas_of, unpack
from visionsmith.diffusion.library import FluxFillPipeline
from visionsmith.papers.icedit.config import FillerConfig, TransformerConfig
from visionsmith.papers.icedit.diptych import conditions, side_by_side
from visionsmith.papers.icedit.model import gray_half, make_transformer, predict, to_latents, to_pictures
from visionsmith.papers.icedit.sampling import State, clean_estimate, run
from visionsmith.papers.latent_diffusion import AutoencoderConfig, make_autoencoder

SIZES = FillerConfig(
    autoencoder=AutoencoderConfig(widths=(8, 16, 16), layers=1, groups=4, attention=False, image_size=32),
    transformer=TransformerConfig(
        heads=2, head_width=16, rotary=(4, 6, 6), dual=1, single=1, text_width=12, pooled_width=10
    ),
)


def _random(model: Any) -> Any:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def test_tokens_are_those_of_the_library_and_come_back() -> None:
    latents = torch.randn(2, 4, 6, 10)
    tokens = pack(latents)
    assert torch.equal(tokens, FluxFillPipeline._pack_latents(latents, 2, 4, 6, 10))
    assert torch.equal(unpack(tokens, 6, 10), latents)
    assert torch.equal(
        places(6, 10), FluxFillPipeline._prepare_latent_image_ids(2, 3, 5, torch.device("cpu"), torch.float32)
    )


def test_a_hidden_half_shows_nothing_of_itself() -> None:
    left, right, gray = torch.randn(3, 4, 4, 4), torch.randn(3, 4, 4, 4), torch.randn(4, 4, 4)
    hidden = torch.tensor([[False, True], [True, False], [True, True]])
    told = conditions(left, right, gray, hidden, factor=4)
    seen, mask = told[..., :16], told[..., 16:]
    assert told.shape == (3, 8, 16 + 64)
    assert torch.equal(unpack(seen, 4, 8)[0], side_by_side(left, gray[None].expand_as(left))[0])
    assert torch.equal(unpack(seen, 4, 8)[1], side_by_side(gray[None].expand_as(left), right)[1])
    other = conditions(left, torch.randn_like(right), gray, hidden, factor=4)
    assert torch.equal(told[0], other[0])
    assert not torch.equal(told[1], other[1])
    shares = mask.mean(dim=(1, 2))
    assert shares.tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("shifted", [False, True])
def test_the_whole_way_is_that_of_the_library(shifted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same noise, same sources: the same latents as FluxFillPipeline's, to 1e-5."""
    vae = _random(make_autoencoder(SIZES.autoencoder))
    vae.register_to_config(shift_factor=0.1)
    transformer = _random(make_transformer(SIZES))
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=shifted)
    pipeline = FluxFillPipeline(scheduler, vae, None, None, None, None, transformer)
    pipeline.set_progress_bar_config(disable=True)
    # The library takes latents in place of a picture, and then prepares the picture that is not there.
    monkeypatch.setattr(pipeline.image_processor, "preprocess", lambda *_, **__: torch.zeros(1, 3, 32, 64))
    images = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    left, gray = to_latents(vae, images), gray_half(vae, 32, 32)
    hidden = torch.tensor([[False, True]])
    told = conditions(left, left, gray, hidden, factor=4)
    text = (torch.randn(1, 7, 12), torch.randn(1, 10))
    noise = pack(torch.randn(1, 4, 8, 16))
    found = run(
        lambda tokens, times: predict(transformer, tokens, told, times, text, (8, 16), guidance=30.0),
        State(noise, 0),
        sigmas_of(scheduler, 5, noise.shape[1]),
        5,
    )
    theirs = pipeline(
        prompt_embeds=text[0],
        pooled_prompt_embeds=text[1],
        masked_image_latents=told,
        height=32,
        width=64,
        num_inference_steps=5,
        guidance_scale=30.0,
        latents=noise,
        output_type="latent",
    ).images
    assert (found.tokens - theirs).abs().max() < 1e-5
    assert (found.tokens - noise).abs().max() > 0.1


def test_a_walk_that_stops_goes_on_to_the_same_end() -> None:
    calls: list[int] = []

    def velocity(tokens: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        calls.append(len(tokens))
        return tokens * times[:, None, None] + 1

    sigmas = sigmas_of(FlowMatchEulerDiscreteScheduler(), 10, 8)
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    begin = State(torch.randn(4, 8, 16), 0)
    whole = run(velocity, begin, sigmas, 10)
    half = run(velocity, begin, sigmas, 3)
    calls.clear()
    rest = run(velocity, half.chosen([2]), sigmas, 10)
    assert torch.allclose(rest.tokens[0], whole.tokens[2], atol=1e-6)
    assert calls == [1] * 7
    assert torch.equal(clean_estimate(whole, sigmas), whole.tokens)


def test_the_estimate_half_way_is_the_data_of_a_straight_flow() -> None:
    data, noise = torch.randn(2, 8, 16), torch.randn(2, 8, 16)
    sigmas = sigmas_of(FlowMatchEulerDiscreteScheduler(), 10, 8)
    state = run(lambda tokens, times: noise - data, State(noise, 0), sigmas, 4)
    assert torch.allclose(clean_estimate(state, sigmas), data, atol=1e-5)


def test_pictures_come_back_through_a_shifted_autoencoder() -> None:
    vae = _random(make_autoencoder(SIZES.autoencoder))
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    plain, latents = to_pictures(vae, to_latents(vae, images)), to_latents(vae, images)
    vae.register_to_config(shift_factor=0.3)
    assert torch.allclose(to_latents(vae, images), latents - 0.3 * SIZES.autoencoder.scale, atol=1e-6)
    assert abs(to_pictures(vae, to_latents(vae, images)).astype(int) - plain).max() <= 1


def test_a_new_transformer_answers_nothing() -> None:
    made = make_transformer(SIZES)
    told = torch.randn(2, 8, 16 + 64)
    text = (torch.randn(2, 7, 12), torch.randn(2, 10))
    found = predict(made, torch.randn(2, 8, 16), told, torch.rand(2), text, (4, 8))
    assert found.abs().max() == 0
