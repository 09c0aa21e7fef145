"""The network, its preconditioning against the pipeline's own loop, and weights in the library's layout."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.papers.latent_upscaler.conftest import SMALL
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.latent_diffusion import Painter
from visionsmith.papers.latent_upscaler import Enlarger, UpscalerConfig, from_official, make_upscaler
from visionsmith.papers.latent_upscaler.model import (
    condition_vector,
    enlarged,
    make_scheduler,
    network_target,
    predict,
    read_text,
)
from visionsmith.papers.latent_upscaler.objective import UpscalingObjective
from visionsmith.papers.paper import get_paper


def test_published_sizes() -> None:
    with torch.device("meta"):
        unet = make_upscaler(UpscalerConfig())
    count = sum(parameter.numel() for parameter in unet.parameters())
    assert count == get_paper("latent_upscaler").parameters["x2 latent upscaler, denoiser"]
    assert round(count / 1e6, 1) == 372.6
    assert unet.conv_in.weight.shape == (384, 8, 1, 1)
    assert unet.conv_out.weight.shape == (5, 384, 1, 1)
    assert unet.time_embedding.cond_proj.in_features == 896
    assert type(unet.down_blocks[0]).__name__ == "KDownBlock2D"
    assert type(unet.up_blocks[-1]).__name__ == "KUpBlock2D"
    assert unet.up_blocks[0].attentions[0].attn2.to_k.in_features == 768


def test_condition_vector() -> None:
    pooled = torch.randn(3, 5)
    found = condition_vector(pooled)
    assert torch.equal(found, torch.cat((torch.ones(3, 64), torch.zeros(3, 64), pooled), dim=1))


def test_preconditioning() -> None:
    """What the network is asked for gives back the clean latents; it is they at high noise, noise at low."""
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 5, 4, 6, 6, dtype=torch.float64)
    for level in (1e-3, 0.3, 1.0, 14.6, 1e3):
        sigma = torch.full((5,), level, dtype=torch.float64)
        noisy = clean + level * noise
        asked = network_target(clean, noisy, sigma)
        estimate = noisy / (level**2 + 1) + level / (level**2 + 1) ** 0.5 * asked
        assert torch.allclose(estimate, clean, atol=1e-9)
        if level == 1e3:
            assert torch.allclose(asked, clean, atol=1e-2)
        if level == 1e-3:
            assert torch.allclose(asked, -noise, atol=1e-2)


@pytest.mark.parametrize("text", ["", "a carpet"])
@torch.no_grad()
def test_the_pipeline_computes_what_is_trained(enlarger: Enlarger, painter: Painter, text: str) -> None:
    """Euler steps written out with the training's own functions, beside diffusers' pipeline."""
    pipeline = enlarger.pipeline
    low = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    start = torch.randn(2, 4, 12, 16, generator=torch.Generator().manual_seed(2))
    theirs = pipeline(
        [text] * 2,
        image=low,
        latents=start,
        num_inference_steps=5,
        guidance_scale=1.0 if text else 0.0,
        output_type="latent",
    ).images
    scheduler = make_scheduler()
    scheduler.set_timesteps(5)
    sigmas = scheduler.sigmas
    assert float(sigmas[0]) == pytest.approx(14.6, abs=0.02)
    words = read_text(pipeline.text_encoder, painter.tokenize([text] * 2))
    ours = start * sigmas[0]
    for sigma, following in pairwise(sigmas):
        output = predict(pipeline.unet, ours, sigma.expand(2), enlarged(low), words)
        estimate = ours / (sigma**2 + 1) + sigma / (sigma**2 + 1).sqrt() * output
        ours = ours + (following - sigma) * (ours - estimate) / sigma
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_text_and_picture_reach_the_network(enlarger: Enlarger, painter: Painter) -> None:
    unet, encoder = enlarger.pipeline.unet, enlarger.pipeline.text_encoder
    torch.manual_seed(0)
    noisy, low, sigma = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.ones(1)
    with torch.no_grad():
        said = [read_text(encoder, painter.tokenize([text])) for text in ("", "a carpet")]
        plain = predict(unet, noisy, sigma, low, said[0])
        for other in (
            predict(unet, noisy, sigma, low, said[1]),
            predict(unet, noisy, sigma, low, (said[1][0], said[0][1])),
            predict(unet, noisy, sigma, low, (said[0][0], said[1][1])),
            predict(unet, noisy, sigma, low + 0.1, said[0]),
            predict(unet, noisy, 2 * sigma, low, said[0]),
        ):
            assert (other - plain).abs().max() > 1e-5
    assert plain.shape == noisy.shape


def test_objective(enlarger: Enlarger, painter: Painter) -> None:
    """The loss is the error of the clean estimate over c_out squared, and only the denoiser gets gradients."""
    unet = make_upscaler(SMALL)
    encoder = enlarger.pipeline.text_encoder.requires_grad_(False)
    objective = UpscalingObjective(unet, encoder, log_mean=0.5, log_std=1.0)
    batch = {
        "low": torch.randn(3, 4, 4, 4),
        "high": torch.randn(3, 4, 8, 8),
        "tokens": painter.tokenize(["a carpet"] * 3),
    }
    torch.manual_seed(5)
    loss = objective(batch)["loss"]
    torch.manual_seed(5)
    sigma = (torch.randn(3) + 0.5).exp()[:, None, None, None]
    noisy = batch["high"] + sigma * torch.randn(3, 4, 8, 8)
    with torch.no_grad():
        text = read_text(encoder, batch["tokens"])
        output = predict(unet, noisy, sigma.flatten(), enlarged(batch["low"]), text)
    out_scale = sigma / (sigma**2 + 1).sqrt()
    error = noisy / (sigma**2 + 1) + out_scale * output - batch["high"]
    assert float(loss.detach()) == pytest.approx(float((error / out_scale).square().mean()), rel=1e-4)
    loss.backward()
    assert unet.conv_in.weight.grad is not None
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_weights_of_a_folder(enlarger: Enlarger, tmp_path: Path) -> None:
    enlarger.save_pretrained(tmp_path / "folder")
    state = load_file(tmp_path / "folder" / "unet" / "diffusion_pytorch_model.safetensors")
    found = from_official(state, SMALL)
    assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())
    with pytest.raises(CheckpointError, match=r"conv_in\.weight"):
        from_official({name: value for name, value in state.items() if name != "conv_in.weight"}, SMALL)
    broken = {**state, "conv_in.weight": torch.full_like(state["conv_in.weight"], float("nan"))}
    with pytest.raises(CheckpointError, match="not finite"):
        from_official(broken, SMALL)
    with pytest.raises(ConfigError, match="does not say its sizes"):
        from_official(state, None)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"widths": (64, 64)}, "2 widths and 4 attends"),
        ({"widths": (40, 64), "attends": (False, True)}, "multiples of 32"),
        ({"widths": (64, 128), "attends": (False, True)}, "the last two"),
    ],
)
def test_sizes_that_the_blocks_refuse(settings: dict[str, tuple[int, ...]], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        UpscalerConfig(**settings)  # type: ignore[arg-type]
