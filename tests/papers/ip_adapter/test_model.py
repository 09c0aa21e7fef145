"""The adapter on a denoiser: recorded outputs, scales, masks, several prompts, what is kept and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F

from tests.papers.ip_adapter.conftest import IMAGE_WIDTH, golden, golden_unet, inputs, random_adapter
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.ip_adapter import Attachment, ImagePrompt, IPAdapter, config_for, from_official
from visionsmith.papers.ip_adapter.attention import Region, cross_layers


def answer(unet: UNet2DConditionModel, *given: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = unet(*given).sample
    return found


def features(count: int = 2, seed: int = 5) -> Tensor:
    return torch.randn(count, IMAGE_WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_reference_codes_outputs(unet: UNet2DConditionModel, scale: float) -> None:
    state, io, settings = golden()
    adapter = from_official({k: v for k, v in state.items() if not k.startswith("unet.")})
    tokens = adapter.project(io["image_embeds"])
    torch.testing.assert_close(tokens, io["image_tokens"], rtol=0, atol=1e-5)
    attached = adapter.attach(unet)
    attached.show([ImagePrompt(adapter, tokens, scale)])
    found = answer(unet, io["latents"], settings["timestep"], io["text"])
    torch.testing.assert_close(found, io[f"scale_{scale}"], rtol=0, atol=1e-5)
    assert not torch.equal(io["scale_1.0"], io["base"])


def test_scale_0_is_the_base_bit_for_bit_and_detaching_leaves_nothing(unet: UNet2DConditionModel) -> None:
    given, before = inputs(), unet.attn_processors
    base, weights = answer(unet, *given), {k: v.clone() for k, v in unet.state_dict().items()}
    adapter = random_adapter(unet)
    attached = adapter.attach(unet)
    assert torch.equal(answer(unet, *given), base)
    attached.show([ImagePrompt(adapter, adapter.project(features()), 0.0)])
    assert torch.equal(answer(unet, *given), base)
    attached.show([ImagePrompt(adapter, adapter.project(features()), 1.0)])
    assert not torch.equal(answer(unet, *given), base)
    assert unet.state_dict().keys() == weights.keys()
    assert type(unet) is UNet2DConditionModel
    attached.clear()
    assert torch.equal(answer(unet, *given), base)
    attached.detach()
    assert unet.attn_processors == before
    assert all(torch.equal(value, weights[name]) for name, value in unet.state_dict().items())


def test_a_new_adapter_copies_keys_and_values(unet: UNet2DConditionModel) -> None:
    adapter = IPAdapter(config_for(unet, image_width=IMAGE_WIDTH))
    adapter.copy_from(unet)
    given = inputs()
    attached = adapter.attach(unet)
    # Shown the text itself, the branch answers what the layers answer, so that the sum is twice that.
    attached.show([ImagePrompt(adapter, given[2])])
    layer = cross_layers(unet)[0].module
    states = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(1))
    both = layer(states, encoder_hidden_states=given[2])
    attached.clear()
    alone = layer(states, encoder_hidden_states=given[2])
    bias = layer.to_out[0].bias
    torch.testing.assert_close(both - bias, 2 * (alone - bias), rtol=1e-4, atol=1e-6)


def test_keys_and_values_are_computed_once_and_exactly(
    unet: UNet2DConditionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, given = random_adapter(unet), inputs()
    calls = []
    computed = adapter.keys_values

    def counted(tokens: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        calls.append(1)
        return computed(tokens)

    monkeypatch.setattr(adapter, "keys_values", counted)
    attached, tokens = adapter.attach(unet), adapter.project(features())
    attached.show([ImagePrompt(adapter, tokens)])
    kept = [answer(unet, given[0], time, given[2]) for time in (900, 500, 100)]
    assert len(calls) == 1
    for time, once in zip((900, 500, 100), kept, strict=True):
        attached.show([ImagePrompt(adapter, tokens)])
        assert torch.equal(answer(unet, given[0], time, given[2]), once)
    for position, (keys, values) in adapter.keys_values(tokens).items():
        layer: Any = adapter.ip_adapter[str(position)]
        torch.testing.assert_close(keys, layer["to_k_ip"](tokens), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(values, layer["to_v_ip"](tokens), rtol=1e-5, atol=1e-6)


def test_one_row_of_tokens_is_for_all_samples(unet: UNet2DConditionModel) -> None:
    adapter, given = random_adapter(unet), inputs()
    attached, tokens = adapter.attach(unet), adapter.project(features(1))
    attached.show([ImagePrompt(adapter, tokens)])
    one = answer(unet, *given)
    attached.show([ImagePrompt(adapter, tokens.expand(2, -1, -1))])
    torch.testing.assert_close(answer(unet, *given), one, rtol=1e-5, atol=1e-6)
    attached.show([ImagePrompt(adapter, tokens.expand(3, -1, -1))])
    with pytest.raises(ConfigError, match="for 3 samples and the denoiser was given 2"):
        answer(unet, *given)


def test_scale_by_block(unet: UNet2DConditionModel) -> None:
    adapter = random_adapter(unet)
    attached, tokens = adapter.attach(unet), adapter.project(features())
    attached.show([ImagePrompt(adapter, tokens, {"up_blocks": 0.5, "up_blocks.1": 2.0, "mid_block": 1.0})])
    seen = {
        layer.name: [branch.scale for branch in attached.processors[layer.position].branches]
        for layer in attached.layers
    }
    wanted = {"down_blocks.": [], "up_blocks.0.": [0.5], "up_blocks.1.": [2.0], "mid_block.": [1.0]}
    for name, scales in seen.items():
        assert scales == next(value for start, value in wanted.items() if name.startswith(start))
    with pytest.raises(ConfigError, match=r"begins with 'up_block\.0'; did you mean 'up_blocks\.0'"):
        attached.show([ImagePrompt(adapter, tokens, {"up_block.0": 1.0})])


def test_several_adapters_add_up(unet: UNet2DConditionModel) -> None:
    first, second = random_adapter(unet), random_adapter(unet, seed=1, tokens=2)
    attached = Attachment(unet)
    prompts = [
        ImagePrompt(each, each.project(features(seed=place)), 0.7)
        for place, each in enumerate((first, second))
    ]
    layer = attached.layers[0].module
    states, text = torch.randn(2, 64, 16), inputs()[2]

    def through(shown: list[ImagePrompt]) -> Tensor:
        attached.show(shown)
        with torch.no_grad():
            found: Tensor = layer(states, encoder_hidden_states=text)
        return found

    none, one, two, both = through([]), through(prompts[:1]), through(prompts[1:]), through(prompts)
    torch.testing.assert_close(both - none, (one - none) + (two - none), rtol=1e-4, atol=1e-6)


def test_masks(unet: UNet2DConditionModel) -> None:
    adapter = random_adapter(unet)
    attached, tokens, given = adapter.attach(unet), adapter.project(features()), inputs()
    attached.show([ImagePrompt(adapter, tokens)])
    everywhere = answer(unet, *given)
    attached.show([ImagePrompt(adapter, tokens, mask=torch.ones(16, 16))])
    torch.testing.assert_close(answer(unet, *given), everywhere, rtol=0, atol=1e-6)
    left = torch.zeros(16, 16)
    left[:, :8] = 1
    layer = attached.layers[0].module
    states = torch.randn(2, 64, 16)
    attached.show([ImagePrompt(adapter, tokens)])
    whole = layer(states, encoder_hidden_states=given[2]).detach()
    attached.show([ImagePrompt(adapter, tokens, mask=left)])
    half = layer(states, encoder_hidden_states=given[2]).detach().view(2, 8, 8, 16)
    attached.clear()
    none = layer(states, encoder_hidden_states=given[2]).detach()
    torch.testing.assert_close(half[:, :, :4], whole.view(2, 8, 8, 16)[:, :, :4], rtol=0, atol=1e-6)
    torch.testing.assert_close(half[:, :, 4:], none.view(2, 8, 8, 16)[:, :, 4:], rtol=0, atol=1e-6)


def test_a_mask_is_read_at_each_resolution() -> None:
    mask = torch.rand(8, 16)
    region = Region(mask)
    torch.testing.assert_close(region.at(32).view(4, 8), F.avg_pool2d(mask[None], 2)[0])
    torch.testing.assert_close(region.at(128).view(8, 16), mask)
    with pytest.raises(ConfigError, match="other proportions"):
        region.at(31)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (torch.zeros(4, 4), "a mask is empty"),
        (torch.full((4, 4), 2.0), "values outside 0 to 1"),
        (torch.full((4, 4), float("nan")), "values outside 0 to 1"),
        (torch.ones(1, 4, 4), r"has the shape \(1, 4, 4\)"),
    ],
)
def test_masks_that_are_refused(mask: Tensor, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Region(mask)


def test_the_concatenated_form(unet: UNet2DConditionModel) -> None:
    adapter = random_adapter(unet, form="concatenated")
    given, tokens = inputs(), adapter.project(features())
    base = answer(unet, *given)
    wanted = answer(unet, given[0], given[1], torch.cat((given[2], tokens), dim=1))
    attached = adapter.attach(unet)
    attached.show([ImagePrompt(adapter, tokens)])
    assert torch.equal(answer(unet, *given), wanted)
    attached.show([ImagePrompt(adapter, tokens, 0.0)])
    assert torch.equal(answer(unet, *given), base)
    with pytest.raises(ConfigError, match="no scale and no mask"):
        attached.show([ImagePrompt(adapter, tokens, 0.5)])


def test_a_text_mask_reaches_both_forms(unet: UNet2DConditionModel) -> None:
    given = inputs()
    mask = torch.ones(2, 7)
    mask[:, 4:] = 0
    decoupled, joined = random_adapter(unet), random_adapter(unet, form="concatenated")
    attached = Attachment(unet)
    for adapter in (decoupled, joined):
        attached.show([ImagePrompt(adapter, adapter.project(features()))])
        with torch.no_grad():
            masked = unet(*given, encoder_attention_mask=mask).sample
            short = unet(given[0], given[1], given[2][:, :4]).sample
        torch.testing.assert_close(masked, short, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["plus", "full"])
def test_states_of_an_encoder(unet: UNet2DConditionModel, variant: str) -> None:
    adapter = random_adapter(unet, variant=variant, tokens=6)
    tokens = adapter.project(torch.randn(2, 9, IMAGE_WIDTH))
    assert tokens.shape == (2, 6 if variant == "plus" else 9, 48)
    with pytest.raises(ConfigError, match=rf"takes states x {IMAGE_WIDTH}; use the image encoder"):
        adapter.project(features())


def test_refusals(unet: UNet2DConditionModel) -> None:
    adapter = random_adapter(unet)
    with pytest.raises(ConfigError, match=r"shape \(19,\), and this 'base' adapter takes 20"):
        adapter.project(torch.randn(2, 19))
    with torch.no_grad(), pytest.raises(ConfigError, match="image features are not finite"):
        adapter.project(torch.full((1, IMAGE_WIDTH), float("nan")))
    attached = adapter.attach(unet)
    with pytest.raises(ConfigError, match="has an attachment already"):
        adapter.attach(unet)
    with pytest.raises(ConfigError, match="scale = -1 is out of range"):
        attached.show([ImagePrompt(adapter, adapter.project(features()), -1)])
    with pytest.raises(ConfigError, match="image tokens have the shape"):
        attached.show([ImagePrompt(adapter, features())])


def test_another_denoiser_is_refused(unet: UNet2DConditionModel) -> None:
    _, _, settings = golden()
    sizes = {k: v for k, v in settings.items() if k not in ("timestep", "num_tokens", "clip_embeddings_dim")}
    adapter = random_adapter(unet)
    with torch.device("meta"):
        wide = UNet2DConditionModel(**{**sizes, "cross_attention_dim": 768})
        other = UNet2DConditionModel(**{**sizes, "layers_per_block": 2})
    with pytest.raises(
        CheckpointError, match="made for a denoiser of text width 48, and the denoiser is Stable Diffusion 1"
    ):
        adapter.attach(wide)
    with pytest.raises(
        CheckpointError, match="7 cross-attention layers of widths 16, 32, and the denoiser has 11"
    ):
        adapter.attach(other)


@pytest.mark.parametrize("form", ["decoupled", "concatenated"])
def test_gradients_reach_the_adapter_alone(form: str) -> None:
    unet = golden_unet()
    adapter = random_adapter(unet, form=form).train()
    adapter.attach(unet).show([ImagePrompt(adapter, adapter.project(features()))])
    unet(*inputs()).sample.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in adapter.parameters())
    assert all(parameter.grad is None for parameter in unet.parameters())
