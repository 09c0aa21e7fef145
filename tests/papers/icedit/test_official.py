"""The published layouts both ways, diffusers' loader both ways, and what is said of files that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.papers.icedit.test_adapter import CONFIGS, EXPERT_LAYERS, inputs, random_adapter, tiny
from visionsmith.errors import CheckpointError
from visionsmith.papers.icedit.adapter import Adapter, layers_of
from visionsmith.papers.icedit.config import AdapterConfig
from visionsmith.papers.icedit.official import export, from_official, load_adapter, recognise

PLAIN = AdapterConfig(rank=3, alpha=3.0)
MIXED = AdapterConfig(rank=3, alpha=3.0, experts=4, router="published")
NETWORK_ALPHA = "transformer.x_embedder.alpha"


def shapes_of(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def answer(adapter: Adapter) -> Tensor:
    transformer = tiny()
    adapter.attach(transformer)
    with torch.no_grad():
        found: Tensor = transformer(**inputs()).sample
    return found


@pytest.mark.parametrize("config", [PLAIN, MIXED, CONFIGS[0], CONFIGS[2]])
def test_round_trip(config: AdapterConfig, tmp_path: Path) -> None:
    adapter = random_adapter(tiny(), config)
    save_file(export(adapter), tmp_path / "adapter.safetensors")
    again = load_adapter(tmp_path / "adapter.safetensors")
    assert again.config == config
    assert list(again.state_dict()) == list(adapter.state_dict())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in adapter.state_dict().items())
    assert torch.equal(answer(again), answer(adapter))


def test_a_config_says_which_router() -> None:
    adapter = random_adapter(tiny(), CONFIGS[1])
    assert from_official(export(adapter)).config.router == "published"
    assert from_official(export(adapter), CONFIGS[1]).config == CONFIGS[1]
    assert torch.equal(answer(from_official(export(adapter), CONFIGS[1])), answer(adapter))


def test_the_published_names() -> None:
    state = shapes_of(export(random_adapter(tiny(), MIXED)))
    layers = layers_of(tiny())
    wanted: dict[str, tuple[int, ...]] = {}
    for name, (outputs, size) in layers.items():
        if name not in EXPERT_LAYERS:
            wanted[f"transformer.{name}.lora_A.weight"] = (3, size)
            wanted[f"transformer.{name}.lora_B.weight"] = (outputs, 3)
            continue
        for i in range(4):
            wanted[f"transformer.{name}.lora_A.expert_{i}.weight"] = (3, size)
            wanted[f"transformer.{name}.lora_B.expert_{i}.weight"] = (outputs, 3)
        wanted[f"transformer.{name}.lora_route.weight"] = (4, size)
    assert state == wanted
    assert all(value.is_contiguous() for value in export(random_adapter(tiny(), MIXED)).values())


def test_published_experts_stay_whole() -> None:
    """The matrices of each expert, by their published names, are what a token of that expert meets."""
    state = export(random_adapter(tiny(), MIXED))
    name = EXPERT_LAYERS[1]
    update = from_official(state).updates()[name]
    x = torch.randn(50, layers_of(tiny())[name][1], generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        found, routing = update(x)
    assert len(routing.chosen.unique()) == 4
    for i in range(4):
        place = f"transformer.{name}"
        ours = x[routing.chosen == i]
        assert bool(((ours @ state[f"{place}.lora_route.weight"].T).argmax(-1) == i).all())
        down, up = state[f"{place}.lora_A.expert_{i}.weight"], state[f"{place}.lora_B.expert_{i}.weight"]
        torch.testing.assert_close(found[routing.chosen == i], ours @ down.T @ up.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [PLAIN, CONFIGS[0]], ids=["alpha = rank", "alpha = 2 rank"])
def test_diffusers_reads_what_is_exported(config: AdapterConfig) -> None:
    adapter, theirs = random_adapter(tiny(), config), tiny()
    state = export(adapter)
    # diffusers' pipelines take the alphas out of a file, and hand them on beside the weights.
    alphas = {name: float(value) for name, value in state.items() if name.endswith(".alpha")}
    weights = {name: value for name, value in state.items() if name not in alphas}
    assert bool(alphas) is (config.alpha != config.rank)
    base = theirs(**inputs()).sample
    theirs.load_lora_adapter(weights, prefix="transformer", network_alphas=alphas or None)
    with torch.no_grad():
        wanted = theirs(**inputs()).sample
    torch.testing.assert_close(answer(adapter), wanted, rtol=0, atol=1e-5)
    assert float((wanted - base).abs().max()) > 0.01


@pytest.mark.parametrize("alpha", [3, 12])
def test_what_diffusers_writes_is_read(alpha: int, tmp_path: Path) -> None:
    theirs = tiny()
    config = LoraConfig(
        r=3, lora_alpha=alpha, target_modules=list(layers_of(theirs)), init_lora_weights="gaussian"
    )
    theirs.add_adapter(config)
    draw = torch.Generator().manual_seed(4)
    for name, weight in theirs.named_parameters():
        if "lora_B" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=draw)
    theirs.save_lora_adapter(tmp_path)
    (file,) = tmp_path.iterdir()
    with torch.no_grad():
        wanted = theirs(**inputs()).sample
    found = load_adapter(file)
    assert found.config == AdapterConfig(rank=3, alpha=float(alpha))
    torch.testing.assert_close(answer(found), wanted, rtol=0, atol=1e-5)
    # As its pipelines write it: with the name of the part before each layer, and nothing in the header.
    save_file({f"transformer.{name}": value for name, value in load_file(file).items()}, tmp_path / "bare")
    assert load_adapter(tmp_path / "bare").config.alpha == 3


def test_alphas_that_differ_are_kept() -> None:
    state = export(random_adapter(tiny(), PLAIN))
    scaled = dict(state)
    for name in ("x_embedder", EXPERT_LAYERS[0]):
        scaled[f"transformer.{name}.lora_B.weight"] = 2 * state[f"transformer.{name}.lora_B.weight"]
        state[f"transformer.{name}.alpha"] = torch.tensor(6.0)
    found = from_official(state)
    assert found.config == PLAIN
    torch.testing.assert_close(answer(found), answer(from_official(scaled)))
    state["transformer.proj_out.alpha"] = torch.tensor(6.0)
    with pytest.raises(CheckpointError, match=r"alpha of 1 layers that have no update \(proj_out"):
        from_official(state)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            AdapterConfig(),
            "of rank 32 without experts for 19 dual and 38 single blocks of width 3072 (384 channels in)",
        ),
        (
            AdapterConfig(experts=4),
            "of rank 32 with 4 experts for 19 dual and 38 single blocks of width 3072 (384 channels in)",
        ),
    ],
)
def test_recognised_by_shapes(config: AdapterConfig, said: str) -> None:
    shapes = {
        "x_embedder.lora_A.weight": (32, 384),
        "x_embedder.lora_B.weight": (3072, 32),
        **{f"transformer_blocks.{i}.attn.to_q.lora_A.weight": (32, 3072) for i in range(19)},
        **{f"single_transformer_blocks.{i}.attn.to_q.lora_A.weight": (32, 3072) for i in range(38)},
    }
    if config.experts:
        shapes["single_transformer_blocks.3.proj_out.lora_route.weight"] = (4, 15360)
    found = recognise({f"transformer.{name}": shape for name, shape in shapes.items()})
    assert str(found) == said
    assert (found.config().rank, found.config().alpha, found.config().experts) == (32, 32.0, config.experts)
    with torch.device("meta"):
        adapter = Adapter(config, found.layers())
    assert sum(w.numel() for w in adapter.parameters()) == (214_437_888 if config.experts else 115_912_704)


def test_layers_are_those_of_the_transformer() -> None:
    transformer = tiny(num_layers=2, num_attention_heads=3)
    found = recognise(shapes_of(export(random_adapter(transformer, MIXED))))
    assert found.layers() == layers_of(transformer)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            AdapterConfig(rank=8),
            r"are of rank 3 with 4 experts for 1 dual .* fill is of rank 8 without experts",
        ),
        (AdapterConfig(rank=3), r"are of rank 3 with 4 experts .* fill is of rank 3 without experts"),
        (
            AdapterConfig(rank=3, experts=6),
            r"are of rank 3 with 4 experts .* fill is of rank 3 with 6 experts",
        ),
    ],
)
def test_a_misfit_names_both_sides(config: AdapterConfig, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        from_official(export(random_adapter(tiny(), MIXED)), config)


def test_broken_weights() -> None:
    state = export(random_adapter(tiny(), MIXED))
    name = f"transformer.{EXPERT_LAYERS[0]}.lora_A.expert_2.weight"
    with pytest.raises(CheckpointError, match=r"1 weights are not finite \(transformer.transformer_blocks"):
        from_official(state | {name: torch.full_like(state[name], float("nan"))})
    with pytest.raises(CheckpointError, match=r"1 missing .*expert_2.*1 unexpected .*expert_9"):
        from_official(
            {key.replace("expert_2", "expert_9") if key == name else key: v for key, v in state.items()}
        )
    with pytest.raises(CheckpointError, match=r"1 misshapen .*expert_2.*\(2, 128\) instead of \(3, 128\)"):
        from_official(state | {name: state[name][:2]})
    gap = {key: v for key, v in state.items() if "single_transformer_blocks.0." not in key}
    with pytest.raises(CheckpointError, match=r"missing .*unexpected"):
        from_official(gap)
    with pytest.raises(CheckpointError, match="alpha of 'x_embedder' is no finite number"):
        from_official(state | {NETWORK_ALPHA: torch.tensor(float("inf"))})


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no LoRA of a FLUX transformer's picture layers"):
        recognise({"unet.conv_in.weight": (4, 4)})
    with pytest.raises(CheckpointError, match="is no file"):
        load_adapter(tmp_path)
    torch.save(export(random_adapter(tiny(), PLAIN)), tmp_path / "lora.bin")
    with pytest.raises(CheckpointError, match=r"is a pickle, .* visionsmith convert official icedit"):
        load_adapter(tmp_path / "lora.bin")
    (tmp_path / "broken.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_adapter(tmp_path / "broken.safetensors")
    save_file({"x_embedder.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other\.safetensors: is no LoRA"):
        load_adapter(tmp_path / "other.safetensors")
    state = export(random_adapter(tiny(), PLAIN))
    note = {"lora_adapter_metadata": '{"lora_alpha": 3, "alpha_pattern": {"x_embedder": 6}}'}
    save_file(state, tmp_path / "patterns.safetensors", metadata=note)
    with pytest.raises(CheckpointError, match="notes an alpha of single layers"):
        load_adapter(tmp_path / "patterns.safetensors")
    save_file(state, tmp_path / "odd.safetensors", metadata={"lora_adapter_metadata": "[1]"})
    with pytest.raises(CheckpointError, match="'lora_adapter_metadata' cannot be read"):
        load_adapter(tmp_path / "odd.safetensors")
