"""Sizes, and the counts that are published."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from visionsmith.config import decode, encode
from visionsmith.errors import ConfigError
from visionsmith.papers.ip_adapter import IPAdapter, IPAdapterConfig, ResamplerConfig, config_for
from visionsmith.papers.ip_adapter.config import SDXL_WIDTHS, DropConfig, odd
from visionsmith.papers.ip_adapter.recipes import paper, tiny
from visionsmith.papers.paper import get_paper


def count(config: IPAdapterConfig) -> tuple[int, int]:
    """Parameters of the projector, and of keys and values."""
    with torch.device("meta"):
        adapter = IPAdapter(config)
    parts = adapter.image_proj, adapter.ip_adapter
    sums = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    return sums[0], sums[1]


def test_published_counts() -> None:
    assert count(IPAdapterConfig()) == (3_150_336, 19_169_280)
    assert (
        sum(count(IPAdapterConfig()))
        == get_paper("ip_adapter").parameters["SD 1.5 base adapter"]
        == 22_319_616
    )
    plus, _ = count(IPAdapterConfig(variant="plus", tokens=16, image_width=1280))
    assert round(plus / 1e6, 2) == 29.92
    assert plus + 19_169_280 == get_paper("ip_adapter").parameters["SD 1.5 Plus adapter"]
    full, _ = count(IPAdapterConfig(variant="full", tokens=257, image_width=1280))
    assert round(full / 1e6, 2) == 2.63


def test_published_counts_of_the_large_base() -> None:
    sizes = {"text_width": 2048, "positions": odd(70), "widths": SDXL_WIDTHS}
    projector, layers = count(IPAdapterConfig(**sizes))  # type: ignore[arg-type]
    assert (round(projector / 1e6, 2), round(layers / 1e6, 1)) == (8.40, 340.8)
    assert projector + layers == get_paper("ip_adapter").parameters["SDXL base adapter"]
    resampler = ResamplerConfig(width=1280, heads=20)
    plus = IPAdapterConfig(variant="plus", tokens=16, image_width=1280, resampler=resampler, **sizes)  # type: ignore[arg-type]
    assert round(count(plus)[0] / 1e6, 2) == 82.96


def test_sizes_are_read_off_the_published_denoisers() -> None:
    with torch.device("meta"):
        small = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        large = UNet2DConditionModel(
            cross_attention_dim=2048,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
        )
    assert config_for(small) == IPAdapterConfig()
    found = config_for(large)
    assert (found.text_width, found.positions, found.widths) == (2048, odd(70), SDXL_WIDTHS)


def test_a_concatenated_adapter_is_its_projector() -> None:
    assert count(IPAdapterConfig(form="concatenated")) == (3_150_336, 0)


def test_round_trip() -> None:
    config = IPAdapterConfig(variant="plus", tokens=16, base="somewhere")
    assert decode(IPAdapterConfig, encode(config)) == config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tokens": 0}, "tokens = 0 is out of range"),
        ({"positions": (1, 3)}, "2 positions and 16 widths"),
        ({"positions": (), "widths": ()}, "no cross-attention layer"),
    ],
)
def test_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        IPAdapterConfig(**settings)  # type: ignore[arg-type]


def test_drop_rates_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="1 at most in all"):
        DropConfig(image=0.5, text=0.4, both=0.2)
    with pytest.raises(ConfigError, match="out of range"):
        DropConfig(image=-0.1)


def test_recipes() -> None:
    assert tiny().train.total_steps == 1300
    assert tiny().drop.text == 0.6, "the built-in captions say all that a picture shows"
    assert paper().drop == DropConfig(image=0.05, text=0.05, both=0.05)
    assert (paper().train.total_steps, paper().train.batch_size) == (1_000_000, 64)
    optim = paper().train.optim
    assert (optim.lr, optim.weight_decay, optim.schedule) == (1e-4, 0.01, "constant")
