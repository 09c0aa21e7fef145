"""The published layout both ways, diffusers' loader both ways, and what is said of files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from tests.papers.ip_adapter.conftest import IMAGE_WIDTH, golden, golden_unet, inputs, random_adapter
from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.config import encode
from visionsmith.errors import CheckpointError
from visionsmith.papers.ip_adapter import (
    ImagePrompt,
    IPAdapter,
    IPAdapterConfig,
    ResamplerConfig,
    export,
    from_official,
    load_adapter,
    recognise,
)
from visionsmith.papers.ip_adapter.config import SD15_WIDTHS, SDXL_WIDTHS, odd
from visionsmith.papers.ip_adapter.header import read_header

VARIANTS: list[dict[str, Any]] = [
    {"variant": "base"},
    {"variant": "plus", "tokens": 6},
    {"variant": "full", "tokens": 257},
]
BIG = {"text_width": 2048, "positions": odd(70), "widths": SDXL_WIDTHS}


def shapes_of(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def meta_shapes(config: IPAdapterConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes_of(IPAdapter(config).state_dict())


def nested(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    return parts


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda settings: settings["variant"])
def test_layout_round_trip(unet: UNet2DConditionModel, settings: dict[str, Any], tmp_path: Path) -> None:
    adapter = random_adapter(unet, **settings)
    save_file(export(adapter), tmp_path / "adapter.safetensors")
    again = load_adapter(tmp_path / "adapter.safetensors")
    assert again.config == adapter.config
    assert again.state_dict().keys() == adapter.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in adapter.state_dict().items())


def test_the_golden_files_names() -> None:
    state, _, _ = golden()
    ours = {name: value for name, value in state.items() if not name.startswith("unet.")}
    assert export(from_official(ours)).keys() == ours.keys()


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda settings: settings["variant"])
def test_diffusers_reads_what_is_exported(settings: dict[str, Any], tmp_path: Path) -> None:
    ours, theirs = golden_unet(), golden_unet()
    adapter = random_adapter(ours, **settings)
    states = () if settings["variant"] == "base" else (9,)
    features = torch.randn(2, *states, IMAGE_WIDTH)
    save_file(export(adapter), tmp_path / "adapter.safetensors")
    theirs._load_ip_adapter_weights([nested(load_file(tmp_path / "adapter.safetensors"))])
    for processor in theirs.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [0.6]
    adapter.attach(ours).show([ImagePrompt(adapter, adapter.project(features), 0.6)])
    latents, time, text = inputs()
    with torch.no_grad():
        wanted = theirs(latents, time, text, added_cond_kwargs={"image_embeds": [features[:, None]]}).sample
        found = ours(latents, time, text).sample
        base = golden_unet()(latents, time, text).sample
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert (found - base).abs().max() > 1e-3


def test_weights_of_diffusers_own_modules_are_read() -> None:
    """The other direction: a projector and processors of diffusers, written in the published layout by its names."""
    state, io, settings = golden()
    theirs = golden_unet()
    theirs._load_ip_adapter_weights([nested({k: v for k, v in state.items() if not k.startswith("unet.")})])
    written = {}
    for name, value in theirs.encoder_hid_proj.image_projection_layers[0].state_dict().items():
        written[f"image_proj.{name.replace('image_embeds', 'proj')}"] = value
    for position, processor in enumerate(theirs.attn_processors.values()):
        if hasattr(processor, "to_k_ip"):
            written[f"ip_adapter.{position}.to_k_ip.weight"] = processor.to_k_ip[0].weight
            written[f"ip_adapter.{position}.to_v_ip.weight"] = processor.to_v_ip[0].weight
    ours = golden_unet()
    adapter = from_official(written)
    adapter.attach(ours).show([ImagePrompt(adapter, adapter.project(io["image_embeds"]))])
    given = io["latents"], settings["timestep"], io["text"]
    with torch.no_grad():
        wanted = theirs(*given, added_cond_kwargs={"image_embeds": [io["image_embeds"][:, None]]}).sample
        torch.testing.assert_close(ours(*given).sample, wanted, rtol=0, atol=1e-5)


def test_a_checkpoint_of_the_project(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    adapter = random_adapter(unet, form="concatenated", base="some/base")
    checkpoint.write(
        tmp_path / "model", paper="ip_adapter", config=encode(adapter.config), tensors=export(adapter)
    )
    again = load_adapter(tmp_path / "model")
    assert again.config == adapter.config


@pytest.mark.parametrize(
    ("config", "variant", "tokens", "base", "encoder"),
    [
        (IPAdapterConfig(), "base", 4, "Stable Diffusion 1", "CLIP ViT-H/14"),
        (
            IPAdapterConfig(variant="plus", tokens=16, image_width=1280),
            "plus",
            16,
            "Stable Diffusion 1",
            "CLIP ViT-H/14",
        ),
        (
            IPAdapterConfig(variant="full", tokens=257, image_width=1280),
            "full",
            257,
            "Stable Diffusion 1",
            "CLIP ViT-H/14",
        ),
        (IPAdapterConfig(image_width=1280, **BIG), "base", 4, "Stable Diffusion XL", "CLIP ViT-bigG/14"),  # type: ignore[arg-type]
        (
            IPAdapterConfig(
                variant="plus",
                tokens=16,
                image_width=1280,
                resampler=ResamplerConfig(width=1280, heads=20),
                **BIG,  # type: ignore[arg-type]
            ),
            "plus",
            16,
            "Stable Diffusion XL",
            "CLIP ViT-H/14",
        ),
    ],
    ids=["base", "plus", "full", "xl base", "xl plus"],
)
def test_recognised_by_shapes(
    config: IPAdapterConfig, variant: str, tokens: int, base: str, encoder: str
) -> None:
    found = recognise(meta_shapes(config))
    assert (found.variant, found.tokens, found.base, found.encoder) == (variant, tokens, base, encoder)
    assert found.config() == config


def face_shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published face variants for Stable Diffusion 1.5."""
    layers: dict[str, tuple[int, ...]] = {}
    for position, width in zip(odd(16), SD15_WIDTHS, strict=True):
        layers[f"ip_adapter.{position}.to_k_ip.weight"] = (width, 768)
        layers[f"ip_adapter.{position}.to_v_ip.weight"] = (width, 768)
        if kind != "Portrait":
            for place in (position - 1, position):
                layers[f"ip_adapter.{place}.to_q_lora.down.weight"] = (128, width)
                layers[f"ip_adapter.{place}.to_q_lora.up.weight"] = (width, 128)
    tokens = 16 if kind == "Portrait" else 4
    projector = {
        "proj.0.weight": (1024, 512),
        "proj.0.bias": (1024,),
        "proj.2.weight": (tokens * 768, 1024),
        "proj.2.bias": (tokens * 768,),
        "norm.weight": (768,),
        "norm.bias": (768,),
    }
    if kind == "FaceID-Plus":
        projector |= {
            "perceiver_resampler.proj_in.weight": (768, 1280),
            "perceiver_resampler.layers.0.0.to_q.weight": (768, 768),
            "perceiver_resampler.proj_out.weight": (768, 768),
        }
    return {**{f"image_proj.{name}": shape for name, shape in projector.items()}, **layers}


@pytest.mark.parametrize(
    ("kind", "tokens", "encoder"),
    [
        ("FaceID", 4, "a face encoder of width 512 (ArcFace)"),
        ("FaceID-Plus", 4, "a face encoder and CLIP ViT-H/14"),
        ("Portrait", 16, "a face encoder of width 512 (ArcFace)"),
    ],
)
def test_faces_are_named_and_refused(kind: str, tokens: int, encoder: str, tmp_path: Path) -> None:
    found = recognise(face_shapes(kind))
    assert (found.variant, found.tokens, found.encoder) == (kind, tokens, encoder)
    assert found.base == "Stable Diffusion 1"
    with pytest.raises(CheckpointError, match=f"of the variant {kind} .* which is not built here"):
        found.config()
    small = {name: torch.zeros(1).expand(shape) for name, shape in face_shapes(kind).items()}
    with pytest.raises(CheckpointError, match="not built here"):
        from_official(small)


def test_a_misfit_names_both_sides(unet: UNet2DConditionModel) -> None:
    plus = random_adapter(unet, variant="plus", tokens=6)
    base = random_adapter(unet)
    with pytest.raises(
        CheckpointError,
        match=r"the weights are 'plus' with 6 tokens .* and the adapter to fill is 'base' with 4 tokens",
    ):
        from_official(export(plus), base.config)
    wide = random_adapter(unet, image_width=1024)
    with pytest.raises(CheckpointError, match=r"with CLIP ViT-H/14, and the adapter to fill .* width 20"):
        from_official(export(wide), base.config)


def test_broken_weights_are_refused(unet: UNet2DConditionModel) -> None:
    state = export(random_adapter(unet))
    state["image_proj.norm.bias"] = torch.full((48,), float("nan"))
    with pytest.raises(CheckpointError, match=r"1 weights are not finite \(image_proj\.norm\.bias"):
        from_official(state)


def test_a_published_pickle_is_converted(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    adapter = random_adapter(unet)
    torch.save(nested(export(adapter)), tmp_path / "ip-adapter.bin")
    given = ["convert", "official", "ip_adapter", str(tmp_path / "ip-adapter.bin"), str(tmp_path / "model")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    again = load_adapter(tmp_path / "model")
    assert again.config == adapter.config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in adapter.state_dict().items())


def test_files_that_are_none(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    state = export(random_adapter(unet))
    projector = {name: value for name, value in state.items() if name.startswith("image_proj.")}
    with pytest.raises(CheckpointError, match="has no keys and values"):
        recognise(shapes_of(projector))
    with pytest.raises(CheckpointError, match="is no IP-Adapter"):
        recognise({"unet.conv_in.weight": (4, 4)})
    with pytest.raises(CheckpointError, match="projector that is of no known variant"):
        recognise({"image_proj.x": (1,), "ip_adapter.1.to_k_ip.weight": (4, 4)})
    pickled = tmp_path / "ip-adapter.bin"
    torch.save(state, pickled)
    with pytest.raises(CheckpointError, match=r"is a pickle, .* visionsmith convert official ip_adapter"):
        load_adapter(pickled)
    with pytest.raises(CheckpointError, match="no such file"):
        read_header(tmp_path / "missing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_adapter(tmp_path / "broken.safetensors")
