"""The parts: published sizes, exact normalisation of latents, the text tower of CLIP, the objective."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from visionsmith.errors import ConfigError
from visionsmith.papers.clip.clip import Clip
from visionsmith.papers.latent_diffusion.autoencoder import (
    decode,
    encode,
    from_pixels,
    restore,
    scores,
    to_pixels,
    whiten,
)
from visionsmith.papers.latent_diffusion.config import (
    AutoencoderConfig,
    DenoiserConfig,
    LatentDiffusionConfig,
    NoiseConfig,
)
from visionsmith.papers.latent_diffusion.model import LatentDiffusion, make_sampler
from visionsmith.papers.latent_diffusion.objective import DenoisingObjective
from visionsmith.papers.latent_diffusion.text import (
    make_text_encoder,
    make_tokenizer,
    text_config,
    text_state,
)


def test_published_sizes() -> None:
    with torch.device("meta"):
        model = LatentDiffusion(LatentDiffusionConfig())
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert counts == {"vae": 83_653_863, "text_encoder": 123_060_480, "unet": 859_520_964}


def test_pixels_come_back() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)
    assert np.array_equal(to_pixels(from_pixels(images)), images.numpy())


def test_whitening_changes_latents_and_no_picture(small: LatentDiffusion) -> None:
    torch.manual_seed(1)
    images = torch.randint(0, 256, (12, 16, 16, 3), dtype=torch.uint8)
    before, after = small.vae, copy.deepcopy(small.vae)
    whiten(after, images)
    latents = encode(after, images)
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4)
    assert np.abs(restore(before, images).astype(int) - restore(after, images)).max() <= 1
    # The whole distribution is moved, its spread too.
    old = before.encode(from_pixels(images)).latent_dist
    new = after.encode(from_pixels(images)).latent_dist
    ratio = old.mean.std(dim=(0, 2, 3)) / new.mean.std(dim=(0, 2, 3))
    assert torch.allclose(old.std / new.std, ratio[None, :, None, None].expand_as(old.std), rtol=1e-3)


def test_a_mean_colour_scores_as_its_baseline(small: LatentDiffusion) -> None:
    flat = torch.full((2, 16, 16, 3), 200, dtype=torch.uint8)
    assert scores(small.vae, flat)["mean_colour_psnr"] > 100


def test_scaled_latents_are_decoded_as_they_were_encoded() -> None:
    torch.manual_seed(0)
    config = LatentDiffusionConfig(
        autoencoder=AutoencoderConfig(
            widths=(8, 8), layers=1, groups=4, attention=False, image_size=16, scale=0.5
        ),
        denoiser=DenoiserConfig(widths=(8, 16), attends=(False, True), layers=1, heads=2, groups=4),
    )
    vae = LatentDiffusion(config).vae.eval()
    images = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    assert np.array_equal(decode(vae, encode(vae, images)), restore(vae, images))
    assert torch.allclose(encode(vae, images), 0.5 * vae.encode(from_pixels(images)).latent_dist.mode())


def test_the_text_encoder_is_clips_text_tower(clip: Clip) -> None:
    config = text_config(clip.model, clip.tokenizer)
    encoder = make_text_encoder(config).eval()
    assert not encoder.load_state_dict(text_state(clip.model), strict=False).missing_keys
    texts = ["a woman with red hair", "Man  farmer: dark skin tone", ""]
    tokens = make_tokenizer(clip.tokenizer.save(), config)(texts, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        pooled = encoder(tokens.input_ids).pooler_output @ clip.model.text_projection
    assert torch.allclose(F.normalize(pooled, dim=1), clip.encode_texts(texts), atol=1e-5)


@pytest.mark.parametrize("cut", [None, 5.0])
def test_the_loss_is_the_weighed_error_and_reaches_the_denoiser_alone(
    small: LatentDiffusion, cut: float | None
) -> None:
    model = copy.deepcopy(small)
    objective = DenoisingObjective(model, min_snr=cut)
    tokens = torch.full((4, model.config.text.context_length), model.config.text.end_token)
    torch.manual_seed(3)
    loss = objective({"latents": torch.randn(4, 4, 8, 8), "tokens": tokens})["loss"]
    loss.backward()
    assert float(loss.detach()) > 0
    assert all(p.grad is None for p in model.text_encoder.parameters())
    assert all(p.grad is None for p in model.vae.parameters())
    assert any(float(p.grad.abs().max()) > 0 for p in model.unet.parameters() if p.grad is not None)


def test_a_perfect_prediction_samples_the_picture() -> None:
    """With the true velocity at every time, the sampler ends at the clean latents, from pure noise."""
    sampler = make_sampler(NoiseConfig(prediction="v_prediction", zero_snr=True))
    torch.manual_seed(0)
    clean, state = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    sampler.set_timesteps(10)
    assert int(sampler.timesteps[0]) == 999
    for time in sampler.timesteps:
        kept = sampler.alphas_cumprod[time]
        noise = (state - kept.sqrt() * clean) / (1 - kept).sqrt()
        state = sampler.step(kept.sqrt() * noise - (1 - kept).sqrt() * clean, time, state).prev_sample
    assert torch.allclose(state, clean, atol=1e-4)


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="pure noise"):
        NoiseConfig(zero_snr=True)
    with pytest.raises(ConfigError, match="widths"):
        DenoiserConfig(widths=(8, 8), attends=(True,))
    with pytest.raises(ConfigError, match="multiples"):
        AutoencoderConfig(widths=(8, 12), groups=8)
