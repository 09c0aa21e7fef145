"""Published systems, small and random, beside the library's own pipelines round the same networks."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDPMScheduler,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from PIL import Image
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)
from typer.testing import CliRunner

from visionsmith.cli.app import app
from visionsmith.diffusion.library import (
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    UnCLIPImageVariationPipeline,
    UnCLIPPipeline,
    silenced,
)
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.paper import shipped_checkpoint
from visionsmith.papers.unclip.published import Published, open_published
from visionsmith.papers.unclip.run import load

WIDTH, TOKENS = 16, 10
TEXTS = ["a red apple", "a man with a blue boat"]


def spread(model: Any, deviation: float = 0.1) -> Any:
    """Weights away from their start, so that what goes in is seen in what comes out."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * deviation)
    return model.eval().requires_grad_(False)


def make_tokenizer() -> CLIPTokenizer:
    """The words of the CLIP that ships."""
    words = json.loads((shipped_checkpoint("clip") / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [tuple(pair) for pair in words["merges"]]
    made: CLIPTokenizer = CLIPTokenizer(words["vocab"], merges, model_max_length=TOKENS)
    return made


def make_encoders() -> dict[str, Any]:
    sizes: dict[str, Any] = {
        "hidden_size": WIDTH,
        "projection_dim": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = CLIPTextConfig(
        vocab_size=2048, max_position_embeddings=TOKENS, bos_token_id=2046, eos_token_id=2047, pad_token_id=2047,
        **sizes,
    )  # fmt: skip
    return {
        "tokenizer": make_tokenizer(),
        "text_encoder": spread(CLIPTextModelWithProjection(text)),
        "image_encoder": spread(
            CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=16, patch_size=8, **sizes))
        ),
        "processor": CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    }


def make_prior() -> PriorTransformer:
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, embedding_dim=WIDTH, num_layers=1, num_embeddings=TOKENS
    )
    made: PriorTransformer = spread(prior)
    made.clip_mean.copy_(torch.randn(1, WIDTH) * 0.3)
    made.clip_std.copy_(1 + torch.rand(1, WIDTH))
    return made


def make_decoder() -> dict[str, Any]:
    """From Karlo's text projection on. All predict the clean picture, or random networks would show noise alone."""
    decoder = UNet2DConditionModel(
        sample_size=8,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="identity",
        norm_num_groups=4,
    )
    enlarger: dict[str, Any] = {
        "sample_size": 16,
        "layers_per_block": 1,
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "block_out_channels": (8, 8),
        "in_channels": 6,
        "out_channels": 3,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    }
    projection = UnCLIPTextProjModel(clip_embeddings_dim=WIDTH, time_embed_dim=32, cross_attention_dim=WIDTH)
    return {
        "text_proj": spread(projection, 0.3),
        "decoder": spread(decoder),
        "super_res_first": spread(UNet2DModel(**enlarger)),
        "super_res_last": spread(UNet2DModel(**enlarger)),
        "decoder_scheduler": UnCLIPScheduler(variance_type="learned_range", prediction_type="sample"),
        "super_res_scheduler": UnCLIPScheduler(prediction_type="sample"),
    }


def make_kandinsky() -> dict[str, Any]:
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        addition_embed_type="image",
        addition_embed_type_num_heads=4,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=4,
    )
    movq = VQModel(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        layers_per_block=1,
        latent_channels=4,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    )
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, variance_type="learned_range", prediction_type="sample",
        clip_sample=True, clip_sample_range=2.0, thresholding=True, sample_max_value=2.0,
    )  # fmt: skip
    return {"unet": spread(unet), "movq": spread(movq), "scheduler": scheduler}


@dataclass
class Library:
    """The library's pipelines in memory, and the folders that hold the same weights."""

    texts: Any
    variations: Any
    prior: Any
    decoder: Any
    folder: Path

    def sources(self, name: str) -> dict[str, Any]:
        """What is named to open a system."""
        beside = {"prior": self.folder / "prior"} if name == "decoder" else {}
        return {"source": self.folder / name, **beside}


def published(pipeline: Any, folder: Path) -> None:
    """Save a pipeline, and change what is written otherwise than when Karlo and Kandinsky were published."""
    with silenced():
        pipeline.save_pretrained(folder)
    processor = ["transformers", "CLIPImageProcessor"]
    rewrite(
        folder / "model_index.json",
        text_proj=["unclip", "UnCLIPTextProjModel"],
        feature_extractor=processor,
        image_processor=processor,
    )
    if (folder / "tokenizer").is_dir():
        words = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in words["merges"]]
        (folder / "tokenizer" / "tokenizer.json").unlink()
        (folder / "tokenizer" / "vocab.json").write_text(json.dumps(words["vocab"]), encoding="utf-8")
        lines = ["#version: 0.2", *merges, ""]
        (folder / "tokenizer" / "merges.txt").write_text("\n".join(lines), encoding="utf-8")


def rewrite(file: Path, **changes: Any) -> None:
    """Change those of the values that a JSON file has."""
    values = json.loads(file.read_text(encoding="utf-8"))
    values |= {name: value for name, value in changes.items() if name in values}
    file.write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders, prior, decoder, kandinsky = make_encoders(), make_prior(), make_decoder(), make_kandinsky()
    image_encoder, processor = encoders.pop("image_encoder"), encoders.pop("processor")
    scheduler = UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0)
    with silenced():
        made = Library(
            texts=UnCLIPPipeline(prior=prior, prior_scheduler=scheduler, **encoders, **decoder),
            variations=UnCLIPImageVariationPipeline(
                image_encoder=image_encoder, feature_extractor=processor, **encoders, **decoder
            ),
            prior=KandinskyV22PriorPipeline(
                prior=prior, scheduler=scheduler, image_encoder=image_encoder, image_processor=processor, **encoders
            ),
            decoder=KandinskyV22Pipeline(**kandinsky),
            folder=tmp_path_factory.mktemp("published"),
        )  # fmt: skip
    for name in ("texts", "variations", "prior", "decoder"):
        pipeline = getattr(made, name)
        pipeline.set_progress_bar_config(disable=True)
        published(pipeline, made.folder / name)
    return made


@pytest.fixture(scope="module")
def karlo(library: Library) -> Published:
    return open_published(**library.sources("texts"))


@pytest.fixture(scope="module")
def variations(library: Library) -> Published:
    return open_published(**library.sources("variations"))


@pytest.fixture(scope="module")
def kandinsky(library: Library) -> Published:
    return open_published(**library.sources("decoder"))


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Two that are not square."""
    draw = np.random.default_rng(0)
    return [np.kron(draw.integers(0, 255, (5, 4, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in "ab"]


@pytest.fixture
def files(pictures: list[np.ndarray], tmp_path: Path) -> list[str]:
    names = [str(tmp_path / f"{name}.png") for name in ("one", "other")]
    for name, picture in zip(names, pictures, strict=True):
        write_image(name, picture)
    return names


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def levels(made: Any) -> np.ndarray:
    """The one picture of a pipeline's answer, as gray levels, not rounded."""
    found: np.ndarray = made.images[0] * 255
    return found


def their_karlo(library: Library, text: str, seed: int, **settings: Any) -> np.ndarray:
    return levels(library.texts([text], generator=noise(seed), output_type="np", **settings))


def their_kandinsky(
    library: Library, text: str, seed: int, *, before: Mapping[str, Any] | None = None, **settings: Any
) -> np.ndarray:
    stream = noise(seed)
    drawn = library.prior(text, generator=stream, **(before or {}))
    sizes = {"height": 16, "width": 16}
    return levels(library.decoder(**drawn, generator=stream, output_type="np", **sizes, **settings))


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape == (16, 16, 3)
    assert np.abs(ours - theirs).max() <= 1
    assert ours.std() > 20, "pictures that say nothing agree always"


def test_karlo_paints_what_the_library_paints(library: Library, karlo: Published) -> None:
    """With the defaults of either side: steps, guidance and the order of the noise are the library's."""
    assert karlo.size == 16
    ours = karlo.paint_texts(TEXTS[:1], seeds=[3], samples=1)
    assert_same(ours[0], their_karlo(library, TEXTS[0], 3))
    ours = karlo.paint_texts(TEXTS, seeds=[3, 7], samples=1, steps=4, guidance=2.5)
    few = {"decoder_num_inference_steps": 4, "decoder_guidance_scale": 2.5}
    for made, text, seed in zip(ours, TEXTS, (3, 7), strict=True):
        assert_same(made, their_karlo(library, text, seed, **few))


def test_a_setting_that_is_a_little_off_shows(library: Library) -> None:
    """Else the agreement would say little."""
    few: dict[str, Any] = {
        "prior_num_inference_steps": 5,
        "decoder_num_inference_steps": 5,
        "super_res_num_inference_steps": 3,
        "prior_guidance_scale": 4.0,
        "decoder_guidance_scale": 8.0,
    }
    right = their_karlo(library, TEXTS[0], 3, **few)
    for name, value in few.items():
        off = value + 1 if isinstance(value, int) else value * 1.05
        wrong = their_karlo(library, TEXTS[0], 3, **(few | {name: off}))
        assert np.abs(wrong - right).max() > 5, name
    assert np.abs(their_karlo(library, TEXTS[1], 3, **few) - right).max() > 5
    right = their_kandinsky(library, TEXTS[0], 3, num_inference_steps=5)
    for before, after in (
        ({"guidance_scale": 4.2}, {"num_inference_steps": 5}),
        ({"num_inference_steps": 24}, {"num_inference_steps": 5}),
        ({}, {"num_inference_steps": 6}),
        ({}, {"num_inference_steps": 5, "guidance_scale": 4.2}),
    ):
        wrong = their_kandinsky(library, TEXTS[0], 3, before=before, **after)
        assert np.abs(wrong - right).max() > 5, (before, after)


def test_karlo_varies_as_the_library_does(
    library: Library, variations: Published, pictures: list[np.ndarray]
) -> None:
    given = Image.fromarray(pictures[0])
    theirs = levels(library.variations(given, generator=noise(5), output_type="np"))
    assert_same(variations.vary(pictures[0], count=1, seed=5)[0], theirs)
    ours = variations.vary(pictures[0], count=2, seed=5, steps=4, guidance=2.5)
    few = {"decoder_num_inference_steps": 4, "decoder_guidance_scale": 2.5, "output_type": "np"}
    for made, seed in zip(ours, (5, 6), strict=True):
        assert_same(made, levels(library.variations(given, generator=noise(seed), **few)))
    other = variations.vary(pictures[1], count=2, seed=5, steps=4, guidance=2.5)
    for one, another in ((ours[0], ours[1]), (ours[0], other[0])):
        assert np.abs(one.astype(int) - another).max() > 5


def test_kandinsky_paints_what_the_library_paints(library: Library, kandinsky: Published) -> None:
    their_names = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
    for settings in ({"steps": 6}, {"steps": 5, "guidance": 2.5}):
        few = {their_names[name]: value for name, value in settings.items()}
        for text, seed in zip(TEXTS, (3, 4), strict=True):
            ours = kandinsky.paint_texts([text], seeds=[seed], samples=1, **settings)
            assert_same(ours[0], their_kandinsky(library, text, seed, **few))
    # A hundred steps take long.
    named = inspect.signature(type(library.decoder).__call__).parameters
    for name, theirs in their_names.items():
        assert getattr(kandinsky.parts.painter, name) == named[theirs].default


def test_kandinsky_varies_as_the_library_does(
    library: Library, kandinsky: Published, pictures: list[np.ndarray]
) -> None:
    seen = library.prior.interpolate([Image.fromarray(pictures[0])], [1.0], generator=noise(0))
    settings = {"height": 16, "width": 16, "num_inference_steps": 6, "output_type": "np"}
    theirs = library.decoder(**seen, generator=noise(5), **settings)
    assert_same(kandinsky.vary(pictures[0], count=1, seed=5, steps=6)[0], levels(theirs))


@pytest.mark.parametrize("name", ["texts", "decoder"])
def test_of_two_samples_the_nearer_to_the_text_is_kept(
    library: Library, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unclip = open_published(**library.sources(name))
    prior, drawn = unclip.parts.prior, []
    assert prior is not None
    draw = prior.draw

    def kept(*inputs: Any, **settings: Any) -> torch.Tensor:
        drawn.append(draw(*inputs, **settings))
        return drawn[-1]

    monkeypatch.setattr(prior, "draw", kept)
    seeds = range(8)
    made = unclip.imagine([TEXTS[0]] * 8, seeds=seeds, steps=5)
    ids = library.texts.tokenizer(
        [TEXTS[0]], padding="max_length", max_length=TOKENS, return_tensors="pt"
    ).input_ids
    text = library.texts.text_encoder(ids).text_embeds
    places = []
    for seed, each, samples in zip(seeds, made, drawn, strict=True):
        assert samples.shape == (2, WIDTH)
        places.append(int(F.cosine_similarity(samples, text).argmax()))
        assert torch.equal(each, samples[places[-1]])
        # The first is the library's.
        theirs = library.prior(TEXTS[0], generator=noise(seed), num_inference_steps=5).image_embeds[0]
        torch.testing.assert_close(samples[0], theirs, rtol=1e-4, atol=1e-5)
    assert set(places) == {0, 1}
    first, second = torch.stack(drawn).unbind(1)
    assert torch.cdist(first, second).min() > 1e-3, "no sample is also that of another seed"
    one = unclip.imagine([TEXTS[0]] * 8, seeds=seeds, steps=5, samples=1)
    cosines = [F.cosine_similarity(each, text).mean() for each in (made, one)]
    assert cosines[0] > cosines[1]


@pytest.mark.parametrize("name", ["texts", "decoder"])
def test_a_seed_gives_its_picture_whatever_stands_beside_it(library: Library, name: str) -> None:
    unclip = open_published(**library.sources(name))
    together = unclip.paint_texts([*TEXTS, TEXTS[1]], seeds=[3, 4, 9], steps=3)
    assert np.array_equal(unclip.paint_texts(TEXTS[1:], seeds=[4], steps=3)[0], together[1])
    assert not np.array_equal(together[1], together[2])


@pytest.mark.parametrize("name", ["variations", "decoder"])
def test_ways_between_pictures(
    library: Library, name: str, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    unclip, painted = open_published(**library.sources(name)), []
    paint, ends = unclip.paint, unclip.see(pictures)
    assert abs(ends.norm(dim=1) - 1).min() > 0.1, "they have no unit norm"

    def spied(embeddings: torch.Tensor, **settings: Any) -> np.ndarray:
        painted.append(embeddings)
        return paint(embeddings, **settings)

    monkeypatch.setattr(unclip, "paint", spied)
    blended = unclip.blend(*pictures, count=3, seed=2, steps=3)
    torch.testing.assert_close(painted[0][[0, 2]], ends)
    cosines = F.cosine_similarity(painted[0][1], ends)
    assert float(cosines[0]) == pytest.approx(float(cosines[1]), abs=1e-5)
    assert float(painted[0][1].norm()) == pytest.approx(float(ends.norm(dim=1).mean()), rel=1e-5)
    for made, picture in zip(blended[[0, 2]], pictures, strict=True):
        alone = unclip.vary(picture, count=1, seed=2, steps=3)[0]
        assert np.abs(made.astype(int) - alone).max() <= 1
    painted.clear()
    unclip.edit(pictures[0], old=TEXTS[0], new=TEXTS[1], amounts=(0.0, 0.25, 0.5), seed=2, steps=3)
    torch.testing.assert_close(painted[0][0], ends[0])
    torch.testing.assert_close(painted[0].norm(dim=1), ends[0].norm().expand(3))
    before, after = unclip.parts.text.embed(TEXTS)
    towards = F.cosine_similarity(painted[0], after - before)
    assert torch.all(towards.diff() > 0)


def test_texts_count_beside_an_embedding_for_karlo_alone(karlo: Published, kandinsky: Published) -> None:
    embeddings = karlo.imagine(TEXTS[:1], steps=3)
    with_text, without = (karlo.paint(embeddings, texts=texts, steps=3) for texts in (TEXTS[:1], None))
    assert np.abs(with_text.astype(int) - without).max() > 5
    with pytest.raises(ConfigError, match=r"this decoder reads no texts; leave them out\."):
        kandinsky.paint(embeddings, texts=TEXTS[:1])


@pytest.mark.parametrize("name", ["texts", "decoder"])
def test_the_bars_come_to_their_ends(library: Library, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []

    class Bar:
        def __init__(self, title: str, total: int, *, show: bool) -> None:
            self.title, self.total, self.show, self.done = title, total, show, 0
            bars.append(self)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def advance(self, steps: int = 1) -> None:
            self.done += steps

    monkeypatch.setattr("visionsmith.papers.unclip.published.DelayedBar", Bar)
    open_published(**library.sources(name)).paint_texts(TEXTS, steps=3, progress=True)
    assert [bar.title for bar in bars] == ["imagining", "painting"]
    assert all(bar.show and bar.done == bar.total > 0 for bar in bars)


def invoke(*command: str) -> Any:
    return CliRunner().invoke(app, ["run", "unclip", *command])


def test_the_command_paints_with_a_folder_of_karlo(
    library: Library, karlo: Published, tmp_path: Path
) -> None:
    out = tmp_path / "apple.png"
    given = ["--checkpoint", str(library.folder / "texts"), "--count", "2", "--seed", "3", "--steps", "3"]
    done = invoke(TEXTS[0], *given, "--output", str(out))
    assert done.exit_code == 0, done.exception
    assert "deprecated" not in done.output
    assert done.output.count("seed") == 2
    ours = karlo.paint_texts([TEXTS[0]] * 2, seeds=[3, 4], steps=3)
    for place, picture in enumerate(ours, start=1):
        assert np.array_equal(read_image(tmp_path / f"apple-{place}.png"), picture)
    assert read_image(out).shape[1] > 32
    long = invoke("an apple and " * 9, *given[:-4], "--steps", "2", "--output", str(out))
    assert "are beyond what the model reads" in long.output


@pytest.mark.parametrize("name", ["variations", "decoder"])
def test_the_command_varies_blends_and_edits(
    library: Library, name: str, files: list[str], tmp_path: Path
) -> None:
    given = ["--checkpoint", str(library.folder / name), "--count", "2", "--steps", "2", "--json"]
    if name == "decoder":
        given += ["--prior", str(library.folder / "prior")]
    for task, inputs in (
        ("vary", files[:1]),
        ("blend", files),
        ("edit", [files[0], "--from", TEXTS[0], "--to", TEXTS[1]]),
    ):
        done = invoke(*inputs, *given, "--output", str(tmp_path / f"{task}.png"))
        assert done.exit_code == 0, done.exception
        told = json.loads(done.stdout)
        assert told["task"] == task
        made = [read_image(file) for file in told["pictures"]]
        assert [picture.shape for picture in made] == [(16, 16, 3)] * 2
        assert not np.array_equal(*made)
    assert [each[:4] for each in told["said"]] == ["0.25", "0.50"], "the paper's amounts"


def test_what_a_folder_lacks_gets_a_sentence(library: Library, karlo: Published, files: list[str]) -> None:
    folder = library.folder
    for inputs, source, said in (
        (files[:1], "texts", "has no image encoder, without which no picture can be varied, blended or edited; give "),
        (TEXTS[:1], "variations", "has no prior, without which no text can be painted; give a folder that has one"),
        (TEXTS[:1], "decoder", r"cannot do without its prior; name the folder of its KandinskyV22PriorPipeline too"),
        (TEXTS[:1], "prior", "holds a KandinskyV22PriorPipeline; give a checkpoint of this paper or one of these"),
        ([TEXTS[0], "--prior", str(folder / "texts")], "decoder", "UnCLIPPipeline, not a KandinskyV22PriorPipeline"),
        ([TEXTS[0], "--prior", str(folder / "prior")], "texts", "a folder of Karlo takes none; leave --prior out"),
        ([TEXTS[0], "--clip", str(folder)], "texts", "and no other model takes a base or a CLIP; check the path"),
        (TEXTS[:1], "absent", "nor a hub id in the local cache"),
        (TEXTS[:1], "", "is neither a checkpoint nor a pipeline's folder of diffusers"),
    ):  # fmt: skip
        done = invoke(*inputs, "--checkpoint", str(folder / source))
        assert isinstance(done.exception, ConfigError | CheckpointError), done.exception
        told = str(done.exception)
        assert said in told
        assert "\n" not in told
    for way in (karlo.blend, lambda *both: karlo.edit(both[0], old="a", new="b")):
        with pytest.raises(CheckpointError, match="has no image encoder"):
            way(*files)
    with pytest.raises(ConfigError, match="a checkpoint of the project has its own; leave --prior out"):
        load(prior=folder / "prior")
    done = CliRunner().invoke(app, ["evaluate", "unclip", "--checkpoint", str(folder / "texts")])
    assert "is a published system" in str(done.exception)


@pytest.mark.parametrize(
    ("name", "part"),
    [("texts", "prior"), ("texts", "text_proj"), ("variations", "image_encoder"), ("decoder", "movq")],
)
def test_a_pickle_is_not_opened(library: Library, name: str, part: str, tmp_path: Path) -> None:
    shutil.copytree(library.folder / name, tmp_path / name)
    (file,) = (tmp_path / name / part).glob("*.safetensors")
    file.rename(file.with_name("diffusion_pytorch_model.bin"))
    prior = ["--prior", str(library.folder / "prior")] if name == "decoder" else []
    done = invoke(TEXTS[0], "--checkpoint", str(tmp_path / name), *prior)
    assert isinstance(done.exception, CheckpointError)
    assert f"its {part} holds its weights only as a pickle, which could run code" in str(done.exception)


def test_damaged_folders_are_named(library: Library, tmp_path: Path) -> None:
    for name in ("texts", "prior"):
        shutil.copytree(library.folder / name, tmp_path / name)
    (file,) = (tmp_path / "texts" / "decoder").glob("*.safetensors")
    file.write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError, match="cannot be opened as a UnCLIPPipeline"):
        open_published(tmp_path / "texts")
    # A prior for other embeddings than the decoder's, and one whose statistics were never measured.
    with torch.random.fork_rng():
        wide = PriorTransformer(
            num_attention_heads=2, attention_head_dim=8, embedding_dim=20, num_layers=1, num_embeddings=TOKENS
        )
    for prior, said in (
        (wide, r"its embeddings have 20 values, and the decoder takes 16; name the prior that belongs to"),
        (None, r"deviation of 0 \(clip_std\), so that it draws the same for every text; measure"),
    ):
        if prior is None:
            prior = PriorTransformer(
                num_attention_heads=2, attention_head_dim=8, embedding_dim=WIDTH, num_layers=1, num_embeddings=TOKENS
            )  # fmt: skip
        prior.save_pretrained(tmp_path / "prior" / "prior")
        with pytest.raises(CheckpointError, match=said):
            open_published(library.folder / "decoder", tmp_path / "prior")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 1}, "steps = 1, .* choose 2 to 1000 steps"),
        ({"steps": 1001}, "steps = 1001"),
        ({"guidance": -1.0}, "guidance = -1"),
        ({"samples": 0}, "samples = 0"),
    ],
)
def test_settings_out_of_range(karlo: Published, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        karlo.paint_texts(TEXTS[:1], **settings)


def test_a_hub_id_is_fetched_only_when_that_is_allowed(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import filter_repo_objects

    def fetch(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        there, cached = library.folder / name.partition("/")[2], tmp_path / name
        if local_files_only and not cached.is_dir():
            raise LocalEntryNotFoundError("not in the cache")
        names = [file.relative_to(there).as_posix() for file in there.rglob("*") if file.is_file()]
        for wanted in [] if local_files_only else filter_repo_objects(names, allow_patterns=allow_patterns):
            (cached / wanted).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(there / wanted, cached / wanted)
        return str(cached)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(CheckpointError, match="nor a hub id in the local cache"):
        load("some/decoder", prior="some/prior")
    fetched = load("some/decoder", prior="some/prior", download=True)
    assert isinstance(fetched, Published)
    assert fetched.size == 16
    assert isinstance(load("some/decoder", prior="some/prior"), Published)
