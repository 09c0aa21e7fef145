from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from visionsmith.config import decode, encode, override
from visionsmith.errors import ConfigError, DataError
from visionsmith.papers.clip import (
    CLIP,
    CLIPConfig,
    ModifiedResNetConfig,
    TextConfig,
    VisionTransformerConfig,
    from_official,
    published,
)
from visionsmith.papers.clip.config import PUBLISHED

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden"

TEXT = TextConfig(vocab_size=50, context_length=77, width=32, heads=2, layers=2, end_token=40)
VIT = VisionTransformerConfig(image_size=16, patch_size=8, width=32, layers=2, heads=2)
RESNET = ModifiedResNetConfig(image_size=32, width=8, layers=(1, 2, 1))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def make(vision: VisionTransformerConfig | ModifiedResNetConfig = VIT, text: TextConfig = TEXT) -> CLIP:
    return CLIP(CLIPConfig(embed_dim=16, vision=vision, text=text))


def read_golden(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, object]]:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        settings = json.loads(stored.metadata()["config"])
    state = {key.removeprefix("state/"): value for key, value in tensors.items() if key.startswith("state/")}
    inputs = {key.removeprefix("io/"): value for key, value in tensors.items() if key.startswith("io/")}
    return state, inputs, settings


@pytest.mark.parametrize("name", ["clip_vit", "clip_rn"])
def test_the_reference_codes_outputs(name: str) -> None:
    state, io, settings = read_golden(name)
    model = from_official(state).eval()
    assert set(model.state_dict()) == set(state)
    assert model.config.vision.image_size == settings["image_resolution"]
    with torch.no_grad():
        image, text = model.encode_image(io["pixels"]), model.encode_text(io["tokens"])
        logits = model(io["pixels"], io["tokens"])
    expected = {
        key: io[f"{key}_embedding"] / io[f"{key}_embedding"].norm(dim=-1, keepdim=True)
        for key in ("image", "text")
    }
    torch.testing.assert_close(image, expected["image"], atol=1e-5, rtol=0)
    torch.testing.assert_close(text, expected["text"], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, io["logits_per_image"], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.visual(io["pixels"]), io["image_embedding"], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.project_text(io["tokens"]), io["text_embedding"], atol=1e-5, rtol=0)


PARAMETERS = {
    "RN50": (38_316_896, 63_690_241),
    "RN101": (56_259_936, 63_428_097),
    "RN50x4": (87_137_080, 91_163_521),
    "RN50x16": (167_328_912, 123_650_305),
    "RN50x64": (420_380_352, 202_877_953),
    "ViT-B/32": (87_849_216, 63_428_097),
    "ViT-B/16": (86_192_640, 63_428_097),
    "ViT-L/14": (303_966_208, 123_650_305),
    "ViT-L/14@336px": (304_293_888, 123_650_305),
}
"""Image tower, and the rest. For the ResNets only the totals are published, in millions."""

MILLIONS = {"RN50": 102.01, "RN101": 119.69, "RN50x4": 178.30, "RN50x16": 290.98, "RN50x64": 623.26}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_parameters(name: str) -> None:
    with torch.device("meta"):
        model = CLIP(published(name))
    image = sum(parameter.numel() for parameter in model.visual.parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    assert (image, total - image) == PARAMETERS[name]
    if name in MILLIONS:
        assert round(total / 1e6, 2) == MILLIONS[name]


def test_there_are_nine_published_models_and_a_wrong_name_is_told() -> None:
    assert len(PUBLISHED) == len(PARAMETERS) == 9
    with pytest.raises(ConfigError, match="did you mean 'ViT-B/32'"):
        published("ViT-B-32")
    assert published("RN50x64").vision.pool_heads == 64
    assert published("ViT-L/14").vision.heads == 16


def captions(*lengths: int, n: int = 77, end: int = 40) -> Tensor:
    tokens = torch.zeros(len(lengths), n, dtype=torch.int64)
    for row, length in enumerate(lengths):
        tokens[row, : length - 1] = torch.randint(1, end, (length - 1,))
        tokens[row, length - 1] = end
    return tokens


@pytest.mark.parametrize("end_token", [None, 40])
def test_trimming_is_exact(end_token: int | None) -> None:
    model = make(text=TextConfig(vocab_size=50, width=32, heads=2, layers=2, end_token=end_token))
    tokens = captions(5, 12, 3, 9)
    trimmed, padded = model.encode_text(tokens[:, :12]), model.encode_text(tokens)
    torch.testing.assert_close(padded, trimmed, atol=1e-6, rtol=0)
    # Against the whole computation, without trimming and with every row of the last block.
    x = model.token_embedding(tokens) + model.positional_embedding
    last = model.ln_final(model.transformer(x, causal=True))[torch.arange(4), torch.tensor([4, 11, 2, 8])]
    expected = torch.nn.functional.normalize(last @ model.text_projection, dim=-1)
    torch.testing.assert_close(padded, expected, atol=1e-6, rtol=0)
    # More padding than the context holds is padding all the same, and a batch of one is no other case.
    wide = torch.nn.functional.pad(tokens, (0, 20))
    torch.testing.assert_close(model.encode_text(wide), trimmed, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.encode_text(tokens[2:3, :3]), trimmed[2:3], atol=1e-6, rtol=0)


def test_the_end_token_rules_differ_once_a_larger_id_is_added() -> None:
    tokens = captions(6, 4)
    added = tokens.clone()
    added[:, 1] = 45
    by_id = make()
    by_largest = make(text=TextConfig(vocab_size=50, width=32, heads=2, layers=2))
    by_largest.load_state_dict(by_id.state_dict())
    torch.testing.assert_close(by_id.encode_text(tokens), by_largest.encode_text(tokens))
    assert not torch.allclose(by_id.encode_text(added), by_largest.encode_text(added), atol=1e-3)


def test_padding_with_the_end_token_reads_the_first() -> None:
    model = make()
    tokens = captions(6, 4, n=10)
    padded = torch.where(tokens == 0, 40, tokens)
    torch.testing.assert_close(model.encode_text(padded), model.encode_text(tokens))


def test_no_captions_give_no_embeddings() -> None:
    assert make().encode_text(torch.zeros(0, 5, dtype=torch.int64)).shape == (0, 16)


def test_captions_without_end_or_too_long_are_told() -> None:
    model = make()
    tokens = captions(6, 4)
    tokens[1] = 3
    with pytest.raises(DataError, match="1 of 2 captions have no end token"):
        model.encode_text(tokens)
    with pytest.raises(DataError, match="no end token"):
        make(text=TextConfig(vocab_size=50, width=32, heads=2, layers=2)).encode_text(
            torch.zeros(2, 5, dtype=torch.int64)
        )
    with pytest.raises(DataError, match="78 tokens is longer than the context of 77"):
        model.encode_text(captions(78, n=80))


@pytest.mark.parametrize("vision", [VIT, RESNET])
def test_embeddings_are_of_unit_norm_and_everything_learns(
    vision: VisionTransformerConfig | ModifiedResNetConfig,
) -> None:
    model = make(vision)
    for module in model.modules():
        if isinstance(
            module, torch.nn.BatchNorm2d
        ):  # the last gain of a block is 0 at first and blocks gradients
            torch.nn.init.ones_(module.weight)
    images, tokens = torch.randn(3, 3, vision.image_size, vision.image_size), captions(5, 8, 3)
    image, text = model.encode_image(images), model.encode_text(tokens)
    assert image.shape == text.shape == (3, 16)
    torch.testing.assert_close(image.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(3))
    logits = model(images, tokens)
    torch.testing.assert_close(logits, (image @ text.T) / 0.07)
    torch.nn.functional.cross_entropy(logits, torch.arange(3)).backward()
    idle = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []


@pytest.mark.parametrize("layers", [(1,), (2, 1), (1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1, 1)])
def test_a_resnet_has_any_number_of_stages(layers: tuple[int, ...]) -> None:
    config = ModifiedResNetConfig(image_size=64, width=4, layers=layers)
    tower = make(config).visual.eval()
    assert config.last_width == 4 * 4 * 2 ** (len(layers) - 1)
    assert tower.attnpool.positional_embedding.shape == ((64 // config.stride) ** 2 + 1, config.last_width)
    assert tower(torch.randn(2, 3, 64, 64)).shape == (2, 16)


@pytest.mark.parametrize("training", [False, True])
def test_a_resnet_gives_the_same_in_channels_last(training: bool) -> None:
    model, images = make(RESNET).train(training), torch.randn(4, 3, 32, 32)
    expected = model.encode_image(images)
    model = model.to(memory_format=torch.channels_last)
    found = model.encode_image(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("vision", [VIT, RESNET])
def test_bfloat16_is_close_and_norms_stay_in_float32(
    vision: VisionTransformerConfig | ModifiedResNetConfig,
) -> None:
    model, images, tokens = (
        make(vision).eval(),
        torch.randn(4, 3, vision.image_size, vision.image_size),
        captions(5, 8, 3, 4),
    )
    dtypes = set()
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(lambda _module, _inputs, output: dtypes.add(output.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        image, text, logits = model.encode_image(images), model.encode_text(tokens), model(images, tokens)
    assert dtypes == {torch.float32}
    torch.testing.assert_close(logits, image @ text.T / 0.07)
    for low, full in ((image, model.encode_image(images)), (text, model.encode_text(tokens))):
        torch.testing.assert_close(low.norm(dim=-1), torch.ones(4))
        assert 0.999 < (low * full).sum(-1).min() < 1 - 1e-7


def test_initial_weights_are_the_published_ones() -> None:
    text = TextConfig(vocab_size=2000, width=256, heads=4, layers=3)
    model = CLIP(
        CLIPConfig(embed_dim=128, vision=VisionTransformerConfig(width=256, heads=4, layers=1), text=text)
    )
    block, write = model.transformer.resblocks[1], 256**-0.5 * 6**-0.5
    expected = {
        0.02: model.token_embedding.weight,
        0.01: model.positional_embedding,
        256**-0.5: model.text_projection,
        256**-0.5 + 1e-12: block.attn.in_proj_weight,
        write: block.attn.out_proj.weight,
        write + 1e-12: block.mlp.c_proj.weight,
        512**-0.5: block.mlp.c_fc.weight,
        256**-0.5 + 2e-12: model.visual.proj,
        256**-0.5 + 3e-12: model.visual.positional_embedding,
    }
    assert len(expected) == 9
    for std, weight in expected.items():
        assert abs(weight.std() / std - 1) < 0.03
    assert model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    # Image blocks keep the framework's: uniform, so bounded.
    image_block = model.visual.transformer.resblocks[0]
    assert image_block.mlp.c_fc.weight.abs().max() <= 256**-0.5
    assert image_block.attn.in_proj_weight.abs().max() <= math.sqrt(6 / (256 + 768))

    resnet = CLIP(
        CLIPConfig(embed_dim=128, vision=ModifiedResNetConfig(image_size=64, width=16), text=text)
    ).visual
    for name, weight in resnet.named_parameters():
        if name.endswith("bn3.weight"):
            assert weight.abs().max() == (1 if name == "bn3.weight" else 0), name
    for projection in (
        resnet.attnpool.q_proj,
        resnet.attnpool.k_proj,
        resnet.attnpool.v_proj,
        resnet.attnpool.c_proj,
    ):
        assert abs(projection.weight.std() / 512**-0.5 - 1) < 0.03


@pytest.mark.parametrize("config", [CLIPConfig(), CLIPConfig(vision=RESNET, text=TEXT)])
def test_configs_go_through_plain_values(config: CLIPConfig) -> None:
    assert decode(CLIPConfig, json.loads(json.dumps(encode(config)))) == config


def test_wrong_configs_are_told() -> None:
    for key, value, complaint in [
        ("vision.patch_size", 30, "not a multiple of patch_size 30"),
        ("vision.heads", 7, "not a multiple of heads 7"),
        ("text.layers", 0, "text.layers = 0 is not positive"),
        ("text.end_token", 49408, "not in the vocabulary"),
        ("text.widht", 3, "did you mean 'text.width'"),
        ("vision.activation", "relu", "vision"),
        ("embed_dim", 0, "not positive"),
    ]:
        with pytest.raises(ConfigError, match=complaint):
            override(CLIPConfig(), [f"{key}={value}"])
    with pytest.raises(ConfigError, match="not a multiple of the tower's stride 32"):
        ModifiedResNetConfig(image_size=200)
    with pytest.raises(ConfigError, match="not a list of stages"):
        ModifiedResNetConfig(layers=())
