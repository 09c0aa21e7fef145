"""Weights under the original names, transformers folders, checkpoints: loaded exactly, or refused in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import FlavaImageCodebook
from transformers.models.flava.modeling_flava import FlavaForPreTraining

from tests.papers.flava.conftest import CONFIG, spread_weights
from visionsmith.checkpoint import write
from visionsmith.cli import main
from visionsmith.config import encode
from visionsmith.errors import CheckpointError, VisionsmithError
from visionsmith.memory.locks import library_load
from visionsmith.papers.flava.layers import library_config
from visionsmith.papers.flava.model import FLAVA
from visionsmith.papers.flava.official import from_official, load_any, load_codebook, rename_original
from visionsmith.papers.flava.run import load
from visionsmith.papers.flava.words import SPECIAL
from visionsmith.papers.vocabulary import learn_word_pieces

ENCODERS = {"image": CONFIG.image, "text": CONFIG.text, "mm": CONFIG.multimodal}


def original_state() -> dict[str, Tensor]:
    """A state dict as the published sheet of names and shapes has it, written out by hand for the small sizes."""
    width, hidden = CONFIG.image.width, CONFIG.image.hidden
    shapes: dict[str, tuple[int, ...]] = {
        "model.image_encoder.embeddings.cls_token": (1, 1, width),
        "model.image_encoder.embeddings.mask_token": (1, 1, width),
        "model.image_encoder.embeddings.position_embeddings": (1, 17, width),
        "model.image_encoder.embeddings.patch_embeddings.projection.weight": (width, 3, 8, 8),
        "model.image_encoder.embeddings.patch_embeddings.projection.bias": (width,),
        "model.text_encoder.embeddings.word_embeddings.weight": (50, width),
        "model.text_encoder.embeddings.position_embeddings.weight": (20, width),
        "model.text_encoder.embeddings.token_type_embeddings.weight": (2, width),
        "model.mm_encoder.cls_token": (1, 1, width),
        "loss.contrastive_loss.logit_scale": (),
        "loss.itm_loss.cls.seq_relationship.weight": (2, width),
        "loss.itm_loss.cls.seq_relationship.bias": (2,),
    }

    def linear(name: str, rows: int, columns: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (width,), (width,)

    norm("model.text_encoder.embeddings.layer_norm")
    for encoder, part in ENCODERS.items():
        for layer in range(part.layers):
            place = f"model.{encoder}_encoder.encoder.layer.{layer}"
            for name in ("query", "key", "value", "output"):
                linear(f"{place}.attention.{name}", width, width)
            linear(f"{place}.feedforward.model.0", hidden, width)
            linear(f"{place}.feedforward.model.2", width, hidden)
            norm(f"{place}.attention_layernorm")
            norm(f"{place}.feedforward_layernorm")
        norm(f"model.{encoder}_encoder.layernorm")
        linear(f"model.{encoder}_encoder.pooler.dense", width, width)
    for name in ("image_to_mm_projection", "text_to_mm_projection"):
        linear(f"model.{name}", width, width)
    for name in ("image_projection", "text_projection"):
        linear(f"model.{name}", CONFIG.embed_dim, width)
    for head, answers in (("mlm_loss", 50), ("mim_loss", 30), ("mmm_loss.mlm", 50), ("mmm_loss.mim", 30)):
        linear(f"loss.{head}.cls.dense", width, width)
        norm(f"loss.{head}.cls.layer_norm")
        linear(f"loss.{head}.cls.decoder", answers, width)
        shapes[f"loss.{head}.cls.bias"] = (answers,)
    linear("loss.itm_loss.pooler.dense", width, width)
    torch.manual_seed(1)
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    for name in [name for name in state if name.endswith(".cls.bias")]:
        state[name] = state[name.replace("cls.bias", "cls.decoder.bias")]
    return state


def test_every_original_name_has_its_place() -> None:
    state = original_state()
    model = from_official(state, CONFIG)
    assert len(rename_original(state)) == len(state)
    ours = model.state_dict()
    # Each weight lies where it belongs: the second names of four biases are the same tensors.
    assert len(ours) == len(state) - 4
    inside = {
        "mm_encoder.{}.1.attention.query.weight": "multimodal_model.{}.1.attention.attention.query.weight",
        "text_encoder.{}.0.attention.output.bias": "text_model.{}.0.attention.output.dense.bias",
        "image_encoder.{}.2.feedforward.model.0.weight": "image_model.{}.2.intermediate.dense.weight",
        "image_encoder.{}.2.feedforward.model.2.weight": "image_model.{}.2.output.dense.weight",
        "image_encoder.{}.0.attention_layernorm.weight": "image_model.{}.0.layernorm_before.weight",
        "image_encoder.{}.0.feedforward_layernorm.bias": "image_model.{}.0.layernorm_after.bias",
    }
    pairs = {
        f"model.{theirs}".format("encoder.layer"): f"flava.{here}".format("encoder.layer")
        for theirs, here in inside.items()
    } | {
        "model.text_encoder.embeddings.layer_norm.weight": "flava.text_model.embeddings.LayerNorm.weight",
        "model.image_to_mm_projection.weight": "flava.image_to_mm_projection.weight",
        "loss.mmm_loss.mim.cls.decoder.weight": "mmm_image_head.decoder.weight",
        "loss.mmm_loss.mlm.cls.bias": "mmm_text_head.decoder.bias",
        "loss.mlm_loss.cls.layer_norm.weight": "mlm_head.transform.LayerNorm.weight",
        "loss.itm_loss.pooler.dense.weight": "itm_head.pooler.dense.weight",
        "loss.contrastive_loss.logit_scale": "flava.logit_scale",
    }
    for theirs, here in pairs.items():
        assert torch.equal(ours[here], state[theirs]), theirs


def test_a_model_of_an_original_state_computes() -> None:
    model = from_official(original_state(), CONFIG).eval()
    words = torch.randint(5, 50, (2, 6))
    with torch.no_grad():
        assert torch.isfinite(model.encode_texts(words)).all()
        assert torch.isfinite(model.encode_images(torch.randn(2, 3, 32, 32))).all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As `save_pretrained` writes FlavaForPreTraining, with a tokenizer."""
    with library_load():
        model = FlavaForPreTraining(library_config(CONFIG))
    spread_weights(model)
    model.save_pretrained(tmp_path / "theirs")
    vocabulary = learn_word_pieces(["abc"], size=77, special=SPECIAL)
    vocabulary.save(str(tmp_path / "theirs" / "tokenizer.json"))
    # Fifty ids, as the small model has: the file's own would be more.
    content = json.loads((tmp_path / "theirs" / "tokenizer.json").read_text())
    content["model"]["vocab"] = dict(list(content["model"]["vocab"].items())[:50])
    (tmp_path / "theirs" / "tokenizer.json").write_text(json.dumps(content))
    return tmp_path / "theirs"


def test_a_transformers_folder_loads(folder: Path) -> None:
    with library_load():
        theirs = FlavaForPreTraining.from_pretrained(folder).eval()
    flava = load(folder)
    assert flava.model.config == CONFIG
    assert flava.words.size == 50
    pixels, words = torch.randn(2, 3, 32, 32), torch.randint(5, 50, (2, 7))
    with torch.no_grad():
        expected = theirs.flava(input_ids=words, pixel_values=pixels, output_hidden_states=True)
        assert torch.allclose(flava.model.image_features(pixels), expected.image_embeddings[:, 0], atol=1e-5)
        assert torch.allclose(flava.model.text_features(words), expected.text_embeddings[:, 0], atol=1e-5)
    codebook = flava.require_codebook()
    assert codebook.decoder is None
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    pixels = 0.8 * images.permute(0, 3, 1, 2) / 255 + 0.1
    assert torch.equal(codebook.encode(images), theirs.image_codebook.get_codebook_indices(pixels).flatten(1))
    assert flava.encode_texts(["abc"]).shape == (1, CONFIG.embed_dim)


def test_convert_keeps_all_of_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run("convert", "official", "flava", str(folder), str(tmp_path / "ours"))
    assert "with tokenizer.json, codebook.safetensors" in capsys.readouterr().out
    one, two = load(folder), load(tmp_path / "ours")
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, two.model.state_dict()[name])
    # The codebook ships in float16.
    assert two.require_codebook().config == CONFIG.codebook


def test_convert_reads_an_original_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from visionsmith.papers.flava import official

    codebook = {
        "image_codebook.encoder." + name: tensor for name, tensor in _their_codebook().state_dict().items()
    }
    torch.save(original_state() | codebook, tmp_path / "flava.pt")
    with monkeypatch.context() as changed:
        # The file's names do not show the sizes: the published ones are meant.
        changed.setattr(official, "FlavaConfig", lambda: CONFIG)
        run("convert", "official", "flava", str(tmp_path / "flava.pt"), str(tmp_path / "ours"))
    assert torch.equal(
        load_any(tmp_path / "ours").logit_scale, original_state()["loss.contrastive_loss.logit_scale"]
    )
    found = load_codebook(tmp_path / "ours")
    assert found is not None
    assert torch.equal(
        found.output.weight, codebook["image_codebook.encoder.blocks.output.conv.weight"].half().float()
    )


def _their_codebook() -> FlavaImageCodebook:
    with library_load():
        made = FlavaImageCodebook(library_config(CONFIG).image_codebook_config)
    spread_weights(made)
    return made


def test_a_codebook_alone_loads(tmp_path: Path) -> None:
    theirs = _their_codebook()
    theirs.save_pretrained(tmp_path / "codebook")
    found = load_codebook(tmp_path / "codebook")
    assert found is not None
    assert found.config == CONFIG.codebook
    assert torch.equal(found.output.weight, theirs.blocks.output.conv.weight)
    assert not any(parameter.requires_grad for parameter in found.parameters())


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 0


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    state = original_state()
    encoders = {name: tensor for name, tensor in state.items() if name.startswith("model.")}
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_act"] = "relu"
    (tmp_path / "relu").mkdir()
    (tmp_path / "relu" / "config.json").write_text(json.dumps(config))
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text('{"model_type": "clip"}')
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    write(tmp_path / "alone", paper="flava", config={"codebook": encode(CONFIG.codebook)}, tensors={})
    for make, message in (
        (lambda: from_official(encoders, CONFIG), "holds the encoders without the heads of the losses"),
        (lambda: from_official(state), "the weights do not fit the model"),
        (lambda: from_official(state | {"extra": torch.zeros(1)}, CONFIG), "1 unexpected (extra)"),
        (lambda: from_official({"state_dict": state}, CONFIG), "give what it holds under 'state_dict'"),
        (
            lambda: load_any(tmp_path / "relu"),
            "text_config.hidden_act is relu, and a published FLAVA has gelu",
        ),
        (lambda: load_any(tmp_path / "clip"), "holds a model of type 'clip', not 'flava'"),
        (lambda: load_any(tmp_path / "a.safetensors"), "is a file; make a folder of it"),
        (lambda: load_any(tmp_path / "alone"), "holds a codebook alone"),
        (lambda: load_any(tmp_path / "nothing"), "is neither a file nor a folder"),
    ):
        with pytest.raises(CheckpointError, match=re.escape(message)):
            make()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(VisionsmithError, match=re.escape("has no tokenizer.json")):
        load(folder)


def test_state_dict_has_the_published_names(model: FLAVA) -> None:
    names = set(model.state_dict())
    for name in (
        "flava.image_model.encoder.layer.0.attention.attention.query.weight",
        "flava.image_model.embeddings.mask_token",
        "flava.multimodal_model.cls_token",
        "flava.logit_scale",
        "mmm_text_head.decoder.bias",
    ):
        assert name in names
