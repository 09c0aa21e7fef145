"""Counts of parameters, and what attaching changes in a transformer: its answer, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.papers.icedit.adapter import Adapter, adapter_for, layers_of, sizes_of
from visionsmith.papers.icedit.config import AdapterConfig
from visionsmith.papers.icedit.experts import LowRank

CONFIGS = [
    AdapterConfig(rank=3, alpha=6.0),
    AdapterConfig(rank=3, alpha=6.0, experts=4),
    AdapterConfig(rank=3, alpha=6.0, experts=2, router="published"),
]
EXPERT_LAYERS = (
    "transformer_blocks.0.ff.net.2",
    "single_transformer_blocks.0.proj_out",
    "single_transformer_blocks.1.proj_out",
)


def tiny(**settings: Any) -> FluxTransformer2DModel:
    """A transformer of 1 dual and 2 single blocks of width 32, frozen; the same at each call."""
    sizes: dict[str, Any] = {
        "patch_size": 1,
        "in_channels": 96,
        "out_channels": 16,
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 6, 6),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FluxTransformer2DModel(**(sizes | settings)).eval().requires_grad_(False)


def inputs(samples: int = 2, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(samples, 12, 96, generator=draw).to(dtype),
        "encoder_hidden_states": torch.randn(samples, 5, 32, generator=draw).to(dtype),
        "pooled_projections": torch.randn(samples, 32, generator=draw).to(dtype),
        "timestep": torch.rand(samples, generator=draw).to(dtype),
        "guidance": torch.ones(samples).to(dtype),
        "img_ids": torch.stack([torch.zeros(12), torch.arange(12) // 4, torch.arange(12) % 4], dim=1),
        "txt_ids": torch.zeros(5, 3),
    }


def random_adapter(transformer: Any, config: AdapterConfig, seed: int = 2) -> Adapter:
    """One that is as after a training: B is not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapter = adapter_for(transformer, config)
        for update in adapter.updates().values():
            nn.init.normal_(update.lora_B.weight, std=0.1)
    return adapter


@pytest.mark.parametrize(("experts", "wanted"), [(0, 115_912_704), (4, 214_437_888)])
def test_published_counts(experts: int, wanted: int) -> None:
    with torch.device("meta"):
        fill = FluxTransformer2DModel(in_channels=384, out_channels=64, guidance_embeds=True)
        adapter = adapter_for(fill, AdapterConfig(experts=experts))
    assert sizes_of(adapter.layers) == "19 dual and 38 single blocks of width 3072 (384 channels in)"
    assert sum(weight.numel() for weight in adapter.parameters()) == wanted


@pytest.mark.parametrize("config", CONFIGS)
def test_a_new_adapter_changes_nothing(config: AdapterConfig) -> None:
    transformer = tiny()
    wanted = transformer(**inputs()).sample
    adapter_for(transformer, config).attach(transformer)
    assert torch.equal(transformer(**inputs()).sample, wanted)


def test_plain_updates_are_as_merged() -> None:
    transformer, merged = tiny(), tiny()
    adapter = random_adapter(transformer, CONFIGS[0])
    for name, update in adapter.updates().items():
        assert isinstance(update, LowRank)
        merged.get_submodule(name).weight += 2 * (update.lora_B.weight @ update.lora_A.weight).detach()
    attached = adapter.attach(transformer)
    base = tiny()(**inputs()).sample
    with torch.no_grad():
        found = transformer(**inputs()).sample
        torch.testing.assert_close(found, merged(**inputs()).sample, rtol=1e-4, atol=1e-5)
        assert float((found - base).abs().max()) > 0.01
        attached.scale = 0.5
        halved = transformer(**inputs()).sample
    for name, update in adapter.updates().items():
        merged.get_submodule(name).weight -= (update.lora_B.weight @ update.lora_A.weight).detach()
    torch.testing.assert_close(halved, merged(**inputs()).sample, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_scale_0_and_detaching_give_the_base(config: AdapterConfig) -> None:
    transformer = tiny()
    wanted = transformer(**inputs()).sample
    names, kind = list(transformer.state_dict()), type(transformer)
    attached = random_adapter(transformer, config).attach(transformer)
    assert list(transformer.state_dict()) == names
    assert type(transformer) is kind
    assert not torch.equal(transformer(**inputs()).sample, wanted)
    attached.scale = 0.0
    assert torch.equal(transformer(**inputs()).sample, wanted)
    assert float(attached.balance()) == 0
    attached.scale = 1.0
    attached.detach()
    attached.detach()
    assert torch.equal(transformer(**inputs()).sample, wanted)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in transformer.modules())
    before = tiny().state_dict()
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())


def test_one_adapter_at_a_time() -> None:
    transformer = tiny()
    first = random_adapter(transformer, CONFIGS[0])
    second = random_adapter(transformer, CONFIGS[1], seed=3)
    attached = first.attach(transformer)
    for candidate in (transformer, copy.deepcopy(transformer)):
        with pytest.raises(ConfigError, match="has an adapter attached already; detach that one first"):
            second.attach(candidate)
    attached.detach()
    found = second.attach(transformer)
    other = tiny()
    second.attach(other)
    assert torch.equal(transformer(**inputs()).sample, other(**inputs()).sample)
    found.detach()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_layers": 2}, r"1 dual and 2 single .* has 2 dual and 2 single"),
        ({"num_single_layers": 1}, r"1 dual and 2 single .* has 1 dual and 1 single"),
        ({"num_attention_heads": 3}, r"width 32 \(96 channels in\), .* width 48 \(96 channels in\)"),
        (
            {"in_channels": 64},
            r"96 channels in.*64 channels in.* \(x_embedder is 96 to 32 there and 64 to 32 here\)",
        ),
    ],
)
def test_other_sizes_are_named(settings: dict[str, Any], said: str) -> None:
    other = tiny(**settings)
    with pytest.raises(CheckpointError, match=said):
        adapter_for(tiny(), CONFIGS[0]).attach(other)
    assert not any(part._forward_hooks for part in other.modules())


def test_no_transformer_of_this_kind() -> None:
    with pytest.raises(ConfigError, match="a Sequential has no Linear layer named 'x_embedder'"):
        adapter_for(nn.Sequential(nn.Linear(3, 3)), CONFIGS[0])


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_are_the_same_with_checkpointing(config: AdapterConfig) -> None:
    gradients: list[dict[str, Tensor]] = []
    usages: list[Tensor] = []
    for checkpointing in (False, True):
        transformer = tiny().train()
        if checkpointing:
            transformer.enable_gradient_checkpointing()
        adapter = random_adapter(transformer, config)
        attached = adapter.attach(transformer)
        with attached.count_usage() as usage:
            found = transformer(**inputs()).sample
            (found.square().mean() + attached.balance()).backward()
        gradients.append({name: w.grad for name, w in adapter.named_parameters() if w.grad is not None})
        usages.append(usage.by_layer())
    plain, again = gradients
    routes = sum(name.endswith("lora_route.weight") for name in plain)
    assert routes == (3 if config.experts and config.router == "switch" else 0)
    assert plain.keys() == again.keys()
    assert len(plain) >= 2 * len(layers_of(tiny()))
    assert all(torch.equal(value, again[name]) for name, value in plain.items())
    assert all(bool(value.any()) for value in plain.values())
    assert torch.equal(*usages), "a block that runs again in the backward pass is not counted again"


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # Of the transformer's norms.
@pytest.mark.parametrize("config", CONFIGS)
def test_bfloat16_by_autocast(config: AdapterConfig) -> None:
    transformer = tiny()
    adapter = random_adapter(transformer, config)
    attached = adapter.attach(transformer)
    with torch.no_grad():
        wanted = transformer(**inputs()).sample
        base = tiny()(**inputs()).sample
    with torch.autocast("cpu", torch.bfloat16):
        found = transformer(**inputs()).sample
        loss = found.float().square().mean() + attached.balance()
    loss.backward()
    # A rounded logit may send a token to another expert, so that the mean counts and not the worst.
    assert float((found.detach() - wanted).abs().mean()) < 0.2 * float((wanted - base).abs().mean())
    grads = [weight.grad for weight in adapter.parameters() if weight.grad is not None]
    assert {grad.dtype for grad in grads} == {torch.float32}
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)


def test_a_bfloat16_transformer_and_float32_updates() -> None:
    transformer = tiny().to(torch.bfloat16)
    adapter = random_adapter(transformer, CONFIGS[1])
    attached = adapter.attach(transformer)
    found = transformer(**inputs(dtype=torch.bfloat16)).sample
    assert found.dtype == torch.bfloat16
    (found.float().square().mean() + attached.balance()).backward()
    assert all(
        weight.grad is not None and weight.grad.dtype == torch.float32 for weight in adapter.parameters()
    )


def test_balance_is_the_mean_over_layers_of_the_last_pass() -> None:
    transformer = tiny()
    adapter = random_adapter(transformer, CONFIGS[1])
    attached = adapter.attach(transformer)
    assert float(attached.balance()) == 0
    seen: dict[str, Tensor] = {}
    for name in EXPERT_LAYERS:
        transformer.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: seen.__setitem__(name, given[0])
        )
    transformer(**inputs(3))
    transformer(**inputs(2))
    found = attached.balance()
    each = []
    for name in EXPERT_LAYERS:
        update = adapter.updates()[name]
        odds = torch.softmax(seen[name].flatten(0, 1) @ update.lora_route.weight.T, dim=-1)
        share = torch.bincount(odds.argmax(-1), minlength=4) / len(odds)
        each.append(4 * (share * odds.mean(0)).sum())
    torch.testing.assert_close(found, torch.stack(each).mean())
    assert found.requires_grad
    plain = tiny()
    bare = random_adapter(plain, CONFIGS[0]).attach(plain)
    plain(**inputs())
    assert float(bare.balance()) == 0


def test_usage_by_layer_and_by_sample() -> None:
    transformer = tiny()
    attached = random_adapter(transformer, CONFIGS[1]).attach(transformer)
    with torch.no_grad(), attached.count_usage() as usage:
        assert usage.by_layer().numel() == 0
        transformer(**inputs())
        once = usage.by_layer()
        samples = usage.by_sample()
        transformer(**inputs())
    transformer(**inputs())
    assert usage.layers == EXPERT_LAYERS
    # The last feed-forward layer of a dual block reads the picture's tokens, the single blocks the text's as well.
    assert once.sum(dim=1).tolist() == [2 * 12, 2 * 17, 2 * 17]
    assert samples.sum(dim=1).tolist() == [12 + 17 + 17] * 2
    assert torch.equal(usage.by_layer(), 2 * once)
    assert torch.equal(usage.by_sample(), 2 * samples)
    each = []
    for row in range(2):
        alone = {k: v if k.endswith("ids") else v[row : row + 1] for k, v in inputs().items()}
        with torch.no_grad(), attached.count_usage() as one:
            transformer(**alone)
        each.append(one.by_sample()[0])
    assert torch.equal(torch.stack(each), samples)
    with attached.count_usage():
        transformer(**inputs())
        with pytest.raises(ConfigError, match="counted for 2 samples and a pass has 3"):
            transformer(**inputs(3))
    transformer(**inputs(3))


def test_the_order_of_parameters_is_of_the_names() -> None:
    layers = layers_of(tiny(num_layers=1, num_single_layers=11))
    turned = dict(reversed(layers.items()))
    names = [list(Adapter(CONFIGS[1], given).state_dict()) for given in (layers, turned)]
    assert names[0] == names[1]
    assert set(adapter_for(tiny(), CONFIGS[1]).updates()) == set(layers_of(tiny()))
