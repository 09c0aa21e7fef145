"""Training beside a folder in FLUX.1 Fill's layout, and editing with what was trained."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.papers.icedit.flux import SIDE, save_flux
from visionsmith.checkpoint import read as read_checkpoint
from visionsmith.errors import CheckpointError
from visionsmith.papers.icedit import AdapterConfig, export, load_editor
from visionsmith.papers.icedit.checkpoints import open_parts
from visionsmith.papers.icedit.reader import FluxReader, read
from visionsmith.papers.icedit.recipes import PUBLISHED_TEMPLATE, EditRecipe, tiny
from visionsmith.papers.icedit.train import train


@pytest.fixture(scope="module")
def fill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_flux(tmp_path_factory.mktemp("fill"), fills=True)


def _recipe(fill: Path, **changes: object) -> EditRecipe:
    recipe = tiny()
    short = dataclasses.replace(recipe.train, steps=2, batch_size=4, save_every=1, precision="fp32")
    return dataclasses.replace(
        recipe,
        filler=str(fill),
        train_filler=None,
        template=PUBLISHED_TEMPLATE,
        adapter=AdapterConfig(rank=4, alpha=4.0, experts=2),
        train=dataclasses.replace(short, evaluate_every=2),
        **changes,
    )


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*.safetensors")
    }


def _picture() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def made(fill: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a training."""
    return train(_recipe(fill), data=table, output=tmp_path_factory.mktemp("run") / "run", progress=False)


def test_a_training_leaves_the_folder_as_it_was(fill: Path, table: Path, tmp_path: Path, made: Path) -> None:
    """And with checkpointing the same is learned."""
    before = _digests(fill)
    again = train(_recipe(fill, checkpointing=True), data=table, output=tmp_path / "run", progress=False)
    assert _digests(fill) == before
    plain, other = (read_checkpoint(each, paper="icedit").tensors() for each in (made, again))
    assert plain.keys() == other.keys()
    for name, value in plain.items():
        torch.testing.assert_close(value, other[name], rtol=1e-2, atol=1e-4)


def test_an_adapter_is_kept_alone_and_finds_its_folder(fill: Path, made: Path, tmp_path: Path) -> None:
    found = read_checkpoint(made, paper="icedit")
    assert found.config["base"] == str(fill)
    assert all(name.startswith("adapter.") for name in found.tensors())
    editor = load_editor(made)
    assert editor.template == PUBLISHED_TEMPLATE
    assert editor.adapter is not None
    edits = editor.edit(_picture(), ["make it red"], steps=2, guidance=30.0)
    save_file(export(editor.adapter), tmp_path / "alone.safetensors")
    again = load_editor(tmp_path / "alone.safetensors", base=fill)
    assert np.array_equal(edits, again.edit(_picture(), ["make it red"], steps=2, guidance=30.0))
    without = load_editor(fill).edit(_picture(), ["make it red"], steps=2, guidance=30.0)
    assert not np.array_equal(edits, without)
    assert without.std() > 10


def test_a_text_is_read_as_the_library_reads_it(fill: Path) -> None:
    reader = open_parts(fill).reader
    assert isinstance(reader, FluxReader)
    texts = ["make it red", "a heart"]
    found = read(reader, texts)
    states, pooled, _ = reader.pipeline.encode_prompt(texts, texts, max_sequence_length=12)
    torch.testing.assert_close(found.states, states, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.pooled, pooled, rtol=0, atol=1e-6)
    assert found.states[0].std() > 0.1
    assert reader.too_long("a heart") == 0
    assert reader.too_long("a heart " * 20) > 0


def test_a_folder_in_bfloat16_stays_so_and_trains(table: Path, tmp_path: Path) -> None:
    fill = save_flux(tmp_path / "fill", fills=True, dtype=torch.bfloat16)
    parts = open_parts(fill)
    assert parts.transformer.dtype == torch.bfloat16
    assert parts.vae.dtype == torch.float32
    recipe = _recipe(fill, checkpointing=True)
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, precision="bf16"))
    made = train(recipe, data=table, output=tmp_path / "run", progress=False)
    updates = {name: value for name, value in read_checkpoint(made).tensors().items() if "lora_B" in name}
    assert updates
    assert all(bool(value.any()) for name, value in updates.items() if "expert" not in name)
    assert load_editor(made).edit(_picture(), ["make it red"], steps=2).shape == (1, SIDE, SIDE, 3)


def test_a_model_that_paints_from_text_alone_is_refused(table: Path, tmp_path: Path) -> None:
    paints = save_flux(tmp_path / "flux")
    with pytest.raises(CheckpointError, match="paints from text alone"):
        train(_recipe(paints), data=table, output=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
