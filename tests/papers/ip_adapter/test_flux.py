"""The adapter on a Flux transformer: beside diffusers' own, with its bases and trainings, and what does not fit."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5Config, T5EncoderModel
from typer.testing import CliRunner

from tests.papers.ip_adapter.conftest import (
    IMAGE_WIDTH,
    SMALL_RESAMPLER,
    ColourEncoder,
    golden_unet,
    make_painter,
    random_adapter,
)
from tests.papers.ip_adapter.test_official import meta_shapes, nested
from tests.papers.ip_adapter.test_run import BLUE, RED, tower
from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.config import decode, encode
from visionsmith.diffusion.flux import pack, unpack
from visionsmith.diffusion.library import FluxPipeline
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.ip_adapter import (
    Attachment,
    FluxPainter,
    ImagePrompt,
    ImagePrompter,
    IPAdapter,
    IPAdapterConfig,
    config_for,
    export,
    from_official,
    load_adapter,
    open_painter,
    recognise,
)
from visionsmith.papers.ip_adapter import run as ways_in
from visionsmith.papers.ip_adapter.bases import base_of
from visionsmith.papers.ip_adapter.config import FLUX1_WIDTHS
from visionsmith.papers.ip_adapter.evaluate import evaluate
from visionsmith.papers.ip_adapter.recipes import IPAdapterRecipe
from visionsmith.papers.ip_adapter.train import make_task, new_objective, train
from visionsmith.papers.latent_diffusion import Judge, Pictures, make_text_encoder, make_tokenizer
from visionsmith.papers.latent_diffusion.config import TextConfig
from visionsmith.papers.latent_diffusion.world import World
from visionsmith.papers.paper import shipped_checkpoint
from visionsmith.train.loop import fit
from visionsmith.train.recipe import OptimConfig, TrainConfig
from visionsmith.train.run_folder import RunFolder

SHAPE: dict[str, Any] = {"steps": 2}
"""Of what is painted, short."""
QUICK: dict[str, Any] = {**SHAPE, "count": 1}
BLOCKS, WIDTH, TEXT, POSITIONS = 3, 32, 24, 12


def spread(model: Any) -> Any:
    """Weights away from their start, at which gates and outputs say little."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval().requires_grad_(False)


def make_transformer(**settings: Any) -> FluxTransformer2DModel:
    """The same at each call."""
    sizes: dict[str, Any] = {
        "in_channels": 16,
        "num_layers": BLOCKS,
        "num_single_layers": 2,
        "attention_head_dim": WIDTH // 2,
        "num_attention_heads": 2,
        "joint_attention_dim": TEXT,
        "pooled_projection_dim": 16,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 6, 6),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: FluxTransformer2DModel = spread(FluxTransformer2DModel(**(sizes | settings)))
    return made


def make_flux(**settings: Any) -> FluxPainter:
    """A pipeline for pictures of 16 pixels, with the vocabulary of the CLIP that ships."""
    words = (shipped_checkpoint("clip") / "tokenizer.json").read_bytes()
    text = TextConfig(
        vocab_size=2048,
        context_length=12,
        width=16,
        heads=2,
        layers=1,
        start_token=2046,
        end_token=2047,
        pad_token=2047,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            sample_size=16,
            scaling_factor=0.4,
            shift_factor=0.3,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        t5 = T5Config(vocab_size=2048, d_model=TEXT, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        pipeline = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=spread(vae),
            text_encoder=spread(make_text_encoder(text)),
            tokenizer=make_tokenizer(words, text),
            text_encoder_2=spread(T5EncoderModel(t5)),
            tokenizer_2=make_tokenizer(words, dataclasses.replace(text, context_length=9)),
            transformer=make_transformer(**settings),
        )
    return FluxPainter(pipeline)


@pytest.fixture
def transformer() -> FluxTransformer2DModel:
    return make_transformer()


@pytest.fixture
def flux() -> FluxPainter:
    return make_flux()


@pytest.fixture
def prompter(flux: FluxPainter) -> ImagePrompter:
    return ImagePrompter(flux, random_adapter(flux.pipeline.transformer), ColourEncoder())


def inputs() -> dict[str, Tensor]:
    """Of two samples, 3 x 4 positions each."""
    draw = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(2, POSITIONS, 16, generator=draw),
        "encoder_hidden_states": torch.randn(2, 5, TEXT, generator=draw),
        "pooled_projections": torch.randn(2, 16, generator=draw),
        "timestep": torch.rand(2, generator=draw),
        "guidance": torch.full((2,), 3.5),
        "img_ids": torch.stack([torch.zeros(12), torch.arange(12) // 4, torch.arange(12) % 4], dim=1),
        "txt_ids": torch.zeros(5, 3),
    }


def answer(transformer: Any, features: Tensor | None = None) -> Tensor:
    """What a transformer says; `features`: of diffusers' own adapter."""
    told = None if features is None else {"ip_adapter_image_embeds": [features[:, None]]}
    with torch.no_grad():
        found: Tensor = transformer(**inputs(), joint_attention_kwargs=told).sample
    return found


def features(seed: int = 5) -> Tensor:
    return torch.randn(2, IMAGE_WIDTH, generator=torch.Generator().manual_seed(seed))


def xlabs(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of XLabs' files."""
    found = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part == "image_proj":
            found[f"ip_adapter_proj_model.{rest}"] = value
        else:
            block, kind, end = rest.split(".")
            kind = kind.removeprefix("to_").removesuffix("_ip")
            found[f"double_blocks.{block}.processor.ip_adapter_double_stream_{kind}_proj.{end}"] = value
    return found


def with_their_adapter(transformer: Any, state: dict[str, Tensor], scale: float) -> Any:
    """diffusers' own adapter in a transformer."""
    transformer._load_ip_adapter_weights([nested(state)])
    for processor in transformer.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [scale]
    return transformer


def test_diffusers_reads_what_is_exported(transformer: FluxTransformer2DModel, tmp_path: Path) -> None:
    adapter, base = random_adapter(transformer), answer(transformer)
    save_file(export(adapter), tmp_path / "adapter.safetensors")
    theirs = with_their_adapter(make_transformer(), load_file(tmp_path / "adapter.safetensors"), 0.6)
    adapter.attach(transformer).show([ImagePrompt(adapter, adapter.project(features()), 0.6)])
    found = answer(transformer)
    torch.testing.assert_close(found, answer(theirs, features()), rtol=0, atol=1e-5)
    assert (found - base).abs().max() > 1e-2


def test_weights_of_diffusers_own_modules_are_read(transformer: FluxTransformer2DModel) -> None:
    """The other direction: a projector and processors of diffusers, written in the published layout by its names."""
    start = export(IPAdapter(config_for(transformer, image_width=IMAGE_WIDTH)))
    theirs = with_their_adapter(make_transformer(), start, 0.6)
    torch.manual_seed(3)
    spread(theirs.encoder_hid_proj)
    written = {}
    for name, value in theirs.encoder_hid_proj.image_projection_layers[0].state_dict().items():
        written[f"image_proj.{name.replace('image_embeds', 'proj')}"] = value
    for block in range(BLOCKS):
        processor = spread(theirs.transformer_blocks[block].attn.processor)
        for kind in ("to_k_ip", "to_v_ip"):
            for end, value in getattr(processor, kind)[0].state_dict().items():
                written[f"ip_adapter.{block}.{kind}.{end}"] = value
    adapter = from_official(written)
    adapter.attach(transformer).show([ImagePrompt(adapter, adapter.project(features()), 0.6)])
    torch.testing.assert_close(answer(transformer), answer(theirs, features()), rtol=0, atol=1e-5)


def test_names_of_xlabs_are_read(transformer: FluxTransformer2DModel, tmp_path: Path) -> None:
    adapter = random_adapter(transformer)
    file = tmp_path / "ip_adapter.safetensors"
    save_file(xlabs(export(adapter)), file)
    again = load_adapter(file)
    assert again.config == adapter.config
    attached = adapter.attach(transformer)
    attached.show([ImagePrompt(adapter, adapter.project(features()))])
    ours = answer(transformer)
    attached.show([ImagePrompt(again, again.project(features()))])
    assert torch.equal(answer(transformer), ours)
    # As diffusers' own pipeline reads the same file.
    pipeline = make_flux().pipeline
    pipeline.load_ip_adapter(
        str(tmp_path), weight_name=file.name, image_encoder_pretrained_model_name_or_path=None
    )
    torch.testing.assert_close(answer(pipeline.transformer, features()), ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{}, {"variant": "plus", "tokens": 6}, {"variant": "full", "tokens": 257}]
)
def test_layout_round_trip(
    transformer: FluxTransformer2DModel, settings: dict[str, Any], tmp_path: Path
) -> None:
    adapter = random_adapter(transformer, **settings)
    save_file(export(adapter), tmp_path / "adapter.safetensors")
    again = load_adapter(tmp_path / "adapter.safetensors")
    assert again.config == adapter.config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in adapter.state_dict().items())
    checkpoint.write(
        tmp_path / "model", paper="ip_adapter", config=encode(adapter.config), tensors=export(adapter)
    )
    assert load_adapter(tmp_path / "model").config == adapter.config


@pytest.mark.parametrize("tokens", [4, 16])
@pytest.mark.parametrize("theirs", [False, True], ids=["published", "xlabs"])
def test_the_family_is_recognised_by_shapes(tokens: int, theirs: bool) -> None:
    config = IPAdapterConfig(
        denoiser="flux",
        tokens=tokens,
        image_width=768,
        text_width=4096,
        positions=tuple(range(19)),
        widths=FLUX1_WIDTHS,
    )
    shapes: Any = meta_shapes(config)
    named: Any = xlabs(shapes) if theirs else shapes
    found = recognise(named)
    assert str(found) == f"'base' with {tokens} tokens for FLUX.1, with CLIP ViT-L/14"
    assert found.config() == config


def test_configs() -> None:
    with torch.device("meta"):
        published = FluxTransformer2DModel(guidance_embeds=True)
    found = config_for(published)
    assert (found.denoiser, found.text_width, found.widths) == ("flux", 4096, FLUX1_WIDTHS)
    assert found.positions == tuple(range(19))
    older = encode(IPAdapterConfig())
    del older["denoiser"]
    assert decode(IPAdapterConfig, older) == IPAdapterConfig(denoiser="unet")
    with pytest.raises(ConfigError, match="concatenated form has no place in a Flux transformer"):
        config_for(published, form="concatenated")


def test_scale_0_is_the_base_bit_for_bit_and_detaching_leaves_nothing(
    transformer: FluxTransformer2DModel,
) -> None:
    before, base = transformer.attn_processors, answer(transformer)
    weights = {name: value.clone() for name, value in transformer.state_dict().items()}
    adapter = random_adapter(transformer)
    attached = adapter.attach(transformer)
    assert torch.equal(answer(transformer), base)
    attached.show([ImagePrompt(adapter, adapter.project(features()), 0.0)])
    assert torch.equal(answer(transformer), base)
    attached.show([ImagePrompt(adapter, adapter.project(features()))])
    assert not torch.equal(answer(transformer), base)
    assert type(transformer) is FluxTransformer2DModel
    assert transformer.state_dict().keys() == weights.keys()
    attached.clear()
    assert torch.equal(answer(transformer), base)
    attached.show([ImagePrompt(adapter, adapter.project(features()))])
    attached.detach()
    assert transformer.attn_processors == before
    assert not any(module._forward_hooks for module in transformer.modules())
    assert torch.equal(answer(transformer), base)
    assert all(torch.equal(value, weights[name]) for name, value in transformer.state_dict().items())


def test_a_new_adapter_is_the_base_bit_for_bit(transformer: FluxTransformer2DModel) -> None:
    base = answer(transformer)
    adapter = IPAdapter(config_for(transformer, image_width=IMAGE_WIDTH))
    adapter.copy_from(transformer)
    attached = adapter.attach(transformer)
    attached.show([ImagePrompt(adapter, adapter.project(features()))])
    assert all(processor.branches for processor in attached.processors.values())
    assert torch.equal(answer(transformer), base)
    # Values alone are at zero; keys are not.
    layers: Any = adapter.ip_adapter
    for layer in layers.values():
        assert not any(parameter.any() for parameter in layer["to_v_ip"].parameters())
        assert all(parameter.any() for parameter in layer["to_k_ip"].parameters())


def test_keys_and_values_are_computed_once_and_exactly(
    transformer: FluxTransformer2DModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, calls = random_adapter(transformer), []
    computed = adapter.keys_values

    def counted(tokens: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        calls.append(1)
        return computed(tokens)

    monkeypatch.setattr(adapter, "keys_values", counted)
    tokens = adapter.project(features())
    adapter.attach(transformer).show([ImagePrompt(adapter, tokens)])
    assert torch.equal(answer(transformer), answer(transformer))
    assert len(calls) == 1
    for position, (keys, values) in computed(tokens).items():
        layer: Any = adapter.ip_adapter[str(position)]
        torch.testing.assert_close(keys, layer["to_k_ip"](tokens), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(values, layer["to_v_ip"](tokens), rtol=1e-5, atol=1e-6)


def heard(attached: Attachment, shown: list[ImagePrompt], block: int = 0) -> Tensor | None:
    """What a block's attention returns third for prompts: what is added behind the gates, `b p w`."""
    attached.show(shown)
    draw = torch.Generator().manual_seed(2)
    picture, text = (torch.randn(2, count, WIDTH, generator=draw) for count in (POSITIONS, 5))
    with torch.no_grad():
        found = attached.layers[block].module(picture, text)
    return found[2] if len(found) == 3 else None


def test_several_adapters_and_pictures_add_up(transformer: FluxTransformer2DModel) -> None:
    first, second = random_adapter(transformer), random_adapter(transformer, seed=1, tokens=2)
    attached = Attachment(transformer)
    prompts = [
        ImagePrompt(first, first.project(features(0)), 0.7),
        ImagePrompt(second, second.project(features(1)), 0.3),
        ImagePrompt(first, first.project(features(2)), 1.0),
    ]
    each = [heard(attached, [prompt]) for prompt in prompts]
    assert all(part is not None and part.abs().max() > 1e-2 for part in each)
    together = heard(attached, prompts)
    torch.testing.assert_close(together, each[0] + each[1] + each[2], rtol=1e-5, atol=1e-6)  # type: ignore[operator]
    doubled = heard(attached, [dataclasses.replace(prompts[0], scale=1.4)])
    torch.testing.assert_close(doubled, 2 * each[0], rtol=1e-5, atol=1e-6)  # type: ignore[operator]


def test_masks(transformer: FluxTransformer2DModel) -> None:
    """A mask is no picture where it is zero."""
    adapter = random_adapter(transformer)
    attached, tokens = adapter.attach(transformer), adapter.project(features())
    left = torch.zeros(48, 64)
    left[:, :32] = 1
    whole = heard(attached, [ImagePrompt(adapter, tokens)])
    half = heard(attached, [ImagePrompt(adapter, tokens, mask=left)])
    assert whole is not None
    assert half is not None
    whole, half = (found.view(2, 3, 4, WIDTH) for found in (whole, half))
    assert not half[:, :, 2:].any()
    assert torch.equal(half[:, :, :2], whole[:, :, :2])
    attached.show([ImagePrompt(adapter, tokens, mask=torch.ones(48, 64))])
    everywhere = answer(transformer)
    attached.show([ImagePrompt(adapter, tokens)])
    torch.testing.assert_close(answer(transformer), everywhere, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match=r"a mask is empty; .* or leave the picture out"):
        attached.show([ImagePrompt(adapter, tokens, mask=torch.zeros(48, 64))])
    attached.show([ImagePrompt(adapter, tokens, mask=torch.ones(50, 20))])
    with pytest.raises(ConfigError, match="other proportions"):
        answer(transformer)


def test_scale_by_block(transformer: FluxTransformer2DModel) -> None:
    adapter = random_adapter(transformer)
    attached, tokens = adapter.attach(transformer), adapter.project(features())
    attached.show([ImagePrompt(adapter, tokens, {"transformer_blocks": 0.5, "transformer_blocks.1": 2.0})])
    scales = [[branch.scale for branch in each.branches] for each in attached.processors.values()]
    assert scales == [[0.5], [2.0], [0.5]]
    attached.show([ImagePrompt(adapter, tokens, {"transformer_blocks.2": 1.0})])
    assert [len(each.branches) for each in attached.processors.values()] == [0, 0, 1]
    assert heard(attached, [ImagePrompt(adapter, tokens, {"transformer_blocks.2": 1.0})]) is None
    with pytest.raises(
        ConfigError, match=r"no double block begins with 'transformer_block\.1'; did you mean"
    ):
        attached.show([ImagePrompt(adapter, tokens, {"transformer_block.1": 1.0})])


def test_gradients_reach_the_adapter_alone(transformer: FluxTransformer2DModel) -> None:
    adapter = random_adapter(transformer).train()
    adapter.attach(transformer).show([ImagePrompt(adapter, adapter.project(features()))])
    transformer(**inputs()).sample.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in adapter.parameters())
    assert all(parameter.grad is None for parameter in transformer.parameters())


def test_what_does_not_fit(transformer: FluxTransformer2DModel) -> None:
    unet = golden_unet()
    flux, other = random_adapter(transformer), random_adapter(unet)
    named = "a Flux transformer of text width 24 with 3 double blocks of 32"
    with pytest.raises(
        CheckpointError, match=f"made for {named}, and the denoiser is a denoiser of text width 48; choose"
    ):
        flux.attach(unet)
    with pytest.raises(
        CheckpointError, match=f"made for a denoiser of text width 48, and the denoiser is {named}; choose"
    ):
        other.attach(transformer)
    with pytest.raises(CheckpointError, match=f"and the denoiser is {named}"):
        Attachment(transformer).show([ImagePrompt(other, other.project(features()))])
    with pytest.raises(ConfigError, match="has an attachment already"):
        flux.attach(transformer)
    with pytest.raises(CheckpointError, match="3 double blocks of widths 32, and the denoiser has 2 of"):
        flux.attach(make_transformer(num_layers=2))
    with pytest.raises(
        CheckpointError, match=r"text width 24 .* and the denoiser is a Flux .* text width 28"
    ):
        flux.attach(make_transformer(joint_attention_dim=28))
    with pytest.raises(CheckpointError, match=f"for {named}, .* adapter to fill is .* of text width 48"):
        from_official(export(flux), other.config)
    with pytest.raises(ConfigError, match="an adapter of diffusers loaded"):
        flux.attach(with_their_adapter(make_transformer(), export(flux), 1.0))


def test_packed_latents_are_those_of_the_library() -> None:
    latents = torch.randn(2, 4, 6, 10)
    assert torch.equal(pack(latents), FluxPipeline._pack_latents(latents, 2, 4, 6, 10))
    assert torch.equal(unpack(pack(latents), 6, 10), latents)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("distilled", [True, False])
def test_diffusers_paints_the_same(guidance: float, distilled: bool) -> None:
    """The published path of text, picture and zero embedding, beside ours, on pictures that are not square."""
    flux = make_flux(guidance_embeds=distilled)
    prompter = ImagePrompter(flux, random_adapter(flux.pipeline.transformer), ColourEncoder())
    settings: dict[str, Any] = {"height": 16, "width": 24, "negative": "dark", "guidance": guidance}
    ours = prompter.paint([RED], text="a square", seed=3, scale=0.7, distilled=2.0, **settings, **QUICK)
    assert ours.shape == (1, 16, 24, 3)
    prompter.attached.detach()
    pipeline, embeds = flux.pipeline, prompter.encoder.encode([RED])[None]
    with_their_adapter(pipeline.transformer, export(prompter.adapter), 0.7)
    theirs = pipeline(
        ["a square"],
        negative_prompt=["dark"],
        true_cfg_scale=guidance,
        guidance_scale=2.0,
        num_inference_steps=2,
        max_sequence_length=9,
        height=16,
        width=24,
        generator=[torch.Generator().manual_seed(3)],
        ip_adapter_image_embeds=[embeds],
        negative_ip_adapter_image_embeds=[torch.zeros_like(embeds)],
        output_type="np",
    ).images
    assert np.abs(ours.astype(int) - (theirs * 255).round()).max() <= 1
    assert ours.std() > 2, "pictures that say nothing agree always"


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_scale_0_paints_what_the_base_paints(prompter: ImagePrompter, guidance: float) -> None:
    alone = prompter.painter.paint(["a square"], guidance=guidance, **SHAPE)
    none = prompter.paint([RED], text="a square", scale=0.0, guidance=guidance, **QUICK)
    assert np.array_equal(none, alone)
    some = prompter.paint([RED], text="a square", guidance=guidance, **QUICK)
    assert not np.array_equal(some, alone)
    # Nothing stays shown.
    assert np.array_equal(prompter.painter.paint(["a square"], guidance=guidance, **SHAPE), alone)


def test_paint(prompter: ImagePrompter) -> None:
    red = prompter.paint([RED], count=3, **SHAPE)
    assert red.shape == (3, 16, 16, 3)
    assert red.dtype == np.uint8
    assert np.array_equal(prompter.paint([RED], count=3, **SHAPE), red)
    alone = prompter.paint([RED], seed=2, **QUICK)[0]
    assert np.abs(alone.astype(int) - red[2]).max() <= 1
    assert not np.array_equal(alone, red[0])
    for changed in ({"text": "a square"}, {"distilled": 9.0}, {"guidance": 9.0}, {"negative": "a square"}):
        assert not np.array_equal(prompter.paint([RED], count=3, **SHAPE, **changed), red), changed
    assert not np.array_equal(prompter.paint([BLUE], count=3, **SHAPE), red)
    left = np.zeros((16, 16), dtype=np.float32)
    left[:, :8] = 1
    both = prompter.paint([RED, BLUE], masks=[left, 1 - left], **QUICK)
    assert not np.array_equal(prompter.paint([RED, BLUE], **QUICK), both)
    many = prompter.paint_each(prompter.encoder.encode([RED] * 18), steps=1)
    assert many.shape[0] == 18


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps = 0 is out of range"),
        ({"guidance": -1.0}, "guidance = -1"),
        ({"distilled": -1.0}, r"distilled = -1.0 .* FLUX's own is 3\.5"),
        ({"height": 18}, "height = 18 is out of range; choose a multiple of 4"),
    ],
)
def test_settings_out_of_range(flux: FluxPainter, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        flux.paint(["a square"], **settings)


def test_a_base_in_bfloat16_stays_so(flux: FluxPainter, tmp_path: Path) -> None:
    flux.pipeline.to(torch.bfloat16)
    flux.pipeline.save_pretrained(tmp_path / "base")
    opened = open_painter(tmp_path / "base")
    assert isinstance(opened, FluxPainter)
    parts = opened.pipeline
    assert {part.dtype for part in (parts.transformer, parts.text_encoder, parts.text_encoder_2)} == {
        torch.bfloat16
    }
    assert parts.vae.dtype == torch.float32
    prompter = ImagePrompter(opened, random_adapter(parts.transformer), ColourEncoder())
    some, none = (prompter.paint([RED], scale=scale, **QUICK) for scale in (1.0, 0.0))
    assert not np.array_equal(some, none)
    # The error reaches an adapter in float32.
    objective = new_objective(IPAdapterRecipe(train=TrainConfig(steps=1)), make_bfloat16(), ColourEncoder())
    objective(batch_of(flux, 2))["loss"].backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


def make_bfloat16() -> FluxPainter:
    painter = make_flux()
    painter.pipeline.transformer.to(torch.bfloat16)
    return painter


def batch_of(flux: FluxPainter, count: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(4)
    return {
        "latents": torch.randn(count, 4, 8, 8, generator=draw),
        "features": torch.randn(count, IMAGE_WIDTH, generator=draw),
        "tokens": flux.tokenize([f"a square, number {number}" for number in range(count)]),
    }


def test_latents_are_shifted_and_scaled(flux: FluxPainter, world: World, tmp_path: Path) -> None:
    file = tmp_path / "latents.safetensors"
    found = base_of(flux).latents(world.store, world.train, file)
    images = torch.from_numpy(np.stack([Pictures(world.store, 16)[0, index] for index in world.train]))
    vae = flux.pipeline.vae
    with torch.no_grad():
        mode = vae.encode(images.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mode()
    torch.testing.assert_close(found, (mode - 0.3) * 0.4, rtol=1e-5, atol=1e-5)
    assert torch.equal(base_of(flux).latents(world.store, world.train, file), found)


def test_the_error_is_that_of_the_velocity(flux: FluxPainter) -> None:
    """Beside the library's reading of a text, packing and places, sample by sample."""
    pipeline, batch = flux.pipeline, batch_of(flux, 3)
    texts = [f"a square, number {number}" for number in range(3)]
    torch.manual_seed(11)
    found = base_of(flux).frozen().error(batch["latents"], batch["tokens"])
    torch.manual_seed(11)
    times, drawn = torch.sigmoid(torch.randn(3)), torch.randn(3, 4, 8, 8)
    places = pipeline._prepare_latent_image_ids(1, 4, 4, torch.device("cpu"), torch.float32)
    errors = []
    with torch.no_grad():
        for clean, noise, time, text in zip(batch["latents"], drawn, times, texts, strict=True):
            states, pooled, ids = pipeline.encode_prompt([text], max_sequence_length=9)
            noisy = (1 - time) * clean + time * noise
            said = pipeline.transformer(
                hidden_states=pipeline._pack_latents(noisy[None], 1, 4, 8, 8),
                timestep=time[None],
                guidance=torch.full((1,), 3.5),
                encoder_hidden_states=states,
                pooled_projections=pooled,
                txt_ids=ids,
                img_ids=places,
            ).sample
            velocity = pipeline._unpack_latents(said, 16, 16, 2)[0]
            errors.append((velocity - (noise - clean)).square().mean())
    torch.testing.assert_close(found, torch.stack(errors).mean(), rtol=1e-5, atol=1e-6)


def frozen_parts(flux: FluxPainter) -> dict[str, Tensor]:
    parts = flux.pipeline
    return {
        f"{name}.{key}": value.clone()
        for name in ("transformer", "text_encoder", "text_encoder_2", "vae")
        for key, value in getattr(parts, name).state_dict().items()
    }


@pytest.mark.parametrize("variant", ["base", "plus"])
def test_training_lowers_the_loss_and_changes_the_adapter_alone(flux: FluxPainter, variant: Any) -> None:
    recipe = IPAdapterRecipe(variant=variant, resampler=SMALL_RESAMPLER, train=TrainConfig(steps=1))
    objective, before = new_objective(recipe, flux, ColourEncoder()), frozen_parts(flux)
    start = {name: value.clone() for name, value in objective.state_dict().items()}
    assert all(name.startswith("adapter.") for name in start)
    batch = batch_of(flux, 6)
    if variant == "plus":
        batch["features"] = torch.randn(6, 5, IMAGE_WIDTH)

    def loss(seed: int) -> Tensor:
        torch.manual_seed(seed)
        found: Tensor = objective(batch)["loss"]
        return found

    def mean() -> float:
        with torch.no_grad():
            return float(torch.stack([loss(seed) for seed in range(4)]).mean())

    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    first = mean()
    for step in range(16):
        optimizer.zero_grad()
        torch.autograd.backward(loss(step % 4))
        optimizer.step()
    assert mean() < first * 0.98, (mean(), first)
    assert all(not torch.equal(value, start[name]) for name, value in objective.state_dict().items())
    after = frozen_parts(flux)
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_with_checkpointing_gradients_are_the_same_and_blocks_run_twice() -> None:
    gradients, runs = [], []
    for checkpointing in (False, True):
        recipe = IPAdapterRecipe(train=TrainConfig(steps=1), checkpointing=checkpointing)
        flux = make_flux()
        objective = new_objective(recipe, flux, ColourEncoder())
        with torch.no_grad():
            for parameter in objective.parameters():
                parameter.copy_(
                    torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1
                )
        calls: list[int] = []
        flux.pipeline.transformer.transformer_blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))  # noqa: B023
        torch.manual_seed(0)
        objective(batch_of(flux, 3))["loss"].backward()
        gradients.append([parameter.grad for parameter in objective.parameters()])
        runs.append(len(calls))
    assert runs == [1, 2]
    assert all(
        bool(value.any()) and torch.equal(value, again) for value, again in zip(*gradients, strict=True)
    )


def test_a_run_resumes_to_the_bit(world: World, tmp_path: Path) -> None:
    recipe = IPAdapterRecipe(
        train=TrainConfig(
            steps=4, optim=OptimConfig(lr=1e-2), batch_size=4, threads=1, save_every=2, evaluate_every=4
        )
    )

    def run(folder: Path) -> dict[str, Tensor]:
        painter, run = make_flux(), RunFolder(folder)
        run.start(paper="ip_adapter", data=None, recipe=recipe, resume=True)
        task = make_task(recipe, world, painter, ColourEncoder(), Judge(world, painter.size), folder=run.path)
        return load_file(fit(task, recipe.train, run, progress=False) / "model.safetensors")

    whole = run(tmp_path / "run")
    assert load_adapter(tmp_path / "run" / "model").config.denoiser == "flux"
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any("clip_i" in line.get("evaluate", {}) for line in log)
    kept = sorted((tmp_path / "run" / "checkpoints").rglob("model*.safetensors"))
    assert kept
    for file in kept:
        assert {name.removeprefix("objective.adapter.") for name in load_file(file)} == whole.keys()
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")
    again = run(tmp_path / "run")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_train_evaluate_and_run(flux: FluxPainter, world: World, tmp_path: Path) -> None:
    """The verbs, from a user's pictures, a base and an encoder in folders."""
    base, encoder = tmp_path / "base", tower(tmp_path / "tower")
    flux.pipeline.save_pretrained(base)
    recipe = IPAdapterRecipe(
        base=str(base),
        encoder=str(encoder),
        train=TrainConfig(steps=2, optim=OptimConfig(lr=1e-2), batch_size=4, threads=1, save_every=2),
    )
    found = train(recipe, data=world.store.path, output=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "samples.png").is_file()
    figures = evaluate(checkpoint=found, data=world.store.path, progress=False)
    assert figures["picture"].keys() == {"0.0", "0.5", "1.0"}
    write_image(tmp_path / "red.png", RED)
    given = ["run", "ip_adapter", str(tmp_path / "red.png"), "--checkpoint", str(found), "--base", str(base)]
    given += ["--encoder", str(encoder), "--steps", "2", "--count", "2"]
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(app, [*given, "--output", str(sheet), "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["seeds"] == [0, 1]
    assert read_image(sheet).ndim == 3
    with pytest.raises(ConfigError, match="a Flux base takes none here"):
        ways_in.load(found, base=base, encoder=encoder, controlnet=base)


def test_bases_that_do_not_fit(flux: FluxPainter, tmp_path: Path) -> None:
    flux.pipeline.save_pretrained(tmp_path / "flux")
    painter = make_painter()
    painter.save_pretrained(tmp_path / "unet")
    encoder = tower(tmp_path / "tower")
    for name, denoiser in (("flux", flux.pipeline.transformer), ("unet", painter.pipeline.unet)):
        save_file(export(random_adapter(denoiser)), tmp_path / f"{name}.safetensors")
    with pytest.raises(
        CheckpointError, match=r"made for a Flux .* and the denoiser is a denoiser of text width"
    ):
        ways_in.load(tmp_path / "flux.safetensors", base=tmp_path / "unet", encoder=encoder)
    with pytest.raises(CheckpointError, match=r"made for a denoiser of text .* and the denoiser is a Flux"):
        ways_in.load(tmp_path / "unet.safetensors", base=tmp_path / "flux", encoder=encoder)
    weights = next((tmp_path / "flux" / "text_encoder_2").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="its text_encoder_2 holds its weights only as a pickle"):
        open_painter(tmp_path / "flux")
    weights.write_bytes(b"\0" * 40)
    with pytest.raises(CheckpointError, match="cannot be opened as a FluxPipeline"):
        open_painter(tmp_path / "flux")
    index = tmp_path / "flux" / "model_index.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds a StableDiffusion3Pipeline, not a"):
        open_painter(tmp_path / "flux")
